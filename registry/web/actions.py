"""What the forms on the pages do: a command each, then the page that shows what came of it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from registry.domain.errors import BadInputError, NotFoundError
from registry.domain.ids import VersionRef
from registry.domain.versions import Who
from registry.web.page import Page
from registry.web.version import ref_in

Move = Callable[[VersionRef, Who], object]


def move(page: Page) -> Response:
    """Activate | retire | cancel | retry | approve | delete"""
    ref = ref_in(page)
    name = page.request.path_params["command"]
    commands = page.registry.commands
    moves: dict[str, Move] = {
        "activate": commands.activate, "retire": commands.retire, "cancel": commands.cancel,
        "retry": commands.retry, "approve": commands.approve, "delete": commands.delete,
        "pause": lambda ref, who: page.registry.jobs.steer(ref, "pause", who),
        "resume": lambda ref, who: page.registry.jobs.steer(ref, "resume", who),
    }  # fmt: skip
    if name not in moves:
        raise NotFoundError(f"there is no command {name!r}", hint=f"there are: {', '.join(moves)}")
    page.principal.check("approve" if name == "approve" else "develop", ref.model)
    moves[name](ref, page.who(page.form.get("reason")))
    return page.go(f"/models/{ref.model}/{ref.number}", said=name)


def rollback(page: Page) -> Response:
    """Activate the version that was active before."""
    name = page.request.path_params["model"]
    page.principal.check("develop", name)
    version = page.form.get("version", "")
    if not (version.isascii() and version.isdigit()):
        raise BadInputError(f"{version!r} is not a version's number", field="version")
    ref = VersionRef.parse(f"{name}@{version}")
    page.registry.commands.activate(ref, page.who(page.form.get("reason") or "rolled back"))
    return page.go(f"/models/{name}", said="activate")


def deploy(page: Page) -> Response:
    ref = ref_in(page)
    page.principal.check("develop", ref.model)
    page.registry.commands.deploy(ref, page.who(page.form.get("reason")))
    return page.go(f"/models/{ref.model}/{ref.number}/deployment", said="deploy")


def attach(page: Page) -> Response:
    ref = ref_in(page)
    page.principal.check("develop", ref.model)
    name = page.form.get("deployment", "").strip()
    if not name:
        raise BadInputError("name the deployment to attach, by its name or id at the provider", field="deployment")
    page.registry.commands.attach(ref, name, page.who(page.form.get("reason")))
    return page.go(f"/models/{ref.model}/{ref.number}/deployment", said="attach")


def undeploy(page: Page) -> Response:
    known = page.registry.reading.deployment(page.request.path_params["id"])
    page.principal.check("develop", known.model)
    page.registry.commands.undeploy(known.id, page.who(page.form.get("reason")))
    if "version" in page.request.path_params:
        return page.go(f"/models/{known.model}/{known.version}/deployment", said="undeploy")
    return page.go("/deployments", said="undeploy")

"""Which address is which page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from registry.application.access import NotAllowedError
from registry.composition import Registry
from registry.domain.errors import TenureError
from registry.transport.gate import local_path
from registry.transport.services import Services, principal_of
from registry.web import actions, deployments, events, lifecycle, model, overview, policy, tuning, version
from registry.web.page import Page, asked_time
from registry.web.templating import environment

Handler = Callable[[Page], Response]
YEAR_S = 31_536_000


class Number(IntegerConvertor):
    """A version's number: any other address is none of ours."""

    regex = "[1-9][0-9]{0,8}"


register_url_convertor("number", Number())

PAGES: Mapping[str, Handler] = {
    "/": overview.overview,
    "/models": overview.models,
    "/models/{model}": model.model,
    "/models/{model}/policy": policy.policy,
    "/models/{model}/history": model.history,
    "/models/{model}/{version:number}": version.timeline,
    "/models/{model}/{version:number}/training": version.training,
    "/models/{model}/{version:number}/deployment": version.deployment,
    "/models/{model}/{version:number}/cost": version.cost,
    "/deployments": deployments.deployments,
    "/audit": deployments.audit,
    "/fine-tune": tuning.form,
    "/lifecycle": lifecycle.lifecycle,
    "/events/{position:int}": events.event,
}
COMMANDS: Mapping[str, tuple[Handler, Handler]] = {
    "/models/{model}/{version:number}/do/{command}": (actions.move, version.timeline),
    "/models/{model}/{version:number}/deploy": (actions.deploy, version.deployment),
    "/models/{model}/{version:number}/attach": (actions.attach, version.deployment),
    "/models/{model}/rollback": (actions.rollback, model.model),
    "/models/{model}/policy": (policy.change, policy.policy),
    "/models/{model}/{version:number}/undeploy/{id}": (actions.undeploy, version.deployment),
    "/deployments/{id}/delete": (actions.undeploy, deployments.deployments),
    "/fine-tune": (tuning.send, tuning.form),
}
"""Address -> (what a POST does, the page that tells why it was refused)."""
ADDRESSES: Mapping[Handler, str] = {
    handler: path.replace(":number", "").replace(":int", "") for path, handler in PAGES.items()
}


def routes(services: Services) -> APIRouter:
    """All pages, and the forms on them; the server includes them."""
    router = APIRouter()
    router.routes.append(Route("/login", _login(services), methods=["GET"]))
    for path, handler in PAGES.items():
        router.routes.append(Route(path, _shown(services, handler), methods=["GET"]))
    for path, (command, back) in COMMANDS.items():
        router.routes.append(Route(path, _done(services, command, back), methods=["POST"]))
        if path not in PAGES:
            router.routes.append(Route(path, _stands_on(back), methods=["GET"]))
    folder = Path(str(files("registry.web") / "static"))
    router.routes.append(Mount("/static", Assets(directory=folder)))
    return router


class Assets(StaticFiles):
    """Addresses carry a digest of what they hold, so that a browser asks once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable"
        return response


def _login(services: Services) -> Callable[[Request], Response]:
    def login(request: Request) -> Response:
        people = services.oidc.settings()
        text = (
            environment()
            .get_template("login.html")
            .render(
                failed="error" in request.query_params,
                ended="ended" in request.query_params,
                next=local_path(request.query_params.get("next")),
                provider=urlsplit(people.issuer).hostname if people else None,
            )
        )
        return HTMLResponse(text)

    return login


def _address(request: Request, page: Handler) -> str:
    return ADDRESSES[page].format_map(request.path_params)


def _stands_on(back: Handler) -> Callable[[Request], Response]:
    """Whoever opens the address of a form is led to the page that it stands on."""

    def redirect(request: Request) -> Response:
        return RedirectResponse(_address(request, back), status_code=303)

    return redirect


def page_of(
    request: Request, services: Services, *, path: str | None = None, form: Mapping[str, str] | None = None
) -> Page:
    """`path`: of the page, where a form was sent to another. Raises BadInputError for an as_of that is neither a
    position nor a time.
    """
    registry = services.registry
    as_of = asked_time(request.query_params.get("as_of")) if request.method == "GET" else None
    at = registry.reading.position(as_of)
    return Page(
        request=request,
        path=path or request.url.path,
        registry=registry,
        principal=principal_of(request),
        as_of=as_of,
        at=at,
        now=_shown_time(registry, as_of, at),
        form=form or {},
    )


def _shown_time(registry: Registry, as_of: str | None, at: int | None) -> datetime:
    """The time that was asked for; of a position, when its event was recorded."""
    if as_of is None or at is None:
        return registry.clock()
    if not as_of.isdigit():
        return datetime.fromisoformat(as_of)
    event = next(iter(registry.log.read(after=at - 1, until=at)), None) if at else None
    return event.recorded_at if event else registry.clock()


def _shown(services: Services, handler: Handler) -> Callable[[Request], Response]:
    def show(request: Request) -> Response:
        page = page_of(request, services)
        page.check_read()
        return handler(page)

    return show


def _done(services: Services, command: Handler, back: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A form was sent. Refused: the page that it stood on says why, with the refusal's own status."""

    def run(request: Request, form: Mapping[str, str]) -> Response:
        page = page_of(request, services, path=_address(request, back), form=form)
        page.check_read()
        try:
            return command(page)
        except NotAllowedError:
            raise
        except TenureError as error:
            page.problem = error
            return back(page)

    async def done(request: Request) -> Response:
        form = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
        return await run_in_threadpool(run, request, form)

    return done


def error_page(request: Request, error: TenureError) -> Response:
    """What a browser is shown where nothing else can be: what is wrong, why, and what to do."""
    text = (
        environment()
        .get_template("error.html")
        .render(error=error, path=request.url.path, principal=principal_of(request))
    )
    return HTMLResponse(text, status_code=error.status)

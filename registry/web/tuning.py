"""A new fine-tune: where, from what, on which data; their checks and the price; and only then the start."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.responses import Response

from providers.errors import ProviderError
from providers.ports import Estimate
from registry.application.commands import FineTune
from registry.application.ports import CheckedData, DataSource, VersionQuery
from registry.application.views import ConnectionView
from registry.domain.errors import BadInputError, TenureError
from registry.transport.uploads import Uploads
from registry.web.page import Page

MODELS_OFFERED = 200
VERSIONS_SEARCHED = 200
"""The newest of each model that somebody may see, for the connections that they know by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found about the data, and what training on them would take."""

    data: CheckedData
    estimate: Estimate


def form(page: Page, checked: Checked | None = None) -> Response:
    connections = _connections(page)
    able = [one for one in connections if one.fine_tuning]
    wanted = page.form.get("connection") or page.query("connection")
    chosen = next((one for one in able if one.name == wanted), able[0] if len(able) == 1 else None)
    base_models, trouble = _base_models(page, chosen)
    models = page.registry.reading.models()
    return page.html(
        "tuning.html",
        connections=able,
        serving_only=[one for one in connections if not one.fine_tuning],
        chosen=chosen,
        base_models=base_models,
        trouble=trouble,
        models=[one.model for one in models if page.principal.may("develop", one.model)][:MODELS_OFFERED],
        given={"model": page.query("model") or "", **page.form},
        checked=checked,
        allowed=page.principal.may_somewhere("develop"),
    )


def _connections(page: Page) -> list[ConnectionView]:
    """All, for whoever may read all models; else those that versions which they may see name, without their trouble."""
    reading = page.registry.reading
    found = reading.connections()
    if page.principal.may("read"):
        return found
    named = {
        version.connection
        for model in page.readable(reading.models())
        for version in reading.versions(VersionQuery(model=model.model, limit=VERSIONS_SEARCHED))[0]
    }
    return [replace(one, error=None) for one in found if one.name in named]


def _base_models(page: Page, connection: ConnectionView | None) -> tuple[Sequence[str], str | None]:
    """What the provider says can be tuned, or why it does not say."""
    if connection is None:
        return (), None
    try:
        provider = page.registry.providers.of(page.registry.reading.connection_state(connection.name))
        return sorted(provider.base_models()), None
    except (TenureError, ProviderError) as error:
        return (), f"{connection.name} does not say what can be tuned: {error.message}"


def send(page: Page) -> Response:
    """Check the data and say what it costs; or, when that was seen, start."""
    command = _command(page)
    page.principal.check("develop", command.model)
    try:
        if page.form.get("intent") != "start":
            data, estimate = page.registry.commands.estimate(command)
            return form(page, Checked(data=data, estimate=estimate))
        ref = page.registry.commands.fine_tune(command, page.who(page.form.get("reason")))
    except BadInputError as error:
        raise _as_sent(error, f"{Uploads(page.registry.home).folder}/") from error
    return page.go(f"/models/{ref.model}/{ref.number}/training", said="fine-tune")


def _command(page: Page) -> FineTune:
    """Raises BadInputError naming what is missing."""
    given = {key: value.strip() for key, value in page.form.items()}
    for field, words in (("connection", "a connection"), ("model", "a model's name"), ("base_model", "a base model")):
        if not given.get(field):
            raise BadInputError(f"choose {words}", field=field)
    if not given.get("train"):
        raise BadInputError("drop a file with training data", field="train")
    uploads = Uploads(page.registry.home)
    validation = given.get("validation")
    return FineTune(
        model=given["model"],
        connection=given["connection"],
        base_model=given["base_model"],
        data=DataSource(
            train=uploads.path(given["train"], "train"),
            validation=uploads.path(validation, "validation") if validation else None,
            prompt=given.get("prompt_column") or "prompt",
            completion=given.get("completion_column") or "completion",
            system=given.get("system_column") or None,
            system_text=given.get("system") or None,
        ),
        hyperparameters=settings(given.get("hyperparameters", "")),
        activate=given.get("activate") == "yes",
    )


def settings(text: str) -> dict[str, object]:
    """One `key = value` a line, as TOML has them. Raises BadInputError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"the hyperparameters are not KEY = VALUE, one a line: {error}"
        raise BadInputError(
            message, field="hyperparameters", hint='write numbers as 1e-4 and words as "auto"'
        ) from None


def _as_sent(error: BadInputError, folder: str) -> BadInputError:
    """The same, with files called as they were sent and not by where they lie here."""

    def plain(text: str) -> str:
        return re.sub(re.escape(folder) + r"ds_[0-9a-f]+/", "", text)

    return BadInputError(
        plain(error.message),
        field=error.field,
        faults=tuple(plain(one) for one in error.faults),
        hint=plain(error.hint) if error.hint else None,
    )

"""How things are named in a request: addresses, times, positions, and the files of a fine-tune."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

from registry.application.reading import AsOf, asked_for, aware, within_calendar
from registry.application.views import iso
from registry.domain.errors import BadInputError
from registry.domain.ids import VersionRef, check_name
from registry.embedded import Which

JsonObject = dict[str, Any]
POSITION_MAX = 2**53
"""What a server takes for a position at most."""


def model_path(model: str) -> str:
    return f"/models/{check_name(model, 'model')}"


@contextmanager
def own_names(names: Mapping[str, str]) -> Generator[None]:
    """Faults name files as they are named here, not as the server keeps them."""

    def told(text: str) -> str:
        for there, here in names.items():
            text = text.replace(there, here)
        return text

    try:
        yield
    except BadInputError as error:
        faults = tuple(map(told, error.faults))
        raise BadInputError(told(error.message), field=error.field, faults=faults, hint=error.hint) from None


def version_path(version: Which) -> str:
    ref = VersionRef.parse(str(version))
    return f"/models/{ref.model}/versions/{ref.number}"


def deployment_path(id: str) -> str:
    return f"/deployments/{quote(id, safe='')}"


def connection_path(name: str) -> str:
    return f"/connections/{quote(name, safe='')}"


def time_asked(time: AsOf, field: str = "as_of") -> str | None:
    """What the server is asked: a time that is written without a zone is one of here."""
    asked = aware(time, field) if isinstance(time, datetime) else asked_for(time)
    if isinstance(asked, datetime):
        return iso(within_calendar(asked))
    return None if asked is None else str(asked)


def position_asked(after: int) -> int:
    """Before the first and after the last there is nothing more; a server takes no others."""
    return min(max(after, 0), POSITION_MAX)

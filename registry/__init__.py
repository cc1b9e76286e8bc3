"""Tenure from Python: `registry.open()` runs a registry here, `registry.connect(url, token)` speaks to one elsewhere.

What is refused is raised as one of the errors named here, all of them `TenureError`s. Importing this package imports no
vendor's SDK, no torch and no database: each is imported when it is first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from registry.domain.errors import (
    BadInputError,
    ConflictError,
    CorruptLogError,
    HomeInUseError,
    IdempotencyConflictError,
    NotFoundError,
    RefusedError,
    TenureError,
    UnavailableError,
)

if TYPE_CHECKING:
    from registry.application.access import NotAllowedError, NotSignedInError
    from registry.embedded import NewVersion, Tenure, Version, open  # noqa: A004 - the public name is `registry.open`
    from registry.remote import connect

__all__ = [
    "BadInputError",
    "ConflictError",
    "CorruptLogError",
    "HomeInUseError",
    "IdempotencyConflictError",
    "NewVersion",
    "NotAllowedError",
    "NotFoundError",
    "NotSignedInError",
    "RefusedError",
    "Tenure",
    "TenureError",
    "UnavailableError",
    "Version",
    "connect",
    "open",
]
_ELSEWHERE = {
    "connect": "registry.remote",
    "NotAllowedError": "registry.application.access",
    "NotSignedInError": "registry.application.access",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "registry.embedded")), name)


def __dir__() -> list[str]:
    return [*__all__]

"""Tenure from Python: `registry.open()` runs a registry here, `registry.connect(url, token)` speaks to one elsewhere.

Importing this package imports no vendor's SDK, no torch and no database: each is imported when it is first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.embedded import Tenure, open  # noqa: A004 - the public name is `registry.open`
    from registry.remote import connect

__all__ = ["Tenure", "connect", "open"]


def __getattr__(name: str) -> object:
    if name == "connect":
        from registry.remote import connect

        return connect
    if name in __all__:
        from registry import embedded

        return getattr(embedded, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)

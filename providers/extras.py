"""What a vendor has written is an extra, and imported with the first call: one that is missing is told by its name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec

from providers.errors import UnavailableError

P = ParamSpec("P")


class NotInstalledError(UnavailableError):
    """Nothing happened, and nothing will before the extra is installed. `remedy` installs it."""

    def __init__(self, module: str | None, extra: str, *, operation: str) -> None:
        self.remedy = f"pip install 'tenure[{extra}]'"
        super().__init__(f"{module} is not installed: {self.remedy}", operation=operation)


@contextlib.contextmanager
def installed(extra: str, operation: str) -> Generator[None]:
    """Around whatever imports what the extra has."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise NotInstalledError(missing.name, extra, operation=operation) from missing


def needing(
    extra: str,
) -> Callable[
    [Callable[Concatenate[str, P], AbstractContextManager[None]]],
    Callable[Concatenate[str, P], AbstractContextManager[None]],
]:
    """For what translates a vendor's errors: its modules may be missing, those that are imported under it too."""

    def decorate(
        translated: Callable[Concatenate[str, P], AbstractContextManager[None]],
    ) -> Callable[Concatenate[str, P], AbstractContextManager[None]]:
        @contextlib.contextmanager
        def told(operation: str, *args: P.args, **kwargs: P.kwargs) -> Generator[None]:
            with installed(extra, operation), translated(operation, *args, **kwargs):
                yield

        return told

    return decorate

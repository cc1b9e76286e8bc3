"""What `tenure connections test` asks of a connection, one question at a time."""

from __future__ import annotations

from collections.abc import Callable

from providers.errors import ProviderError, RejectedError
from providers.extras import NotInstalledError
from providers.ports import ConnectionCheck

UNREACHED = "see that the endpoint is right and can be reached from here (proxy, ca_bundle), then test again"

UNGIVEN = "give the credential to the process that runs Tenure (the server, where there is one), and start that again"


def checked(name: str, look: Callable[[], str], remedy: str) -> ConnectionCheck:
    """What `look` tells. The `remedy` is for what is refused; what could not be asked is a matter of the way there."""
    try:
        return ConnectionCheck(name=name, passed=True, detail=look())
    except ProviderError as error:
        advice = UNREACHED
        if isinstance(error, NotInstalledError):
            advice = error.remedy
        elif error.code == "missing-credential":
            advice = UNGIVEN
        elif isinstance(error, RejectedError):
            advice = remedy
        return ConnectionCheck(name=name, passed=False, detail=error.message, remedy=advice)

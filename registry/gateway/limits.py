"""How much is let through to one deployment at once, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass

from registry.gateway.refusal import RefusalError
from registry.transport.gate import TooManyError
from registry.transport.line import Line, NoTurnError, Shares, share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Per deployment: `running_max` requests at once, `waiting_max` behind them for at most `waiting_s_max`.

    `silence_s_max`: between two bytes of an answer, the first one included; OpenAI's own client gives up after as long.
    `question_s_max`: until all of a question has come. `unread_s_max`: until a caller takes the next piece of its
    answer. Callers that are slower would keep a place, and a connection to the provider, for as long as they like.
    """

    running_max: int = 256
    waiting_max: int = 1024
    waiting_s_max: float = 30.0
    question_s_max: float = 120.0
    unread_s_max: float = 120.0
    connect_s_max: float = 5.0
    silence_s_max: float = 600.0
    flush_s: float = 5.0
    """How often counts are written to the log's files."""
    behind_s_max: float = 1.0
    """How long whoever has to know may wait until routing has followed the log."""


class Admission:
    """Who may ask one deployment now; `who` None: whoever is not bounded. Used on the event loop only.

    One person has at most a share of it at once. What is more waits in a line of its own, so that others pass.
    """

    __slots__ = ("_all", "_limits", "_shares")

    def __init__(self, limits: Limits) -> None:
        running, waiting, wait_s = limits.running_max, limits.waiting_max, limits.waiting_s_max
        self._limits = limits
        self._all = Line(places=running, waiting_max=waiting, waiting_s_max=wait_s)
        self._shares = Shares(places=share_of(running), waiting_max=waiting, waiting_s_max=wait_s)

    @property
    def in_flight(self) -> int:
        return self._all.running + self._all.waiting + self._shares.waiting

    async def enter(self, who: str | None) -> None:
        """Followed by `leave`, unless it raises. Raises RefusalError (429, 503) when too many wait, or for too long."""
        if who is None:
            await self._enter()
            return
        try:
            await self._shares.enter(who)
        except TooManyError as error:
            raise RefusalError(429, "too_many_requests", error.message, retry_after_s=error.retry_after_s) from None
        try:
            await self._enter()
        except BaseException:
            self._shares.leave(who)
            raise

    async def _enter(self) -> None:
        try:
            await self._all.enter()
        except NoTurnError as error:
            message = "too many requests wait for this deployment"
            if error.late:
                message = f"no turn at this deployment within {self._limits.waiting_s_max:g} s"
            raise RefusalError(503, "overloaded", message, retry_after_s=1) from None

    def keep(self, who: str | None) -> None:
        """One place more, for work that goes on although its caller has left; followed by `leave`."""
        self._all.keep()
        if who is not None:
            self._shares.keep(who)

    def leave(self, who: str | None) -> None:
        self._all.leave()
        if who is not None:
            self._shares.leave(who)

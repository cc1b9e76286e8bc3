"""How much is let through to one deployment at once, and how long anything may take."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from registry.gateway.refusal import RefusalError


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
    """First come, first served, for one deployment. Used on the event loop only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def in_flight(self) -> int:
        return self.running + len(self._waiting)

    async def enter(self) -> None:
        """Followed by `leave`, unless it raises. Raises RefusalError (503) when too many wait, or it takes too long."""
        if self.running < self._limits.running_max and not self._waiting:
            self.running += 1
            return
        if len(self._waiting) >= self._limits.waiting_max:
            raise RefusalError(503, "overloaded", "too many requests wait for this deployment", retry_after_s=1)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._limits.waiting_s_max):
                await turn
        except BaseException as error:
            self._withdraw(turn)
            if isinstance(error, TimeoutError):
                message = f"no turn at this deployment within {self._limits.waiting_s_max:g} s"
                raise RefusalError(503, "overloaded", message, retry_after_s=1) from None
            raise

    def keep(self) -> None:
        """One place more, for work that goes on although its caller has left; followed by `leave`."""
        self.running += 1

    def leave(self) -> None:
        self.running -= 1
        while self._waiting and self.running < self._limits.running_max:
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def _withdraw(self, turn: asyncio.Future[None]) -> None:
        """Give up the place, or the turn, if it came at the same moment."""
        if turn.done() and not turn.cancelled():
            self.leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)

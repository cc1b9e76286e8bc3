"""Turns: so many at once, a bounded line behind them, and no more of both for one person than leaves room for others.

Used on the event loop only.
"""

from __future__ import annotations

import asyncio
from collections import deque

from registry.transport.gate import TooManyError

AGAIN_S = 1.0


def share_of(count: int) -> int:
    """What one person may have of places that all share: seven of eight, so that there is always one for somebody else.

    Whoever is alone, as most are, hardly notices; a smaller part would leave places empty that somebody waits for.
    """
    return max(1, count * 7 // 8)


class NoTurnError(Exception):
    """`late`: the turn did not come in time. Else too many wait already."""

    def __init__(self, *, late: bool) -> None:
        super().__init__("late" if late else "full")
        self.late = late


class Line:
    """First come, first served: `places` at once, `waiting_max` behind them for at most `waiting_s_max` each."""

    __slots__ = ("_places", "_waiting", "_waiting_max", "_waiting_s_max", "running")

    def __init__(self, *, places: int, waiting_max: int, waiting_s_max: float) -> None:
        self._places = places
        self._waiting_max = waiting_max
        self._waiting_s_max = waiting_s_max
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def enter(self) -> None:
        """Followed by `leave`, unless it raises. Raises NoTurnError."""
        if self.running < self._places and not self._waiting:
            self.running += 1
            return
        if len(self._waiting) >= self._waiting_max:
            raise NoTurnError(late=False)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._waiting_s_max):
                await turn
        except BaseException as error:
            self._withdraw(turn)
            if isinstance(error, TimeoutError):
                raise NoTurnError(late=True) from None
            raise

    def keep(self) -> None:
        """One place more, for work that goes on although whoever asked for it has left; followed by `leave`."""
        self.running += 1

    def leave(self) -> None:
        self.running -= 1
        while self._waiting and self.running < self._places:
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


class Shares:
    """A line for each person, in front of what all of them share: what waits here is in nobody else's way."""

    __slots__ = ("_lines", "_places", "_waiting_max", "_waiting_s_max")

    def __init__(self, *, places: int, waiting_max: int, waiting_s_max: float) -> None:
        self._places = places
        self._waiting_max = waiting_max
        self._waiting_s_max = waiting_s_max
        self._lines: dict[str, Line] = {}

    @property
    def waiting(self) -> int:
        return sum(one.waiting for one in self._lines.values())

    async def enter(self, who: str) -> None:
        """Followed by `leave`, unless it raises. Raises TooManyError."""
        line = self._lines.get(who)
        if line is None:
            line = self._lines[who] = Line(
                places=self._places, waiting_max=self._waiting_max, waiting_s_max=self._waiting_s_max
            )
        try:
            await line.enter()
        except NoTurnError:
            message = f"{who} has {self._places} requests under way here, and {line.waiting} more that wait"
            raise TooManyError(message, retry_after_s=AGAIN_S) from None

    def keep(self, who: str) -> None:
        """As `Line.keep`, for somebody who is in."""
        self._lines[who].keep()

    def leave(self, who: str) -> None:
        line = self._lines[who]
        line.leave()
        if not line.running:
            del self._lines[who]

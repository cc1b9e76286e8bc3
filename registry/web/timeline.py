"""A history as people read it: what one command led to stands together, and each effect points at its cause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from registry.application.views import EventView
from registry.web.words import actor_name, event_tone, sentence


@dataclass(slots=True, kw_only=True)
class Entry:
    """`cause`: the event that it follows from, where that is in this history; `led_to`: what followed from it."""

    event: EventView
    text: str
    tone: str
    cause: EventView | None = None
    led_to: list[EventView] = field(default_factory=list[EventView])

    @property
    def anchor(self) -> str:
        return f"e{self.event.position}"

    @property
    def about(self) -> str:
        """The stream without its kind: `support-bot@3`, `dep_…`."""
        return self.event.stream.partition(":")[2]


@dataclass(slots=True, kw_only=True)
class Group:
    """What followed from one command. `by` is whoever sent it."""

    correlation_id: str
    entries: list[Entry]

    @property
    def first(self) -> Entry:
        return self.entries[0]

    @property
    def last(self) -> Entry:
        return self.entries[-1]

    @property
    def by(self) -> str:
        return actor_name(self.first.event.actor)

    @property
    def reason(self) -> str | None:
        return self.first.event.reason


def grouped(events: Iterable[EventView]) -> list[Group]:
    """In the order in which the commands came; events in the order of the log."""
    groups: dict[str, Group] = {}
    entries: dict[str, Entry] = {}
    for event in events:
        entry = Entry(event=event, text=sentence(event), tone=event_tone(event.type))
        cause = entries.get(event.causation_id) if event.causation_id else None
        if cause is not None:
            entry.cause = cause.event
            cause.led_to.append(event)
        entries[event.id] = entry
        groups.setdefault(event.correlation_id, Group(correlation_id=event.correlation_id, entries=[])).entries.append(
            entry
        )
    return list(groups.values())

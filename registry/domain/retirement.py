"""When a provider takes a base model away: what was tuned from it stops answering then."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from registry.domain import events as ev
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, version_stream
from registry.domain.versions import Who

WARNED_DAYS = (30, 90)
"""How long before it is warned about: as urgent, and for the first time."""
TRAINING = timedelta(days=1)
"""What training and trying out takes, where the provider does not say."""


def announced(
    ref: VersionRef, base_model: str | None, retires_on: date | None, known: date | None, who: Who
) -> list[NewEvent]:
    """Nothing, where the day is known already."""
    if base_model is None or retires_on == known:
        return []
    return [who.says(version_stream(ref), ev.RetirementAnnounced(base_model=base_model, retires_on=retires_on))]


def check_usable(base_model: str, retires_on: date | None, now: datetime, *, duration_s: float | None) -> None:
    """Refuse to tune what will be gone before it could be used."""
    ready_at = now + max(TRAINING, timedelta(seconds=duration_s or 0.0))
    if retires_on is not None and retires_on <= ready_at.date():
        raise RefusedError(
            f"{base_model} is taken away by its provider on {retires_on.isoformat()}, and what is tuned from it stops"
            f" answering then; it would not be ready before {ready_at.date().isoformat()}",
            hint="choose another --base-model, or repeat it with --force",
        )


def days_left(retires_on: date, now: datetime) -> int:
    return (retires_on - now.date()).days

"""What events are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """The provider's training job: its own id, our name for it, the provider's own word for its status."""

    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRef:
    id: str
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """A data set by what it holds. `path` is the registry's own copy; None where the data were never here."""

    sha256: str
    rows: int
    tokens: int | None = None
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What an hour costs since a moment; None: from the beginning."""

    from_: datetime | None
    hourly: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of a deployment costs at most. None where no price is known: unknown, never zero.

    `hourly` is for all of its `units` (capacity, model units); `later`: what is known already to hold from a date on.
    """

    hourly: Decimal | None
    currency: str
    source: str
    units: Decimal = Decimal(1)
    sku: str | None = None
    later: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """What one unit costs: `1M-tokens`, or an `hour` of the device. `amount` None where no price is known."""

    amount: Decimal | None
    unit: str
    currency: str
    source: str

"""The ledger over states and events that are in memory, by `registry.domain.ledger`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from registry.application.ports import Billed, BilledDay, Trained
from registry.domain import ledger
from registry.domain.events import Event, VersionTrained
from registry.domain.ids import VersionRef
from registry.domain.states import DeploymentState, VersionState


def billed(deployments: Iterable[DeploymentState], *, from_: datetime, to: datetime) -> Sequence[Billed]:
    """Deployments oldest request first."""
    return [
        Billed(deployment=one, charges=tuple(charges))
        for one in deployments
        if (charges := ledger.charges(one, from_=from_, to=to))
    ]


def by_day(deployments: Iterable[DeploymentState], *, from_: datetime, to: datetime) -> Sequence[BilledDay]:
    sums: dict[tuple[str, str], Decimal] = {}
    unpriced: dict[tuple[str, str], set[str]] = {}
    for one in deployments:
        for day, charge in ledger.by_day(one, from_=from_, to=to):
            key = (day, one.currency)
            sums[key] = sums.get(key, Decimal(0)) + (charge.cost or Decimal(0))
            unpriced.setdefault(key, set()).update({one.id} if charge.cost is None else ())
    return [
        BilledDay(day=day, currency=currency, cost=cost, unpriced=len(unpriced[day, currency]))
        for (day, currency), cost in sorted(sums.items())
    ]


def trained(
    events: Iterable[Event],
    version: Callable[[VersionRef], VersionState | None],
    *,
    from_: datetime,
    to: datetime,
) -> Sequence[Trained]:
    found: list[Trained] = []
    for event in events:
        payload = event.payload
        if isinstance(payload, VersionTrained) and from_ <= ledger.trained_at(payload, event.recorded_at) < to:
            ref = event.stream.partition(":")[2]
            state = version(VersionRef.parse(ref))
            assert state is not None
            found.append(
                Trained(
                    ref=ref,
                    connection=state.connection,
                    provider=state.provider,
                    trained_at=ledger.trained_at(payload, event.recorded_at),
                    tokens=payload.trained_tokens,
                    duration_s=payload.duration_s,
                    price=payload.price,
                    cost=payload.cost,
                    currency=payload.currency,
                )
            )
    return found

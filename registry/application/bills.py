"""A provider's bill beside the ledger, by deployment: what fits, what differs, and what stands on one side only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from registry.application.views import AuditView, View
from registry.domain import ledger

CENT = Decimal("0.01")
"""Two sides that differ by less fit: bills are rounded."""
_OURS = re.compile(r"dep_[0-9a-f]{16}")
_SERVICES = re.compile(r"bedrock|openai|cognitive|foundry|ai services|own hardware|\bft[:-]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """Everything that a bill says of one resource, service and currency, added up. Texts are as the bill has them."""

    resource: str | None
    name: str | None
    service: str | None
    tags: str | None
    currency: str
    cost: Decimal
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """`providers`: whose it is; nothing of the others is expected on it."""

    format: str
    providers: frozenset[str]
    from_: datetime
    to: datetime
    lines: tuple[BillLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedView(View):
    """`status`: fits | differs | ledger-only | bill-only | unpriced (there is a bill and no known price).

    `deployments`: more than one where the bill does not tell them apart, as Azure's does not within an account.
    """

    resource: str
    deployments: tuple[str, ...]
    ref: str
    ledger: Decimal | None
    bill: Decimal | None
    difference: Decimal | None
    currency: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationView(View):
    """`other_lines`, `other_costs`: lines of the bill about services that the registry has nothing to do with."""

    format: str
    from_: datetime
    to: datetime
    fits: bool
    rows: tuple[ComparedView, ...]
    other_lines: int
    other_costs: Mapping[str, Decimal]

    def as_json(self) -> dict[str, object]:
        plain = View.as_json(self)
        return {"from": plain.pop("from_"), **plain}


@dataclass(slots=True)
class _Unit:
    """What is compared as one. `key` is the bill's name for it, or the ledger's."""

    key: str
    members: list[_Known] = field(default_factory=list["_Known"])
    billed: dict[str, Decimal] = field(default_factory=dict[str, Decimal])


@dataclass(frozen=True, slots=True)
class _Known:
    """Something in the ledger, and the names that a bill may call it by, in lower case."""

    id: str
    ref: str
    resource: str
    names: frozenset[str]
    cost: Decimal | None
    currency: str


def compare(bill: Bill, audit: AuditView) -> ReconciliationView:
    """`audit`: of the time of the bill."""
    known = list(_known(audit, bill.providers))
    units = _units(known, bill.lines)
    by_name = {name: unit for unit in units for one in unit.members for name in one.names}
    by_name |= {unit.key.lower(): unit for unit in units}
    strangers: dict[str, _Unit] = {}
    other_lines, other_costs = 0, dict[str, Decimal]()
    for line in bill.lines:
        unit = next((by_name[name] for name in _names(line) if name in by_name), None)
        if unit is None and not _SERVICES.search(f"{line.service} {line.tags} {line.resource}"):
            other_lines += line.lines
            other_costs[line.currency] = other_costs.get(line.currency, Decimal(0)) + line.cost
            continue
        if unit is None:
            key = line.resource or line.name or line.service or "?"
            unit = strangers.setdefault(key, _Unit(key))
        unit.billed[line.currency] = unit.billed.get(line.currency, Decimal(0)) + line.cost
    rows = tuple(_row(unit) for unit in (*units, *strangers.values()) if unit.members or any(unit.billed.values()))
    return ReconciliationView(
        format=bill.format,
        from_=audit.from_,
        to=audit.to,
        fits=all(one.status == "fits" for one in rows),
        rows=tuple(sorted(rows, key=_worst_first)),
        other_lines=other_lines,
        other_costs=other_costs,
    )


def _worst_first(one: ComparedView) -> tuple[bool, Decimal, str]:
    amount = one.difference if one.difference is not None else one.bill or one.ledger or Decimal(0)
    return one.status == "fits", -abs(amount), one.resource


def _known(audit: AuditView, providers: frozenset[str]) -> Iterable[_Known]:
    for entry in audit.deployments:
        one = entry.deployment
        if one.provider in providers:
            names = frozenset(name.lower() for name in (one.provider_id, one.name, one.id) if name)
            yield _Known(one.id, one.ref, one.provider_id or one.name, names, entry.cost, one.currency)
    for training in audit.training:
        if training.provider in providers:
            ref = training.version
            yield _Known(ref, ref, ref, frozenset({ref.lower()}), training.cost, training.currency)


def _units(known: Sequence[_Known], lines: Iterable[BillLine]) -> list[_Unit]:
    """One for each thing in the ledger, or for those that the bill puts under one resource above them."""
    resources = {line.resource.lower() for line in lines if line.resource}
    units: dict[str, _Unit] = {}
    for one in known:
        parts = one.resource.lower().split("/")
        above = ("/".join(parts[:count]) for count in range(len(parts) - 1, 1, -1))
        parent = None if one.names & resources else next((path for path in above if path in resources), None)
        key = parent or one.resource
        units.setdefault(key, _Unit(key)).members.append(one)
    return list(units.values())


def _names(line: BillLine) -> Iterable[str]:
    """What a line may call a thing of ours, the surest first."""
    yield from _OURS.findall(line.tags or "")
    yield from (name.lower() for name in (line.resource, line.name) if name)


def _row(unit: _Unit) -> ComparedView:
    currencies = {one.currency for one in unit.members if one.cost is not None} | set(unit.billed)
    costs = ledger.total(one.cost for one in unit.members) if unit.members else None
    currency = next(iter(unit.billed), unit.members[0].currency if unit.members else "")
    billed = unit.billed.get(currency) if len(unit.billed) == 1 else None
    difference = billed - costs if billed is not None and costs is not None and len(currencies) == 1 else None
    return ComparedView(
        resource=unit.key,
        deployments=tuple(one.id for one in unit.members),
        ref=", ".join(sorted({one.ref for one in unit.members if one.ref})),
        ledger=costs,
        bill=billed,
        difference=difference,
        currency=currency,
        status=_status(unit, costs, difference),
    )


def _status(unit: _Unit, costs: Decimal | None, difference: Decimal | None) -> str:
    if not unit.members:
        return "bill-only"
    if costs is None:
        return "unpriced"
    if not unit.billed:
        return "fits" if costs < CENT else "ledger-only"
    return "fits" if difference is not None and abs(difference) < CENT else "differs"

"""A model's rules for deploying, activating, cleaning up, approving and spending; and the scheduler's settings.

What was set is kept as written (strings, as in TOML); `Policy.of` and `SchedulerSettings.of` give every key its value
and refuse what they do not know by name. A model's own keys come first, then the registry's, then the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal

from registry.domain.durations import duration
from registry.domain.errors import BadInputError

POLICY_DEFAULTS: dict[str, object] = {
    "deploy": "on-activate",
    "activate": "manual",
    "superseded": "delete",
    "superseded_grace": "10m",
    "idle_delete": None,
    "keep_artifacts": None,
    "orphans": "report",
    "approvals": 0,
    "max_hourly_cost": None,
    "max_monthly_cost": None,
}
"""None: no limit, or never. These keys are what a policy may hold."""

WHOLE_MAX = 2**63 - 1
"""What the database counts with: one number beyond it would stop every later plan."""
AMOUNT_MIN, AMOUNT_MAX = Decimal("1E-18"), Decimal("1E+15")
"""Years of it, in billionths and microseconds, still fit into the ledger's sums."""
SHOWN_MAX = 80

SCHEDULER_DEFAULTS: dict[str, object] = {"poll": "15s", "sweep": "10m", "orphan_grace": "10m", "absence": 3}

_CHOICES = {
    "deploy": ("on-trained", "on-activate", "manual"),
    "activate": ("manual", "on-trained", "if-better"),
    "superseded": ("delete", "keep"),
    "orphans": ("report", "adopt", "delete"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    deploy: Literal["on-trained", "on-activate", "manual"]
    activate: Literal["manual", "on-trained", "if-better"]
    superseded: Literal["delete", "keep"]
    superseded_grace: timedelta
    idle_delete: timedelta | None
    keep_artifacts: int | None
    orphans: Literal["report", "adopt", "delete"]
    approvals: int
    max_hourly_cost: Decimal | None
    max_monthly_cost: Decimal | None

    @classmethod
    def of(cls, written: Mapping[str, object], default: Mapping[str, object] | None = None) -> Policy:
        """`default`: what the registry says for every model. Raises BadInputError naming the key that is wrong."""
        _refuse_unknown(written, POLICY_DEFAULTS, "policy")
        said = {key: _policy_value(key, value) for key, value in {**(default or {}), **written}.items()}
        return cls(**{**_DEFAULTS, **said})  # pyright: ignore[reportArgumentType] - checked key by key

    @property
    def approvals_needed(self) -> str:
        return "1 approval" if self.approvals == 1 else f"{self.approvals} approvals"


def _policy_value(key: str, value: object) -> object:
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise BadInputError(f"{key} = {value!r} is not one of {', '.join(_CHOICES[key])}", field=key)
        return value
    if value is None and POLICY_DEFAULTS[key] is None:
        return None
    match key:
        case "superseded_grace" | "idle_delete":
            return duration(value, key)
        case "keep_artifacts" | "approvals":
            return whole(value, key)
        case _:
            return amount(value, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """`absence`: how many reads must miss a deleted deployment before it is believed gone."""

    poll: timedelta
    sweep: timedelta
    orphan_grace: timedelta
    absence: int

    @classmethod
    def of(cls, written: Mapping[str, object]) -> SchedulerSettings:
        _refuse_unknown(written, SCHEDULER_DEFAULTS, "scheduler")
        values = {**SCHEDULER_DEFAULTS, **written}
        absence = whole(values["absence"], "absence")
        if absence < 1:
            raise BadInputError("absence must be at least 1", field="absence")
        return cls(
            poll=duration(values["poll"], "poll"),
            sweep=duration(values["sweep"], "sweep"),
            orphan_grace=duration(values["orphan_grace"], "orphan_grace"),
            absence=absence,
        )

    def check(self) -> None:
        """What may be declared. A log of an earlier release may hold less, and is still read."""
        for key, value in (("poll", self.poll), ("sweep", self.sweep)):
            if not value:
                raise BadInputError(
                    f"{key} must be longer than 0: it would look at the providers without a pause", field=key
                )


def whole(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= WHOLE_MAX:
        raise BadInputError(f"{key} = {_shown(value)} is not a whole number from 0 to {WHOLE_MAX}", field=key)
    return value


def amount(value: object, key: str) -> Decimal:
    """Money, from a decimal string (or an integer): a float would not be exact."""
    try:
        parsed = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        parsed = None
    if parsed is None or not parsed.is_finite() or parsed < 0:
        raise BadInputError(f'{key} = {_shown(value)} is not an amount: write it as a string, "20.00"', field=key)
    if parsed and not AMOUNT_MIN <= parsed <= AMOUNT_MAX:
        raise BadInputError(f"{key} = {_shown(value)} is not between {AMOUNT_MIN} and {AMOUNT_MAX}", field=key)
    return parsed


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def _refuse_unknown(written: Mapping[str, object], known: Mapping[str, object], what: str) -> None:
    for key in written:
        if key not in known:
            raise BadInputError(f"{key!r} is not a {what} key; known: {', '.join(known)}", field=key)


def policy_json(policy: Mapping[str, object], default: Mapping[str, object] | None = None) -> dict[str, object]:
    """Every key with its value, as it would be written; `default`: what the registry says for every model."""
    return {**POLICY_DEFAULTS, **(default or {}), **policy}


_DEFAULTS = {key: _policy_value(key, value) for key, value in POLICY_DEFAULTS.items()}

assert {one.name for one in fields(Policy)} == set(POLICY_DEFAULTS)

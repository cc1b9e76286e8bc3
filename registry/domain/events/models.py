"""What happens to a model."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from registry.domain.events.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeclared:
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    model: str
    policy: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetExceeded:
    """What a model has cost in a month (UTC, `2026-11`) is above its limit; told once a month. Nothing is cut off."""

    model: str
    month: str
    limit: Decimal
    spent: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNumbered:
    """A number was given out; it is never reused."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveVersionChanged:
    """`version` is None when the active version was retired without a successor."""

    model: str
    version: int | None
    previous: int | None

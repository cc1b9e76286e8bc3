"""Views from the JSON that they were told in: the inverse of `View.as_json`, from the fields' own types."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast

from registry.application.views import BilledDeploymentView, DeploymentView, IntervalView, SideBySideView, View

_BESIDE = ("provider_status", "difference")
V = TypeVar("V", bound=View)


def parse(view: type[V], document: Mapping[str, Any]) -> V:
    """Fields that this release does not know are left out; those that a server of another release lacks raise."""
    if view is BilledDeploymentView:
        billed = BilledDeploymentView(
            deployment=parse(DeploymentView, document),
            intervals=tuple(parse(IntervalView, one) for one in document["intervals"]),
            cost=_value(Decimal | None, document["cost"]),
        )
        return cast("V", billed)
    if view is SideBySideView:
        known = document.get("id") is not None
        beside = SideBySideView(
            deployment=parse(DeploymentView, document) if known else None,
            stray={} if known else {key: one for key, one in document.items() if key not in _BESIDE},
            provider_status=document["provider_status"],
            difference=document["difference"],
        )
        return cast("V", beside)
    fields = {name: _value(hint, document[name.rstrip("_")]) for name, hint in _hints(view).items()}
    return view(**fields)


@cache
def _hints(view: type[View]) -> dict[str, Any]:
    hints = typing.get_type_hints(view)
    return {one.name: hints[one.name] for one in dataclasses.fields(cast("Any", view))}


def _value(hint: Any, found: Any) -> Any:  # noqa: ANN401, PLR0911 - JSON, by kind of type
    if found is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return _value(next(one for one in arguments if one is not type(None)), found)
    if origin is tuple:
        return tuple(_value(arguments[0], one) for one in found)
    if origin is not None and issubclass(origin, Mapping) and arguments[1] in {Decimal, datetime}:
        return {key: _value(arguments[1], one) for key, one in found.items()}
    if hint is datetime:
        return datetime.fromisoformat(found)
    if hint is Decimal:
        return Decimal(found)
    if isinstance(hint, type) and issubclass(hint, View):
        return parse(hint, found)
    return found

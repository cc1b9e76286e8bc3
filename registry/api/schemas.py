"""JSON Schemas of the views, from their own fields, so that the document cannot say anything else than the answers."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from registry.application import views
from registry.application.replaying import ReplayedActView, ReplayView
from registry.application.views import View

Schema = dict[str, Any]

SHOWN: Mapping[str, type[View]] = {
    "Model": views.ModelView,
    "Version": views.VersionView,
    "Job": views.JobView,
    "Artifact": views.ArtifactView,
    "Deployment": views.DeploymentView,
    "Connection": views.ConnectionView,
    "OrphanJob": views.OrphanJobView,
    "Event": views.EventView,
    "Metric": views.MetricView,
    "Checkpoint": views.CheckpointView,
    "Step": views.StepView,
    "Change": views.ChangeView,
    "Check": views.CheckView,
    "Estimate": views.EstimateView,
    "Interval": views.IntervalView,
    "TrainingCost": views.TrainingCostView,
    "Audit": views.AuditView,
    "Replay": ReplayView,
    "ReplayedAct": ReplayedActView,
}
_NAMES: Mapping[object, str] = {view: name for name, view in SHOWN.items()}

PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457 problem details. `state`, `legal`: a move is refused; `faults`: data are bad.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "state": {"type": ["string", "null"]},
        "legal": {"type": "array", "items": {"type": "string"}},
        "field": {"type": ["string", "null"]},
        "faults": {"type": "array", "items": {"type": "string"}},
        "stream": {"type": "string"},
        "expected": {"type": ["integer", "null"]},
        "actual": {"type": ["integer", "null"]},
    },
    "example": {
        "type": "about:blank",
        "title": "Refused in this state",
        "status": 409,
        "detail": "support-bot@3 is queued: it cannot activate (legal from queued: cancel)",
        "state": "queued",
        "legal": ["cancel"],
    },
}


def components() -> dict[str, Schema]:
    schemas = {name: _object(view) for name, view in SHOWN.items()}
    schemas["BilledDeployment"] = {
        "allOf": [
            {"$ref": ref("Deployment")},
            {
                "type": "object",
                "required": ["intervals", "cost"],
                "properties": {"intervals": array("Interval"), "cost": _type(Decimal | None)},
            },
        ]
    }
    schemas["SideBySide"] = {
        "type": "object",
        "description": "A deployment's own keys, and two more; one that only the provider has has no id and no state",
        "required": ["provider_status", "difference"],
        "properties": {"provider_status": _type(str | None), "difference": _type(str | None)},
    }
    schemas["Problem"] = PROBLEM
    return schemas


def ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def array(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": ref(name)}}


def page(name: str) -> Schema:
    """`{"items": […], "next": CURSOR or null}`"""
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": array(name), "next": {"type": ["string", "null"]}},
    }


def _object(view: type[View]) -> Schema:
    hints = typing.get_type_hints(view)
    properties = {one.name.rstrip("_"): _type(hints[one.name]) for one in dataclasses.fields(cast("Any", view))}
    schema: Schema = {"type": "object", "required": list(properties), "properties": properties}
    if view.__doc__:
        schema["description"] = view.__doc__
    return schema


_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    type(None): {"type": "null"},
}


def _type(hint: object) -> Schema:
    plain = _PLAIN.get(hint)
    if plain is not None:
        return dict(plain)
    if hint is views.BilledDeploymentView:
        return {"$ref": ref("BilledDeployment")}
    name = _NAMES.get(hint)
    if name is not None:
        return {"$ref": ref(name)}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return {"anyOf": [_type(one) for one in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0])}
    return {"type": "object"}

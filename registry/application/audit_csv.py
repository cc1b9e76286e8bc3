"""The audit as CSV: a line for each billed interval of a deployment, then one for each training; the same columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from registry.application.views import AuditView, to_json

COLUMNS = (
    "kind",
    "id",
    "ref",
    "model",
    "version",
    "connection",
    "provider",
    "provider_id",
    "name",
    "state",
    "from",
    "to",
    "known",
    "quantity",
    "unit",
    "rate",
    "cost",
    "currency",
    "requested_by",
    "reason",
)


def audit_csv(view: AuditView) -> str:
    """Empty where a price is unknown. Grouped (`by`), it is a line for each group instead."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if view.groups:
        writer.writerow(view.groups[0])
        writer.writerows([to_json(value) for value in group.values()] for group in view.groups)
        return out.getvalue()
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row.get(column)) for column in COLUMNS] for row in (*_serving(view), *_training(view)))
    return out.getvalue()


def _cell(value: object) -> object:
    """As in JSON and FOCUS: true and false."""
    return str(value).lower() if isinstance(value, bool) else value


def _serving(view: AuditView) -> Iterable[dict[str, object]]:
    for one in view.deployments:
        known = one.deployment.as_json()
        for span in one.intervals:
            row = span.as_json()
            yield {**known, **row, "kind": "deployment", "unit": "hour", "rate": row["hourly_rate"]}


def _training(view: AuditView) -> Iterable[dict[str, object]]:
    for one in view.training:
        row = one.as_json()
        model, _, number = one.version.rpartition("@")
        names = {"kind": "training", "ref": one.version, "model": model, "version": number}
        yield {**row, **names, "to": row["trained_at"], "known": True, "rate": row["price"]}

"""Views to show."""

from __future__ import annotations

from datetime import UTC, datetime

from registry.application.views import VersionView

AT = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)


def version(state: str) -> VersionView:
    return VersionView(
        model="support-bot",
        version=1,
        ref="support-bot@1",
        state=state,
        active=state == "active",
        connection="local",
        provider="huggingface",
        base_model="tiny",
        method="supervised",
        hyperparameters={},
        job=None,
        artifact=None,
        deployments=(),
        dataset=None,
        metrics={},
        error=None,
        attempt=1,
        approvals=(),
        legal=(),
        created_at=AT,
        created_by="user:ana",
        changed_at=AT,
        activated_at=None,
        retired_at=None,
        retires_on=None,
        stream_version=1,
    )

"""Idle standbys at the rehearsed clouds, which count calls themselves: who calls past the registry is seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from providers.ports import Artifact, DeploymentReport, DeploymentRequest, Provider, ServingTarget
from providers.rehearsal import faults
from registry.application.ports import DeploymentQuery
from registry.domain.ids import VersionRef
from tests.reconciler.test_clouds import AWS, AZURE, KINDS, SERVED, Sky, sky
from tests.stage import ANA, BOT

__all__ = ["sky"]
"""The fixture, which pytest finds by its name."""
METRICS: Mapping[str, str] = {AZURE: "arm.list_metrics", AWS: "cloudwatch.get_metric_data"}
QUESTION: Mapping[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


def provider(sky: Sky, connection: str) -> Provider:
    return sky.registry.providers.of(sky.registry.reading.connection_state(connection))


def attached(sky: Sky, connection: str) -> tuple[VersionRef, DeploymentReport]:
    """Made by somebody else, with nothing of this registry's name on it, and taken over as a standby."""
    sky.registry.declaring.set_policy(BOT, {"idle_delete": "7d"}, ANA)
    ref = sky.trained(connection)
    artifact = sky.version(ref).artifact
    assert artifact is not None
    request = DeploymentRequest(name="prod", token="prod", model="x", version=1, artifact=Artifact(id=artifact.id))
    made = provider(sky, connection).deployments.create(request)
    thing = sky.clouds.truth.one("prod")
    thing.body["tags"] = {}
    sky.clouds.clock.advance(300)
    sky.registry.commands.attach(ref, made.id, ANA)
    return ref, made


def call(sky: Sky, connection: str, made: DeploymentReport) -> None:
    """At the provider, past the gateway."""
    target = ServingTarget(
        artifact=Artifact(id=made.artifact_id or ""), deployment_id=made.id, deployment_name=made.name, endpoint=None
    )
    provider(sky, connection).chat.complete(target, QUESTION, timeout_s=5.0)


def sweep(sky: Sky, **span: float) -> None:
    sky.clouds.clock.advance(timedelta(**span).total_seconds())
    sky.registry.reconciler.run(sweep=True)
    sky.settle()


def there(sky: Sky, connection: str) -> bool:
    return bool(sky.clouds.truth.things(KINDS[connection]))


@SERVED
def test_an_attached_standby_that_nobody_called_is_deleted_as_idle(sky: Sky, connection: str) -> None:
    ref, _ = attached(sky, connection)
    sweep(sky, days=6)
    assert there(sky, connection)
    assert sky.clouds.truth.calls[METRICS[connection]] == 0, "nobody is asked before it could be idle"
    sweep(sky, days=1, hours=1)
    assert not there(sky, connection)
    asked = next(one for one in sky.registry.reading.history(str(ref)) if one.type == "deployment-deletion-requested")
    assert asked.actor == "policy:delete-idle"


@SERVED
def test_one_that_somebody_calls_at_the_provider_stays_until_nobody_does(sky: Sky, connection: str) -> None:
    _, made = attached(sky, connection)
    for _ in range(4):
        sweep(sky, days=5)
        call(sky, connection, made)
    sweep(sky, days=6, hours=20)
    assert there(sky, connection)
    sweep(sky, hours=6)
    assert not there(sky, connection)


@SERVED
def test_one_that_this_registry_made_stays_too_while_somebody_calls_it_at_the_provider(
    sky: Sky, connection: str
) -> None:
    sky.registry.declaring.set_policy(BOT, {"idle_delete": "7d"}, ANA)
    sky.registry.commands.deploy(sky.trained(connection), ANA)
    sky.settle()
    (made,) = provider(sky, connection).deployments.list()
    sweep(sky, days=6)
    call(sky, connection, made)
    sweep(sky, days=6)
    assert there(sky, connection)
    sweep(sky, days=2)
    assert not there(sky, connection)


@SERVED
def test_without_the_permission_use_is_unknown_and_unknown_use_is_never_idle(sky: Sky, connection: str) -> None:
    attached(sky, connection)
    sky.clouds.faults.inject(METRICS[connection], faults.forbidden(), times=None)
    for _ in range(3):
        sweep(sky, days=4)
    assert there(sky, connection)
    (one,) = sky.log.deployments(DeploymentQuery(connection=connection))
    assert one.state == "serving"
    assert sky.clouds.truth.calls[METRICS[connection]] > 0
    sky.clouds.faults.clear()
    sweep(sky, hours=1)
    assert not there(sky, connection)


@SERVED
@pytest.mark.parametrize("fault", [faults.server_error(503), faults.throttled(), faults.reset(after_effect=False)])
def test_while_the_metrics_do_not_answer_nothing_goes_and_the_connection_is_not_out(
    sky: Sky, connection: str, fault: faults.Fault
) -> None:
    sky.registry.declaring.set_policy(BOT, {"idle_delete": "7d"}, ANA)
    sky.registry.commands.deploy(sky.trained(connection), ANA)
    sky.settle()
    sky.clouds.faults.inject(METRICS[connection], fault, times=None)
    sweep(sky, days=8)
    assert there(sky, connection)
    outcomes = sky.registry.reconciler.run(sweep=True)
    assert "failed" not in {one.outcome for one in outcomes}, outcomes
    sky.clouds.faults.clear()
    sweep(sky, hours=1)
    assert not there(sky, connection)

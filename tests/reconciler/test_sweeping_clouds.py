"""The sweep through the vendors' own SDKs, on rehearsed clouds: orphans, strangers, lost and late deployments."""

from __future__ import annotations

from providers.ports import Artifact, DeploymentRequest, TrainingRequest
from registry.application.ports import DeploymentQuery
from registry.composition import OpenProviders
from registry.domain.ids import VersionRef
from tests.providers.cloud_harness import data_set
from tests.reconciler.test_clouds import BASES, EVERY, KINDS, OPENAI, SERVED, Sky, sky
from tests.stage import ANA

__all__ = ["sky"]
"""The fixture, which pytest finds by its name."""
ENDED = {"cancelled", "Stopped"}
"""The clouds' own words for a job that was stopped."""


def made(sky: Sky, connection: str, name: str, ref: VersionRef, *, registry: str = "test12") -> str:
    """A deployment that this registry's log knows nothing of, in its own name or another registry's; its id."""
    state = sky.registry.reading.connection_state(connection)
    artifact = sky.version(ref).artifact
    assert artifact is not None
    doors = OpenProviders(sky.home / registry, registry_id=lambda: registry, clock=sky.clouds.clock.now)
    request = DeploymentRequest(
        name=name, token=name, model="bot", version=ref.number, artifact=Artifact(id=artifact.id), tags={}
    )
    try:
        report = doors.of(state).deployments.create(request)
    finally:
        doors.close()
    sky.clouds.clock.advance(120)
    return report.id


def job_made(sky: Sky, connection: str, name: str, *, registry: str) -> str:
    """A training job that this registry's log knows nothing of; its id."""
    state = sky.registry.reading.connection_state(connection)
    doors = OpenProviders(sky.home / registry, registry_id=lambda: registry, clock=sky.clouds.clock.now)
    request = TrainingRequest(
        name=name,
        token=name,
        model="bot",
        version=7,
        base_model=BASES[connection],
        train=data_set(sky.home / f"{name}.jsonl"),
        validation=None,
        method="supervised",
        hyperparameters={},
    )
    try:
        return doors.of(state).training.submit(request).id
    finally:
        doors.close()


@EVERY
def test_a_job_that_no_version_knows_is_stopped_by_policy_and_another_registry_s_never(
    sky: Sky, connection: str
) -> None:
    """As after a home was restored from an older backup, beside somebody else's home on the same account."""
    sky.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    sky.clouds.pace.training_s = 1e6
    ours = job_made(sky, connection, "tenure-test12-bot-7-1", registry="test12")
    theirs = job_made(sky, connection, "tenure-other1-bot-7-1", registry="other1")
    sweep(sky)
    assert [one.job_id for one in sky.registry.reading.connection_state(connection).orphan_jobs] == [ours]
    sky.clouds.clock.advance(900)
    sweep(sky, 8)
    now = sky.clouds.clock.now()
    ended = {one.id: one.status(now) in ENDED for one in sky.clouds.truth.ever() if one.kind.endswith(".job")}
    assert ended == {ours: True, theirs: False}
    assert sky.registry.reading.connection_state(connection).orphan_jobs == ()


def test_training_data_is_cleaned_up_also_where_nothing_is_deployed(sky: Sky) -> None:
    sky.trained(OPENAI)
    sky.clouds.clock.advance(2 * 86_400)
    sweep(sky)
    now = sky.clouds.clock.now()
    left = [one for one in sky.clouds.truth.ever() if one.kind == "openai.file" and one.exists(now)]
    assert [one.name for one in left] == ["step_metrics.csv"], "its results are nobody's data"


def there(sky: Sky, connection: str) -> list[str]:
    now = sky.clouds.clock.now()
    return [one.id for one in sky.clouds.truth.ever() if one.kind == KINDS[connection] and one.exists(now)]


def sweep(sky: Sky, passes: int = 1) -> None:
    for _ in range(passes):
        sky.registry.reconciler.run(sweep=True)
        sky.clouds.clock.advance(60)


@SERVED
def test_an_orphan_is_found_by_its_tag_and_deleted_by_policy(sky: Sky, connection: str) -> None:
    sky.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    ref = sky.trained(connection)
    orphan = made(sky, connection, "tenure-test12-bot-1-9", ref)
    sweep(sky)
    (found,) = sky.log.deployments(DeploymentQuery())
    assert (found.provider_id, found.orphan, found.suspected) == (orphan, True, "bot@1")
    sky.clouds.clock.advance(900)
    sweep(sky, 8)
    assert [one.state for one in sky.log.deployments(DeploymentQuery())] == ["deleted"]
    assert there(sky, connection) == []


@SERVED
def test_an_orphan_is_adopted_by_policy(sky: Sky, connection: str) -> None:
    sky.registry.declaring.apply({"policy": {"orphans": "adopt"}}, ANA, plan=False)
    ref = sky.trained(connection)
    made(sky, connection, "tenure-test12-bot-1-9", ref)
    sweep(sky)
    sky.clouds.clock.advance(900)
    sweep(sky, 2)
    (view,) = sky.registry.reading.deployments(model="bot")
    assert (view.ref, view.state, view.requested_by) == ("bot@1", "serving", "policy:adopt-orphans")


@SERVED
def test_what_another_registry_made_is_foreign_and_stays(sky: Sky, connection: str) -> None:
    sky.registry.declaring.apply({"policy": {"orphans": "delete"}}, ANA, plan=False)
    ref = sky.trained(connection)
    theirs = made(sky, connection, "tenure-other1-bot-1-1", ref, registry="other1")
    sweep(sky, 3)
    sky.clouds.clock.advance(86_400)
    sweep(sky, 3)
    assert there(sky, connection) == [theirs]
    state = sky.registry.reading.connection_state(connection)
    assert [one.provider_id for one in state.foreign] == [theirs]
    (row,) = [one for one in sky.registry.comparing.side_by_side() if one.deployment is None]
    assert (row.value("provider_id"), row.difference) == (theirs, "foreign: not provably ours, never touched")


@SERVED
def test_one_that_is_made_late_after_it_was_given_up_is_deleted(sky: Sky, connection: str) -> None:
    ref = sky.trained(connection)
    deployment = sky.registry.commands.deploy(ref, ANA)
    sky.settle()
    name = sky.registry.reading.deployment(deployment).name
    sky.registry.commands.undeploy(deployment, ANA)
    sky.settle()
    late = made(sky, connection, name, ref)
    sweep(sky)
    (it,) = [one for one in sky.log.deployments(DeploymentQuery(live=True)) if one.name == name]
    assert it.id == deployment or (it.provider_id, it.duplicate_of) == (late, deployment)
    sky.settle()
    assert sky.registry.reading.deployment(deployment).state == "deleted"
    assert there(sky, connection) == []


@SERVED
def test_a_quiet_account_is_swept_without_a_word(sky: Sky, connection: str) -> None:
    sky.activate(sky.trained(connection))
    sky.settle()
    sweep(sky, 2)
    head = sky.log.head()
    sky.clouds.clock.advance(3600)
    told = sky.registry.reconciler.run(sweep=True)
    assert sky.log.head() == head
    assert [one.action for one in told if one.action == "compare with provider"] == []
    assert [one.difference for one in sky.registry.comparing.side_by_side()] == [None]


@SERVED
def test_two_connections_to_one_account_leave_alone_what_is_the_other_s(sky: Sky, connection: str) -> None:
    declared = sky.registry.reading.connection_state(connection)
    second = {"provider": declared.provider, **declared.settings}
    sky.registry.declaring.apply({"policy": {"orphans": "delete"}, "connections": {"second": second}}, ANA, plan=False)
    sky.clouds.pace.training_s = 3600
    ref = sky.fine_tune(connection)
    sweep(sky, 20)
    assert sky.version(ref).state == "training"
    sky.clouds.clock.advance(3600)
    sky.settle()
    assert sky.version(ref).state == "trained", sky.version(ref).error
    sky.activate(ref)
    sky.settle(lambda: sky.version(ref).state == "active")
    sky.clouds.clock.advance(900)
    sweep(sky, 20)
    assert sky.version(ref).state == "active"
    assert [one.connection for one in sky.log.deployments(DeploymentQuery())] == [connection]
    assert [one.deployment is None for one in sky.registry.comparing.side_by_side()] == [False]
    told = [event.type for event in sky.log.read()]
    assert {"orphan-found", "orphan-job-found", "foreign-found"}.isdisjoint(told)


@SERVED
def test_an_orphan_in_an_account_with_two_connections_is_counted_once(sky: Sky, connection: str) -> None:
    declared = sky.registry.reading.connection_state(connection)
    second = {"provider": declared.provider, **declared.settings}
    sky.registry.declaring.apply({"connections": {"second": second}}, ANA, plan=False)
    ref = sky.trained(connection)
    made(sky, connection, "tenure-test12-bot-1-9", ref)
    sky.clouds.pace.training_s = 1e6
    job_made(sky, connection, "tenure-test12-bot-7-1", registry="test12")
    sweep(sky, 4)
    assert len(sky.log.deployments(DeploymentQuery())) == 1
    states = [sky.registry.reading.connection_state(name) for name in (connection, "second")]
    assert sum(len(one.orphan_jobs) for one in states) == 1

"""Training jobs that no version knows are named to whoever looks at what costs money."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.domain import events as ev
from registry.domain.events import NewEvent
from registry.store.duckdb_log import open_log
from tests.cli.shell import Local
from tests.clock import RealClock, SequentialIds


@pytest.fixture
def found(local: Local, home: Path) -> Local:
    """A sweep has found one."""
    assert local.tenure("deployments").err == ""
    log = open_log(home, clock=RealClock(), ids=SequentialIds())
    job = ev.JobRef(id="job-9", name="tenure-test12-support-bot-9-1", status="running")
    payload = ev.OrphanJobFound(connection="local", job=job, suspected="support-bot@9")
    log.append([NewEvent(stream="connection:local", payload=payload, actor="provider:local")], expected={})
    log.close()
    return local


@pytest.mark.parametrize("more", [[], ["--billed"], ["--json"], ["--as-of", "2999-01-01"]])
def test_deployments_name_it_on_stderr_and_are_a_list_of_deployments_as_before(found: Local, more: list[str]) -> None:
    answer = found.tenure("deployments", *more)
    assert answer.err.startswith("note: training job job-9 (tenure-test12-support-bot-9-1) at local runs")
    assert 'orphans = "delete"' in answer.err
    assert answer.code == 0
    assert (answer.json if "--json" in more else answer.rows) == []


def test_where_one_model_or_an_earlier_time_is_asked_about_nothing_is_named(found: Local) -> None:
    assert found.tenure("deployments", "--model", "support-bot").err == ""
    assert found.tenure("deployments", "--as-of", "2").err == ""


def test_the_connections_and_the_plan_of_a_pass_tell_of_it(found: Local) -> None:
    (connection,) = found.tenure("connections", "--json").json
    assert [one["suspected"] for one in connection["orphan_jobs"]] == ["support-bot@9"]
    plan = found.tenure("reconcile", "--plan", "--json").json
    assert any("job-9" in (step["detail"] or "") for step in plan)

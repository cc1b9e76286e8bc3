"""The demo's whole story with a stand-in for torch: what it tells, that it may be repeated, and that it stops clean."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

import registry
from providers.huggingface.process import PID_FILE
from registry.cli import demo
from registry.cli.demo import Life, Script
from registry.cli.running import StoppedError
from registry.domain.errors import TenureError
from registry.embedded import Tenure
from tests.cli.shell import Local, Run

pytestmark = pytest.mark.slow

STEPS: Mapping[str, object] = {"max_steps": 3}
SCRIPT = Script(
    model="support-bot",
    before="support-bot-before",
    base_model="tiny",
    question="Where is it?",
    short=STEPS,
    long={"max_steps": 4},
)


def perform() -> None:
    with registry.open(background=False) as tenure:
        demo.perform(Life(tenure, SCRIPT))


def states(tenure: Run) -> dict[str, str]:
    models = [row["model"] for row in tenure("models").records]
    return {row["ref"]: row["state"] for model in models for row in tenure("versions", model).records}


def running(tenure: Run) -> list[str]:
    return [row["ref"] for row in tenure("deployments").records if row["state"] != "deleted"]


def test_the_demo_lives_a_whole_life_and_says_which_commands_do_the_same(
    local: Local, capsys: pytest.CaptureFixture[str]
) -> None:
    perform()
    told = capsys.readouterr().out

    for command in ("deploy", "undeploy", "fine-tune", "activate", "chat", "history", "deployments", "audit"):
        assert f"$ tenure {command}" in told
    assert told.count("onetwo") == 4
    assert "version retired" in told
    assert states(local.tenure) == {
        "support-bot-before@1": "trained",
        "support-bot@1": "active",
        "support-bot@2": "retired",
    }
    assert running(local.tenure) == ["support-bot@1"]


def test_said_again_the_demo_takes_what_it_has_trained_and_makes_anew_what_was_deleted(local: Local) -> None:
    perform()
    perform()
    assert sorted(states(local.tenure)) == ["support-bot-before@1", "support-bot@1", "support-bot@2"]
    assert running(local.tenure) == ["support-bot@1"]

    local.tenure("delete", "support-bot@2")
    perform()
    assert states(local.tenure)["support-bot@3"] == "retired"


def test_interrupted_while_it_trains_it_leaves_nothing_running_and_goes_on_the_next_time(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.behaviour.write_text("hang")
    waits: list[str] = []
    wait = Tenure.wait

    def interrupted(tenure: Tenure, ref: str, **options: object) -> object:
        waits.append(ref)
        wait(tenure, ref, until=frozenset({"training"}))
        raise KeyboardInterrupt

    monkeypatch.setattr(Tenure, "wait", interrupted)
    with pytest.raises(StoppedError, match="Nothing of it is left running"):
        perform()
    assert waits == ["support-bot@1"]
    assert states(local.tenure)["support-bot@1"] == "cancelled"
    assert running(local.tenure) == []
    assert local.tenure("reconcile").rows == []

    monkeypatch.setattr(Tenure, "wait", wait)
    local.behaviour.unlink()
    perform()
    assert states(local.tenure)["support-bot@1"] == "active"


def test_interrupted_while_it_serves_it_leaves_nothing_running(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Life, "_compare", interrupted)
    with pytest.raises(StoppedError):
        perform()

    assert states(local.tenure)["support-bot@1"] == "retired"
    assert running(local.tenure) == []


def test_interrupted_while_it_activates_it_leaves_nothing_running(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    def activate(life: Life, ref: str, reason: str) -> None:
        life._tenure.activate(ref, reason=reason)
        raise KeyboardInterrupt

    monkeypatch.setattr(Life, "_activate", activate)
    with pytest.raises(StoppedError):
        perform()

    assert states(local.tenure)["support-bot@1"] in {"trained", "retired"}
    assert running(local.tenure) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_trains_leaves_no_process(local: Local, home: Path, ending: signal.Signals) -> None:
    local.behaviour.write_text("hang")
    program = (
        "import sys; from registry.cli import demo, main; from tests.cli.test_cli_demo import SCRIPT; "
        "demo.SCRIPT = SCRIPT; sys.exit(main(['demo']))"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        told = iter(process.stderr)
        assert any("support-bot@1: training" in line for line in told)
        process.send_signal(ending)
        rest = "".join(told)
        assert process.wait(60) == 130, rest
    assert "Nothing of it is left running" in rest
    assert states(local.tenure)["support-bot@1"] == "cancelled"
    pids = [int(file.read_text()) for file in home.rglob(PID_FILE)]
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_training_that_fails_ends_the_demo_with_its_error_and_nothing_running(local: Local) -> None:
    local.behaviour.write_text("fail")
    with pytest.raises(TenureError, match="the loss is not a number"):
        perform()
    assert running(local.tenure) == []


def test_a_home_without_a_connection_gets_one_and_its_own_models_folder(
    tenure: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(life: Life) -> None:
        raise TenureError("far enough")

    monkeypatch.setattr(Life, "_before", before)
    with pytest.raises(TenureError, match="far enough"):
        perform()

    assert tenure("connections", "--json").json[0]["settings"] == {"models": str(home / "models")}
    assert tenure("policy", "show", "support-bot", "--json").json["superseded_grace"] == "0s"


def test_without_torch_the_demo_says_what_to_install(tenure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing)
    answer = tenure("demo")
    assert answer.code == 1
    assert "tenure[local]" in answer.err


def test_the_shipped_data_are_those_of_the_examples() -> None:
    examples = Path(__file__).parents[2] / "examples" / "support-tickets"
    shipped = Path(demo.__file__).parent / "demo_data"
    for name in demo.FILES:
        assert (shipped / name).read_bytes() == (examples / name).read_bytes()

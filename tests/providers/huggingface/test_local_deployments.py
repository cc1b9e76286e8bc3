"""Server processes: serving only after a real answer, failed with a reason, and gone for certain."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from providers.errors import OutcomeUnknownError, RejectedError, UnavailableError
from providers.huggingface import deployments as module
from providers.huggingface.launcher import Handle, Program
from providers.huggingface.process import ProcessLauncher
from providers.huggingface.provider import LocalProvider
from providers.ports import ServingTarget
from tests.providers.huggingface.local_harness import LocalHarness
from training.contract import manifest_of, write_json


def port_of(harness: LocalHarness, name: str) -> int:
    return int(json.loads((harness.place("deployments", name) / "record.json").read_text())["port"])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_deployment_that_is_deleted_leaves_no_process_no_open_port_and_no_folder(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_S_MAX", 0.1)
    harness.connect().deployments.create(harness.deployment("dep-1", "deaf"))
    assert harness.settled("dep-1").outcome == "serving"
    port, process = port_of(harness, "dep-1"), harness.process("deployments", "dep-1")
    assert is_open(port)
    harness.connect().deployments.delete("dep-1")
    assert not is_open(port)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not harness.place("deployments", "dep-1").exists()


def test_a_server_that_dies_before_it_answers_has_failed_with_its_last_words(harness: LocalHarness) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1", "die"))
    report = harness.settled("dep-1")
    assert report.outcome == "failed"
    assert report.error == "the server ended before it answered: RuntimeError: out of memory"
    assert harness.connect().deployments.get("dep-1") == report
    assert not harness.connect().deployments.serves(str(report.artifact_id))
    harness.connect().deployments.delete("dep-1")
    assert harness.connect().deployments.list() == []


def test_a_server_that_is_killed_before_it_answers_has_failed_with_the_signal(harness: LocalHarness) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1", "load for ever"))
    harness.process("deployments", "dep-1").kill()
    how = "was ended by SIGKILL (most likely the machine ran out of memory)"
    assert harness.settled("dep-1").error == f"the server {how} before it answered: it printed nothing"


def test_a_server_that_listens_and_cannot_answer_has_failed(harness: LocalHarness) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1", "broken"))
    report = harness.settled("dep-1")
    assert (report.outcome, report.error) == ("failed", "it answers 500 to a chat: TemplateSyntaxError: unknown tag")


def test_a_server_that_never_comes_up_has_failed_in_the_end(harness: LocalHarness) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1", "load for ever"))
    report = harness.connect().deployments.get("dep-1")
    assert report is not None
    assert report.outcome == "provisioning"
    harness.later(module.STARTUP_S_MAX + 1)
    assert harness.settled("dep-1").error == "no answer after 1801 s"


def test_a_server_that_is_slow_with_its_first_answer_is_still_provisioning(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_S_MAX", 0.05)
    monkeypatch.setattr(module, "PROBE", {"messages": [{"role": "user", "content": "be slow"}]})
    harness.connect().deployments.create(harness.deployment("dep-1"))
    process = harness.process("deployments", "dep-1")
    while not module._listens(process.pid, port_of(harness, "dep-1")):
        harness.advance()
    report = harness.connect().deployments.get("dep-1")
    assert report is not None
    assert report.outcome == "provisioning"


def test_a_stranger_on_the_port_is_not_taken_for_the_server(harness: LocalHarness) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1", "load for ever"))
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port_of(harness, "dep-1")))
        stranger.listen()
        report = harness.connect().deployments.get("dep-1")
    assert report is not None
    assert report.outcome == "provisioning"


class CrashingLauncher(ProcessLauncher):
    """The registry dies at the instant of the start."""

    def start(self, folder: Path, program: Program) -> Handle | None:
        raise KeyboardInterrupt


def test_a_registry_that_dies_between_record_and_start_is_followed_by_one_that_starts_the_server(
    harness: LocalHarness,
) -> None:
    dying = LocalProvider(harness.connection, now=harness.now, launcher=CrashingLauncher())
    with pytest.raises(KeyboardInterrupt):
        dying.deployments.create(harness.deployment("dep-1"))
    dying.close()
    assert harness.settled("dep-1").outcome == "serving"


class StuckLauncher(ProcessLauncher):
    """A process that nothing ends."""

    def stop(self, folder: Path, *, grace_s: float) -> None:
        raise OutcomeUnknownError("stuck", operation="stop")


def test_a_deletion_that_does_not_succeed_is_seen_and_can_be_repeated(harness: LocalHarness) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1"))
    stuck = LocalProvider(harness.connection, now=harness.now, launcher=StuckLauncher())
    with pytest.raises(OutcomeUnknownError):
        stuck.deployments.delete("dep-1")
    stuck.close()
    (report,) = harness.connect().deployments.list()
    assert report.outcome == "deleting"
    harness.connect().deployments.delete("dep-1")
    assert harness.connect().deployments.list() == []


def test_a_lost_deployment_is_not_made_again_under_its_name(harness: LocalHarness) -> None:
    request = harness.deployment("dep-1")
    harness.connect().deployments.create(request)
    harness.settled("dep-1")
    harness.lose_deployment("dep-1")
    while harness.connect().deployments.get("dep-1") is not None:
        harness.advance()
    with pytest.raises(RejectedError, match="lost"):
        harness.connect().deployments.create(request)
    with pytest.raises(RejectedError, match="another token"):
        harness.connect().deployments.create(dataclasses.replace(request, token="another"))


def test_what_another_registry_made_here_is_not_ours(harness: LocalHarness) -> None:
    other = LocalProvider(dataclasses.replace(harness.connection, registry="r2"), now=harness.now)
    other.deployments.create(harness.deployment("dep-1"))
    other.close()
    report = harness.settled("dep-1")
    assert (report.outcome, report.ours) == ("serving", False)


def test_a_model_that_must_not_be_served_is_refused_before_anything_starts(harness: LocalHarness) -> None:
    deployments = harness.connect().deployments
    good = harness.deployment("dep-1")
    folder = Path(good.artifact.id)

    def changed(**artifact: str) -> None:
        deployments.create(dataclasses.replace(good, artifact=dataclasses.replace(good.artifact, **artifact)))

    with pytest.raises(RejectedError, match="no model folder"):
        changed(id=str(harness.folder / "gone"))
    with pytest.raises(RejectedError, match="not what was trained"):
        changed(digest="sha256:0")
    with pytest.raises(RejectedError, match=r"no options .*colour"):
        deployments.create(dataclasses.replace(good, options={"colour": "blue"}))
    with pytest.raises(RejectedError, match="not a name"):
        deployments.create(dataclasses.replace(good, name=".hidden"))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(RejectedError, match="pickle"):
        deployments.create(good)
    assert deployments.list() == []
    assert deployments.get("../dep-1") is None
    deployments.delete("../dep-1")


def test_a_model_that_changed_after_its_manifest_is_refused(harness: LocalHarness) -> None:
    request = harness.deployment("dep-1")
    folder = Path(request.artifact.id)
    write_json(folder.parent / "manifest.json", manifest_of(folder))
    artifacts = harness.connect().artifacts
    (artifact,) = artifacts.list()
    assert artifacts.get(artifact.id) == artifact
    (folder / "behaviour.txt").write_text("changed")
    with pytest.raises(RejectedError, match="SHA-256"):
        artifacts.get(artifact.id)
    (folder.parent / "manifest.json").write_text("{}")
    with pytest.raises(RejectedError, match="damaged"):
        artifacts.get(artifact.id)


def test_an_artifact_is_known_by_its_absolute_path(harness: LocalHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    model = harness.model()
    monkeypatch.chdir(model.parent)
    found = harness.connect().artifacts.get("model")
    assert found is not None
    assert found.id == str(model)


def test_a_model_from_elsewhere_is_not_ours_to_delete(harness: LocalHarness) -> None:
    artifacts = harness.connect().artifacts
    with pytest.raises(RejectedError, match="by hand"):
        artifacts.delete(str(harness.folder / "models" / "tiny"))
    assert (harness.folder / "models" / "tiny" / "config.json").exists()


def test_checkpoints_go_with_the_artifact(harness: LocalHarness) -> None:
    model = harness.model()
    (model.parent / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    harness.connect().artifacts.delete(str(model))
    assert not (model.parent / "checkpoints").exists()


@pytest.mark.parametrize(("engine", "device"), [("auto", "auto"), ("vllm", "cuda")])
def test_vllm_serves_where_it_is_and_a_gpu_is(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch, engine: str, device: str
) -> None:
    monkeypatch.setenv("CUDA_STAND_IN", json.dumps({"vllm": True, "cuda": True}))
    provider = harness.connect(engine=engine, device=device)
    provider.deployments.create(harness.deployment("dep-1"))
    report = harness.settled("dep-1")
    assert (report.outcome, report.sku) == ("serving", "vllm")
    target = ServingTarget(
        artifact=harness.deployment("dep-1").artifact, deployment_id="dep-1", deployment_name="dep-1", endpoint=None
    )
    answer = provider.chat.complete(target, {"messages": [{"role": "user", "content": "hi"}]}, timeout_s=10)
    assert answer["model"] == "support-bot@1"


def test_a_server_runs_nothing_that_lies_beside_the_weights(harness: LocalHarness) -> None:
    request = dataclasses.replace(harness.deployment("dep-1"), model="json")
    (Path(request.artifact.id) / "__init__.py").write_text("raise SystemExit('the model was imported')")
    harness.connect().deployments.create(request)
    assert harness.settled("dep-1").outcome == "serving"
    environment = harness.process("deployments", "dep-1").environ()
    here = harness.place("deployments", "dep-1") / "served"
    run = [sys.executable, "-m", "json.tool", "--help"]
    subprocess.run(run, env=environment, cwd=here, check=True, capture_output=True)


def test_a_server_that_an_earlier_release_has_recorded_is_started_as_it_was(harness: LocalHarness) -> None:
    request = harness.deployment("dep-1")
    provider = harness.connect()
    provider.deployments.create(request)
    harness.settled("dep-1")
    provider.deployments.delete("dep-1")

    model, port = request.artifact.id, module._free_port(set())
    argv = [str(harness.interpreter), "-m", "transformers.cli.transformers", "serve", model, "--device", "cpu"]
    record: dict[str, object] = {
        "name": "dep-1",
        "token": request.token,
        "registry": "r1",
        "artifact": model,
        "engine": "transformers",
        "argv": [*argv, "--host", "127.0.0.1", "--port", str(port)],
        "served_model": model,
        "port": port,
        "created_at": harness.now().timestamp(),
        "tags": {},
    }
    place = harness.place("deployments", "dep-1")
    place.mkdir()
    (place / "record.json").write_text(json.dumps(record))
    assert harness.settled("dep-1").outcome == "serving"


def test_a_servers_threads_do_not_spin_unless_that_is_wanted(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.connect().deployments.create(harness.deployment("dep-1"))
    assert harness.process("deployments", "dep-1").environ()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    harness.connect().deployments.create(harness.deployment("dep-2"))
    assert harness.process("deployments", "dep-2").environ()["OMP_WAIT_POLICY"] == "ACTIVE"


def test_transformers_serves_where_there_is_no_gpu(harness: LocalHarness) -> None:
    provider = harness.connect(device="auto")
    assert provider.deployments.create(harness.deployment("dep-1")).sku == "transformers"


@pytest.mark.parametrize("has", [{"vllm": True}, {"cuda": True}])
def test_vllm_is_refused_where_it_cannot_run(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch, has: dict[str, bool]
) -> None:
    monkeypatch.setenv("CUDA_STAND_IN", json.dumps(has))
    with pytest.raises(RejectedError, match="needs a GPU"):
        harness.connect(engine="vllm", device="auto").deployments.create(harness.deployment("dep-1"))


def test_ports_that_other_deployments_have_are_not_given_again() -> None:
    with pytest.raises(UnavailableError, match="no free port"):
        module._free_port(set(range(65_536)))

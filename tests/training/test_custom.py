"""Training code of the user's own, as scripts that cost no torch import, and the example once for real."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.training.conftest import Runs
from training import custom
from training.contract import PARTIAL_FOLDER, read_manifest, read_progress, read_status

ROOT = Path(__file__).parents[2]
COPY = """
import json, os, pathlib, shutil, sys
base, output = pathlib.Path(os.environ["TENURE_BASE_MODEL"]), pathlib.Path(os.environ["TENURE_OUTPUT"])
for name in ("config.json", "model.safetensors"):
    shutil.copyfile(base / name, output / name)
"""


def script(runs: Runs, text: str) -> str:
    path = runs.folder / "train.py"
    path.write_text(text)
    return str(path)


def error(runs: Runs) -> str:
    status = read_status(runs.out)
    assert status is not None
    assert status.state == "failed"
    assert read_manifest(runs.out) is None
    return str(status.error)


def test_the_script_gets_the_same_by_arguments_and_by_environment(runs: Runs) -> None:
    text = COPY + (
        "import argparse\n"
        "p = argparse.ArgumentParser()\n"
        "names = ['train', 'validation', 'base-model', 'output', 'hyperparameters']\n"
        "[p.add_argument('--' + n) for n in names]\n"
        "a = vars(p.parse_args())\n"
        "assert a == {k: os.environ['TENURE_' + k.upper()] for k in a}, a\n"
        "assert all(a.values())\n"
        "assert json.load(open(a['hyperparameters'])) == {'mine': 'yes'}\n"
        "assert os.environ['HF_HUB_OFFLINE'] == '1'\n"
        "assert os.path.isdir(os.path.join(os.path.dirname(a['output']), 'checkpoints'))\n"
    )
    assert runs.run(code=script(runs, text), hyperparameters={"mine": "yes"}) == 0
    assert read_manifest(runs.out) is not None


def test_a_model_without_a_tokenizer_gets_the_base_models(runs: Runs) -> None:
    assert runs.run(code=script(runs, COPY), validation=None) == 0
    assert (runs.out / "model" / "tokenizer.json").is_file()


def test_what_the_script_appends_becomes_the_runs_progress(runs: Runs) -> None:
    lines: list[object] = [
        {"step": 1, "metrics": {"train_loss": 2.5}, "epoch": 0.5},
        {"step": 2, "metrics": {"train_loss": 2.0, "valid_loss": 2.2, "bad": float("nan")}},
        {"step": "x", "metrics": {}},
        [1],
        {"step": 3},
    ]
    written = "\n".join(json.dumps(line) for line in lines) + "\nnonsense\n" + '{"step": 4, "metr'
    text = COPY + f"open(os.environ['TENURE_PROGRESS'], 'a').write({written!r})\n"
    assert runs.run(code=script(runs, text)) == 0
    points, _ = read_progress(runs.out)
    assert [(point.step, point.epoch, dict(point.metrics)) for point in points] == [
        (1, 0.5, {"train_loss": 2.5}),
        (2, None, {"train_loss": 2.0, "valid_loss": 2.2}),
    ]
    status = read_status(runs.out)
    assert status is not None
    assert (status.state, status.step, status.metrics) == ("succeeded", 2, {"train_loss": 2.0, "valid_loss": 2.2})


def test_a_script_that_fails_fails_the_run(runs: Runs) -> None:
    assert runs.run(code=script(runs, "raise SystemExit(7)")) == 1
    assert error(runs) == f"the training script ended with exit code 7; its output is in {runs.out / 'log.txt'}"


def test_a_script_that_leaves_nothing_fails_the_run(runs: Runs) -> None:
    assert runs.run(code=script(runs, "")) == 1
    assert error(runs) == "the training script left nothing in its output folder"


def test_a_script_that_leaves_a_pickle_fails_the_run_and_may_be_run_again(runs: Runs) -> None:
    assert runs.run(code=script(runs, COPY + "(output / 'training_args.bin').touch()")) == 1
    assert error(runs).startswith("the trained model was refused: training_args.bin: may hold a pickle")
    assert runs.run(code=script(runs, COPY)) == 0


def test_a_script_whose_model_has_diverged_fails_the_run(runs: Runs) -> None:
    text = COPY + (
        "path = output / 'model.safetensors'\npath.write_bytes(path.read_bytes()[:-4] + b'\\x00\\x00\\xc0\\x7f')\n"
    )
    assert runs.run(code=script(runs, text)) == 1
    assert re.search(r"the trained model was refused: model.safetensors: the tensor .* holds NaN", error(runs))


@pytest.mark.parametrize(
    "harm", ["(base / 'config.json').write_text('{}')", "(base / 'new.txt').touch()", "(base / 'config.json').unlink()"]
)
def test_a_script_that_changes_its_base_model_fails_the_run(runs: Runs, harm: str) -> None:
    base = Path(shutil.copytree(runs.spec.base_model, runs.folder / "base"))
    assert runs.run(code=script(runs, f"{COPY}{harm}\n"), base_model=str(base)) == 1
    name = "new.txt" if "new.txt" in harm else "config.json"
    assert f"the base model was changed while the training script ran ({base / name})" in error(runs)


def test_cancelling_the_run_ends_the_script(runs: Runs) -> None:
    text = (
        "import os, time\n"
        "open(os.environ['TENURE_PROGRESS'], 'a').write('{\"step\": 1, \"metrics\": {}}\\n')\n"
        "open(os.environ['TENURE_OUTPUT'] + '/pid', 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    spec = runs.write(code=script(runs, text))
    process = subprocess.Popen([sys.executable, "-m", "training", str(spec), str(runs.out)], cwd=ROOT)
    try:
        tick = threading.Event()
        while not read_progress(runs.out)[0]:
            assert process.poll() is None
            tick.wait(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 3
    finally:
        process.kill()
    status = read_status(runs.out)
    assert status is not None
    assert status.state == "cancelled"
    pid = (runs.out / ".model.partial" / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_a_script_that_does_not_listen_is_killed(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(custom, "TERMINATE_S", 0.05)
    deaf = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.readline() == b"deaf\n"
        custom._end(process)
    assert process.returncode == -signal.SIGKILL


def test_the_example_trains(runs: Runs) -> None:
    example = str(ROOT / "examples" / "custom_training.py")
    assert runs.run(code=example, hyperparameters={"steps": "3", "learning_rate": "1e-2"}) == 0
    points, _ = read_progress(runs.out)
    assert [point.step for point in points] == [1, 2, 3]
    assert points[-1].metrics["train_loss"] < points[0].metrics["train_loss"]


def test_points_that_nothing_can_hold_are_left_out_and_the_run_goes_on(runs: Runs) -> None:
    lines = [
        '{"step": 1, "metrics": {"train_loss": 2.0}, "epoch": NaN}',
        '{"step": 1e400, "metrics": {"train_loss": 1.0}}',
        '{"step": 99999999999999999999999999, "metrics": {"train_loss": 1.0}}',
        '{"step": -3, "metrics": {"train_loss": 1.0}}',
        '{"step": 2, "metrics": {"\\ud800": 1.0}}',
        "[" * 100_000,
    ]
    text = COPY + f"open(os.environ['TENURE_PROGRESS'], 'w').write({chr(10).join(lines)!r} + chr(10))\n"
    assert runs.run(code=script(runs, text)) == 0
    points, _ = read_progress(runs.out)
    assert [(point.step, point.epoch, dict(point.metrics)) for point in points] == [(1, None, {"train_loss": 2.0})]


def test_what_the_script_does_to_its_data_no_other_run_sees(runs: Runs) -> None:
    before = Path(runs.spec.train).read_bytes()
    text = COPY + "[open(os.environ[n], 'w').write('gone') for n in ('TENURE_TRAIN', 'TENURE_VALIDATION')]\n"
    assert runs.run(code=script(runs, text)) == 0
    assert Path(runs.spec.train).read_bytes() == before
    assert Path(str(runs.spec.validation)).read_text() != "gone"


@pytest.mark.parametrize(
    "leaving",
    [
        "subprocess.Popen([sys.executable, '-S', '-c', deaf])",
        "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0: os.closerange(0, 99); time.sleep(600)\n os._exit(0)",
    ],
    ids=["child", "daemon"],
)
def test_what_the_script_left_running_is_ended_with_it(runs: Runs, leaving: str) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    assert runs.run(code=script(runs, f"{COPY}import subprocess, time\ndeaf = {deaf!r}\n{leaving}\n")) == 0
    assert not [one for one in psutil.process_iter() if custom._works_for(one, runs.out / PARTIAL_FOLDER)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV; its"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL (most likely the machine ran out of memory); its"),
        ("raise SystemExit(137)", "ended with exit code 137 (most likely the machine ran out of memory); its"),
    ],
)
def test_how_a_script_ended_is_said_in_words(runs: Runs, text: str, why: str) -> None:
    assert runs.run(code=script(runs, text)) == 1
    assert why in error(runs)


def test_a_script_that_fails_is_quoted(runs: Runs) -> None:
    runs.out.mkdir()
    (runs.out / "log.txt").write_bytes(b"\xff noise\nTraceback\nModuleNotFoundError: No module named 'x'\n")
    assert runs.run(code=script(runs, "raise SystemExit(1)")) == 1
    assert "ended with exit code 1: ModuleNotFoundError: No module named 'x'; its output is in" in error(runs)


def test_asking_again_to_cancel_does_not_save_a_deaf_script(runs: Runs) -> None:
    text = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.environ['TENURE_PROGRESS'], 'a').write('{\"step\": 1, \"metrics\": {}}\\n')\ntime.sleep(60)\n"
    )
    spec = runs.write(code=script(runs, text))
    code = (
        "import sys; from training import custom, program; custom.TERMINATE_S = 1; sys.exit(program.main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(spec), str(runs.out)], cwd=ROOT)
    try:
        tick = threading.Event()
        while not read_progress(runs.out)[0]:
            assert process.poll() is None
            tick.wait(0.02)
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            tick.wait(0.1)
        assert process.wait(30) == 3
    finally:
        process.kill()
    assert not [one for one in psutil.process_iter() if custom._works_for(one, runs.out / PARTIAL_FOLDER)]

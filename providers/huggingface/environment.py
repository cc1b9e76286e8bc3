"""What a child process is given: a minimal environment, and our `training` package whatever its interpreter has."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import training
from providers.huggingface.settings import Settings

INSPECT_S_MAX = 120.0
"""Importing torch from a cold disk takes tens of seconds."""

_INHERITED = frozenset(
    {
        "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    }
)  # fmt: skip
_INHERITED_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_")
_OF_THE_HUB = frozenset({"HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT"})
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"})
_SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Torch's threads sleep while they wait for each other, unless the user says otherwise. By default they spin: on two
busy cores SmolLM2's eight tokens then took 7 to 13 s against 2 s, and six steps of training 225 s against 47 s."""

_INSPECT = """
import importlib.util, json
found = {name: importlib.util.find_spec(name) is not None for name in ("transformers", "trl", "vllm")}
try:
    import torch
    found.update(torch=torch.__version__, cuda=torch.cuda.is_available())
except Exception as exc:
    found.update(torch=None, cuda=False, error=f"{type(exc).__name__}: {exc}")
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an interpreter has. `error`: why it could not be asked, or why torch does not import."""

    torch: str | None = None
    transformers: bool = False
    trl: bool = False
    vllm: bool = False
    cuda: bool = False
    error: str | None = None


def child_environment(settings: Settings, folder: Path) -> Mapping[str, str]:
    """The whole environment of a child. No credential is in it: what is not named here does not pass.

    `folder` gets the link through which another interpreter, without Tenure installed, imports `training` and
    nothing else of ours.
    """
    names = _INHERITED | _OF_THE_HUB | (_PROXIES if settings.downloads else frozenset[str]())
    kept = {name: value for name, value in os.environ.items() if name in names or name.startswith(_INHERITED_PREFIXES)}
    return {
        "LANG": "C.UTF-8",
        **_SLEEPING_THREADS,
        **kept,
        "PYTHONPATH": str(_training_alone(folder)),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0" if settings.downloads else "1",
    }


def inspect(settings: Settings, folder: Path) -> Inspection:
    """Ask the connection's interpreter what it has. Takes seconds where torch is there. Never raises."""
    try:
        done = subprocess.run(
            [str(settings.python), "-c", _INSPECT],
            env=dict(child_environment(settings, folder)),
            capture_output=True,
            text=True,
            timeout=INSPECT_S_MAX,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
        return Inspection(**answer)
    except subprocess.CalledProcessError as exc:
        return Inspection(error=f"exit code {exc.returncode}: {str(exc.stderr).strip()[-300:]}")
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as exc:
        return Inspection(error=str(exc))


def _training_alone(folder: Path) -> Path:
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    package = Path(training.__file__).resolve().parent
    link = code / "training"
    if not link.is_symlink() or link.readlink() != package:
        fresh = code / f".training.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(package, target_is_directory=True)
        if link.is_dir() and not link.is_symlink():  # a copy of the home that did not keep links
            shutil.rmtree(link)
        fresh.replace(link)
    return code

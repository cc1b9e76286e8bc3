"""The programs that can serve a model folder behind OpenAI's chat API, and which one a connection gets.

vLLM where there is a GPU and vLLM, else `transformers serve` (docs/decisions/0012-serving-engine.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from providers.errors import RejectedError
from providers.huggingface.environment import Inspection
from providers.huggingface.settings import Settings

GPU_SHARE = "0.45"
"""Of the GPU's memory, per server: while the active version is switched, the old and the new one serve side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """`model` is what the server wants to be asked for, and calls itself in its answers."""

    engine: Literal["transformers", "vllm"]
    argv: Sequence[str]
    model: str


def serving(settings: Settings, *, folder: Path, name: str, port: int, inspected: Callable[[], Inspection]) -> Serving:
    """The command line for one server on 127.0.0.1. `name`: the version's, `support-bot@3`.

    It is run where `support-bot` is a link to `folder`. The interpreter is asked what it has only where that decides.
    """
    if settings.engine == "vllm" or (settings.engine == "auto" and settings.device != "cpu"):
        has = inspected()
        if has.vllm and has.cuda and settings.device != "cpu":
            return _vllm(settings, folder=folder, name=name, port=port)
        if settings.engine == "vllm":
            raise RejectedError(
                f"engine = vllm needs a GPU, device auto or cuda, and vllm installed for {settings.python}",
                operation="create-deployment",
            )
    return _transformers(settings, name=name, port=port)


def _vllm(settings: Settings, *, folder: Path, name: str, port: int) -> Serving:
    argv = [str(settings.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    argv += ["--served-model-name", name, "--gpu-memory-utilization", GPU_SHARE]
    return Serving(engine="vllm", argv=[*argv, "--host", "127.0.0.1", "--port", str(port)], model=name)


def _transformers(settings: Settings, *, name: str, port: int) -> Serving:
    """It takes a model as `name@revision`, of which a folder has none, and gives both back in its answers. By its path,
    a folder with an @ in it would not be found.
    """
    argv = [str(settings.python), "-m", "transformers.cli.transformers", "serve", name]
    argv += ["--device", settings.device]
    return Serving(engine="transformers", argv=[*argv, "--host", "127.0.0.1", "--port", str(port)], model=name)

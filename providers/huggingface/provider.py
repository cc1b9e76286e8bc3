"""One local connection, opened: its settings, and the parts that work with them."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from providers.huggingface import base_models
from providers.huggingface.artifacts import LocalArtifacts
from providers.huggingface.chat import LocalChat
from providers.huggingface.deployments import LocalDeployments
from providers.huggingface.environment import inspect
from providers.huggingface.launcher import Launcher
from providers.huggingface.process import ProcessLauncher
from providers.huggingface.settings import settings_of
from providers.huggingface.training import LocalTraining
from providers.ports import Capabilities, Connection, ConnectionCheck

FREE_BYTES_MIN = 5_000_000_000
"""A small model with its checkpoints and its result; less than this ends in a full disk."""
POLL_INTERVAL_S = 1.0
"""Looking costs a few file reads here."""


class LocalProvider:
    """`providers.ports.Provider` for this machine."""

    def __init__(
        self, connection: Connection, *, now: Callable[[], datetime], launcher: Launcher | None = None
    ) -> None:
        settings = settings_of(connection)
        chosen = launcher or ProcessLauncher()
        self.settings = settings
        self._folder = connection.folder.absolute()
        self._inspected = functools.cache(lambda: inspect(settings, self._folder))
        self.training = LocalTraining(settings, self._folder, chosen, now=now)
        self.deployments = LocalDeployments(
            settings, self._folder, chosen, registry=connection.registry, now=now, inspected=self._inspected
        )
        self.artifacts = LocalArtifacts(self._folder, settings.models, serves=self.deployments.serves)
        self.chat = LocalChat(self.deployments.server)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fine_tuning=self.settings.fine_tuning,
            serving="deployment",
            absence_reads=1,  # the kernel says whether a process lives; asking again tells nothing new
            poll_interval_s=POLL_INTERVAL_S,
        )

    def check(self) -> Sequence[ConnectionCheck]:
        return [self._check_models(), *self._check_interpreter(), self._check_disk()]

    def base_models(self) -> Sequence[str]:
        return base_models.base_models(self.settings.models)

    def retires_on(self, base_model: str) -> None:
        """What lies here stays."""
        del base_model

    def close(self) -> None:
        """Jobs and servers go on."""
        self.chat.close()
        self.deployments.close()

    def _check_models(self) -> ConnectionCheck:
        names = self.base_models()
        return ConnectionCheck(
            name="base models",
            passed=bool(names) or self.settings.downloads,
            detail=f"{self.settings.models}: {', '.join(names) or 'none'}",
            remedy=None if names else "put a model's folder there, or set downloads = true",
        )

    def _check_interpreter(self) -> Sequence[ConnectionCheck]:
        has = inspect(self.settings, self._folder)
        lacks = [name for name, there in (("transformers", has.transformers), ("trl", has.trl)) if not there]
        works = has.torch is not None and not lacks
        wants_cuda = self.settings.device == "cuda"
        vllm = self.settings.engine == "vllm"
        return [
            ConnectionCheck(
                name="code environment",
                passed=works,
                detail=has.error
                or f"{self.settings.python}: torch {has.torch}; missing: {', '.join(lacks) or 'nothing'}",
                remedy=None if works else "install tenure[local] there, or set python to an interpreter that has it",
            ),
            ConnectionCheck(
                name="device",
                passed=has.cuda or not wants_cuda,
                detail=f"{self.settings.device}: {'a GPU that torch can use' if has.cuda else 'no GPU; the CPU'}",
                remedy="set device = auto, or install a torch with CUDA" if wants_cuda and not has.cuda else None,
            ),
            ConnectionCheck(
                name="engine",
                passed=not vllm or (has.vllm and has.cuda),
                detail=f"{self.settings.engine}: {'vllm' if has.vllm and has.cuda else 'transformers serve'}",
                remedy="install vllm on a machine with a GPU, or set engine = auto" if vllm and not has.vllm else None,
            ),
        ]

    def _check_disk(self) -> ConnectionCheck:
        home = _nearest(self._folder)
        free = shutil.disk_usage(home).free
        writable = os.access(home, os.W_OK)
        return ConnectionCheck(
            name="disk",
            passed=free >= FREE_BYTES_MIN and writable,
            detail=f"{home}: {free / 1e9:.1f} GB free{'' if writable else ', not writable'}",
            remedy=None if free >= FREE_BYTES_MIN and writable else "free some space, or move TENURE_HOME",
        )


def _nearest(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())

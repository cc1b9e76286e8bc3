"""Deployments of the local provider: one server process each, on a port of 127.0.0.1, which outlives the registry.

A deployment's id is its name, and its folder says everything about it. It is `provisioning` until it has answered a
real completion, `failed` when it died before that, and absent when it died later: the folder with its log stays until
somebody deletes it, but nothing serves there, which is what the registry asks about.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from providers.errors import ChatError, OutcomeUnknownError, RejectedError, UnavailableError
from providers.huggingface.artifacts import located, verified
from providers.huggingface.chat import LocalChat, Server
from providers.huggingface.engines import serving
from providers.huggingface.environment import Inspection, child_environment
from providers.huggingface.folders import (
    RECORD_FILE,
    disk_trouble,
    last_words,
    make_folder,
    named_folder,
    names_in,
    read_json,
)
from providers.huggingface.launcher import Handle, Launcher, Program
from providers.huggingface.settings import Settings
from providers.ports import Artifact, DeploymentOutcome, DeploymentReport, DeploymentRequest, ServingTarget
from providers.redaction import redacted
from training.contract import LOG_FILE, write_json
from training.log import how_ended

DEPLOYMENTS_FOLDER = "deployments"
READY_FILE = "ready.json"
FAILED_FILE = "failed.json"
DELETING_FILE = "deleting.json"
SERVED_FOLDER = "served"
"""Where the server runs. A link to the model lies in it, by whose name the server calls it: answers bear no path."""
STOP_S_MAX = 5.0
"""How long a server may finish what it is doing once its deletion is asked for; the registry has drained it before."""
PROBE_S_MAX = 30.0
"""A first token takes seconds on a busy machine without an accelerator."""
STARTUP_S_MAX = 1800.0
"""A large model from a slow disk; after this it is not coming."""
PROBE = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


class LocalDeployments:
    """`providers.ports.Deployments` over processes on this machine."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        launcher: Launcher,
        *,
        registry: str,
        now: Callable[[], datetime],
        inspected: Callable[[], Inspection],
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._deployments = folder / DEPLOYMENTS_FOLDER
        self._launcher = launcher
        self._registry = registry
        self._now = now
        self._inspected = inspected
        self._creating = threading.Lock()
        self._probe = LocalChat(self.server)

    def create(self, request: DeploymentRequest) -> DeploymentReport:
        with self._creating:
            there = self._record(request.name)
            if there is None:
                _check(request, located(self._folder, request.artifact.id))
                with disk_trouble("create-deployment"):
                    self._make(request)
                there = self._record(request.name)
        if there is None or there["token"] != request.token:
            raise RejectedError(f"deployment {request.name} exists with another token", operation="create-deployment")
        report = self.get(request.name)
        if report is None:
            raise RejectedError(f"deployment {request.name} was there and is lost", operation="create-deployment")
        return report

    def list(self) -> Sequence[DeploymentReport]:
        with disk_trouble("list-deployments"):
            names = names_in(self._deployments)
        return [report for name in names if (report := self.get(name)) is not None]

    def get(self, name_or_id: str) -> DeploymentReport | None:
        """Looks, and moves on: starts one that was never started, and asks a live one for its first completion."""
        record = self._record(name_or_id)
        folder = named_folder(self._deployments, name_or_id)
        if record is None or folder is None:
            return None
        with disk_trouble("get-deployment"):
            if (folder / DELETING_FILE).exists():
                return _report(record, self._registry, "deleting")
            failed = read_json(folder / FAILED_FILE)
            if failed is not None:
                return _report(record, self._registry, "failed", error=str(failed["error"]))
            handle = self._launcher.find(folder)
            if (folder / READY_FILE).exists():
                return None if handle is None else _report(record, self._registry, "serving")
            if handle is None and not self._launcher.was_started(folder):
                handle = self._start(folder, record)
            error = self._fault(folder, record, handle)
            if error is not None:
                write_json(folder / FAILED_FILE, {"error": error})
                return _report(record, self._registry, "failed", error=error)
            return _report(record, self._registry, "serving" if (folder / READY_FILE).exists() else "provisioning")

    def delete(self, name_or_id: str) -> None:
        """Returns when the process is gone, its port is closed and the folder is removed. May be repeated."""
        record = self._record(name_or_id)
        folder = named_folder(self._deployments, name_or_id)
        if record is None or folder is None:
            return
        with disk_trouble("delete-deployment"):
            write_json(folder / DELETING_FILE, {"at": self._now().timestamp()})
            self._launcher.stop(folder, grace_s=STOP_S_MAX)
            shutil.rmtree(folder)

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        """Nobody counts calls that come past this registry."""
        del since
        return {}

    def serves(self, artifact_id: str) -> bool:
        return any(one.artifact_id == artifact_id and one.outcome != "failed" for one in self.list())

    def server(self, name: str) -> Server | None:
        """Where a deployment answers, whether or not it is ready."""
        record = self._record(name)
        return None if record is None else Server(url=_url(record), model=str(record["served_model"]))

    def close(self) -> None:
        self._probe.close()

    def _record(self, name: str) -> dict[str, Any] | None:
        folder = named_folder(self._deployments, name)
        with disk_trouble("get-deployment"):
            return None if folder is None else read_json(folder / RECORD_FILE)

    def _make(self, request: DeploymentRequest) -> None:
        taken = {int(record["port"]) for name in names_in(self._deployments) if (record := self._record(name))}
        port = _free_port(taken)
        model = located(self._folder, request.artifact.id)
        name = f"{request.model}@{request.version}"
        chosen = serving(self._settings, folder=model, name=name, port=port, inspected=self._inspected)
        record = {
            "name": request.name,
            "token": request.token,
            "registry": self._registry,
            "artifact": request.artifact.id,
            "link": [request.model, str(model)],
            "engine": chosen.engine,
            "argv": chosen.argv,
            "served_model": chosen.model,
            "port": port,
            "created_at": self._now().timestamp(),
            "tags": dict(request.tags),
        }
        make_folder(self._deployments, request.name, {RECORD_FILE: record})

    def _start(self, folder: Path, record: dict[str, Any]) -> Handle | None:
        served = folder / SERVED_FOLDER
        served.mkdir(exist_ok=True)
        if "link" in record:  # those of earlier releases name the model's folder
            name, model = record["link"]
            with contextlib.suppress(FileExistsError):
                (served / name).symlink_to(model, target_is_directory=True)
        # A model may be called `torch`: what lies where the server runs is not imported.
        env = {**child_environment(self._settings, self._folder), "PYTHONSAFEPATH": "1"}
        return self._launcher.start(folder, Program(argv=record["argv"], env=env, log=folder / LOG_FILE, cwd=served))

    def _fault(self, folder: Path, record: dict[str, Any], handle: Handle | None) -> str | None:
        """Why it will never serve, or None: it serves now, or has still to come up."""
        if handle is None:
            code = self._launcher.exit_code(folder)
            how = how_ended(code) if code is not None and code < 0 else "ended"
            return f"the server {how} before it answered: {last_words(folder / LOG_FILE)}"
        waited_s = self._now().timestamp() - float(record["created_at"])
        if not _listens(handle.pid, int(record["port"])):
            return f"no answer after {waited_s:.0f} s" if waited_s > STARTUP_S_MAX else None
        target = ServingTarget(
            artifact=Artifact(id=str(record["artifact"])),
            deployment_id=str(record["name"]),
            deployment_name=str(record["name"]),
            endpoint=_url(record),
        )
        try:
            self._probe.complete(target, PROBE, timeout_s=PROBE_S_MAX)
        except ChatError as exc:
            why = redacted(exc.body) if exc.status < 500 else last_words(folder / LOG_FILE)  # noqa: PLR2004 - its own fault
            return f"it answers {exc.status} to a chat: {why}"
        except (UnavailableError, OutcomeUnknownError):
            return f"no answer after {waited_s:.0f} s" if waited_s > STARTUP_S_MAX else None
        write_json(folder / READY_FILE, {"at": self._now().timestamp()})
        return None


def _check(request: DeploymentRequest, folder: Path) -> None:
    if request.options:
        raise RejectedError(
            f"a local deployment has no options (given: {', '.join(sorted(request.options))})",
            operation="create-deployment",
        )
    if not folder.is_dir():
        raise RejectedError(f"there is no model folder {folder}", operation="create-deployment")
    digest = verified(folder).digest
    if request.artifact.digest not in {None, digest}:
        raise RejectedError(
            f"{folder} is not what was trained: its digest is {digest}, not {request.artifact.digest}",
            operation="create-deployment",
        )


def _report(
    record: dict[str, Any], registry: str, outcome: DeploymentOutcome, *, error: str | None = None
) -> DeploymentReport:
    return DeploymentReport(
        id=str(record["name"]),
        name=str(record["name"]),
        status="starting" if outcome == "provisioning" else outcome,
        outcome=outcome,
        artifact_id=str(record["artifact"]),
        endpoint=_url(record),
        error=error,
        ours=record["registry"] == registry,
        created_at=datetime.fromtimestamp(float(record["created_at"]), UTC),
        sku=str(record["engine"]),
    )


def _url(record: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{record['port']}"


def _free_port(taken: set[int]) -> int:
    """One that the kernel gives now and no other deployment of this connection has; a lost race shows as `failed`."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
    raise UnavailableError("no free port on 127.0.0.1", operation="create-deployment")


def _listens(pid: int, port: int) -> bool:
    """Whether this process or a child of it listens there: a stranger on the port is not the server."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                    return True
    return False

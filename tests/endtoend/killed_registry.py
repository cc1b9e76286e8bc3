"""A registry's processes for a test that kills hundreds: started once, with everything imported, it forks one a life.

    python -m tests.endtoend.killed_registry MODULE...

Each line in is an `Order`. Lines out are JSON: which process lives, what it found in its log when it had opened it,
what it was told from there on (event by event, and the answers of commands), and how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded: what a life wants to do is the same again
from typing import Any

from registry import embedded
from registry.application.views import EventView
from registry.composition import FACTORIES
from registry.domain.errors import HomeInUseError, TenureError
from registry.embedded import Tenure
from tests.endtoend.cloud_driver import BASE_MODELS, STORE

CLOUDS = {"rehearsal-openai": "openai", "rehearsal-azure": "azure-openai", "rehearsal-aws": "bedrock"}
MODELS = ("bot", "desk")
LIFE_S_MAX = 1.2
"""Of one that nobody kills."""
LOCKED_S_MAX = 5.0
QUIET_PASSES_MAX = 150
UNDER_WAY = {"queued", "training", "deploying", "requested", "provisioning", "deleting", "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One life. `after`: the last position that is known outside. `asked`: how many fine-tunes have been answered.

    `dies_at`: the sync or rename, counted from 1, at which it kills itself, before it or after it; 0: it does not.
    `quiet`: nothing new is asked for, and what is under way is worked on until nothing is.
    """

    home: str
    seed: int
    after: int
    asked: int
    dies_at: int = 0
    dies_after: bool = False
    quiet: bool = False
    new: bool = True


def main(modules: list[str]) -> None:
    for name in [*STORE, *modules, *FACTORIES.values()]:
        importlib.import_module(name)
    say(ready=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(live(Order(**json.loads(line))))
        say(pid=child)
        _, status = os.waitpid(child, 0)
        say(ended=os.waitstatus_to_exitcode(status))


def say(**what: object) -> None:
    """One write, so that a process which is killed says all of it or nothing."""
    os.write(1, json.dumps(what, default=str).encode() + b"\n")


def live(order: Order) -> int:
    try:
        if order.dies_at:
            die_at(order.dies_at, after=order.dies_after)
        with opened(Path(order.home)) as tenure:
            tenure.log.verify()
            life = Life(tenure, order)
            life.tell("opened")
            life.rest() if order.quiet else life.work()
    except Exception:  # noqa: BLE001 - nothing may go on after the fork
        say(error=traceback.format_exc())
        return 1
    return 0


def opened(home: Path) -> Tenure:
    """The lock of one that was killed can outlive it for a moment, in a process that it was just about to start."""
    deadline = time.monotonic() + LOCKED_S_MAX
    while True:
        try:
            return embedded.open(home, actor="user:ana", background=False)
        except HomeInUseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def die_at(count: int, *, after: bool) -> None:
    """SIGKILL itself at the so-and-so-many-th call that makes something durable."""
    made = 0

    def mortal(right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal made
            made += 1
            if made == count and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = right(*given, **named)
            if made == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call

    for name in ("fsync", "replace", "rename"):
        setattr(os, name, mortal(getattr(os, name)))


class Life:
    def __init__(self, tenure: Tenure, order: Order) -> None:
        self._tenure = tenure
        self._order = order
        self._told = max(order.after - 1, 0)  # the last one that is known is shown once more
        self._asked = order.asked
        self._random = Random(order.seed)

    def tell(self, word: str) -> None:
        events = self._tenure.events(after=self._told)
        self._told = events[-1].position if events else self._told
        say(**{word: [_short(one) for one in events]})

    def work(self) -> None:
        if not self._tenure.connections():
            self._tenure.apply(Path(self._order.home) / "tenure.toml")
        deadline = time.monotonic() + LIFE_S_MAX
        while time.monotonic() < deadline:
            with contextlib.suppress(TenureError):
                self._act()
            self._tenure.reconcile()
            self.tell("events")

    def _act(self) -> None:
        versions = [one for model in MODELS for one in self._versions(model)]
        ready = [one.ref for one in versions if one.state in {"trained", "active", "retired"}]
        kind = self._random.choice(["fine-tune"] * 4 + ["activate"] * 4 + ["deploy", "retire", "undeploy", "undeploy"])
        if kind == "fine-tune" or not ready:
            self._fine_tune()
        elif kind == "undeploy":
            serving = [one.id for one in self._tenure.deployments() if one.state == "serving"]
            if serving:
                self._tenure.undeploy(self._random.choice(serving))
        else:
            getattr(self._tenure, kind)(self._random.choice(ready))

    def _versions(self, model: str) -> list[Any]:
        known = {one.model for one in self._tenure.models()}
        return list(self._tenure.versions(model)) if model in known else []

    def _fine_tune(self) -> None:
        """The next one, under a key of its own: asked again, with the same words, until somebody hears the answer."""
        if not self._order.new:
            return
        number = self._asked
        connection = list(CLOUDS)[number % len(CLOUDS)]
        version = self._tenure.fine_tune(
            MODELS[number // len(CLOUDS) % len(MODELS)],
            connection=connection,
            base_model=BASE_MODELS[CLOUDS[connection]],
            train=Path(self._order.home) / "train.jsonl",
            activate=number % 4 != 3,
            idempotency_key=f"fine-tune-{number}",
        )
        self._asked += 1
        say(answered=[number, str(version.ref)])

    def rest(self) -> None:
        for _ in range(QUIET_PASSES_MAX):
            self._tenure.reconcile()
            states = {one.state for model in MODELS for one in self._versions(model)} - {"failed"}
            if not (states | {one.state for one in self._tenure.deployments()}) & UNDER_WAY:
                break
        self.tell("events")
        say(
            versions=[one.as_json() for model in MODELS for one in self._versions(model)],
            deployments=[one.as_json() for one in self._tenure.deployments()],
        )


def _short(one: EventView) -> list[object]:
    names = {key: one.data[key] for key in ("name", "token", "id", "provider_id", "job") if key in one.data}
    return [one.position, one.hash, one.stream, one.type, names]


if __name__ == "__main__":
    main(sys.argv[1:])

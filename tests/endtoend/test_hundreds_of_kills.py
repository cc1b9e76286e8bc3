"""Three hundred SIGKILLs of a registry at work on three rehearsed clouds; after each it is held against their truth.

The process is a real one on a real home, with the vendors' SDKs; what it does and when it dies comes from a seed. It
dies at any moment, at a sync or a rename, or while a provider has its call. TENURE_KILLS=1000 kills more often,
TENURE_KILL_SEED=7 otherwise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded: a seed dies in the same ways
from typing import Any

import pytest

from providers.rehearsal import Pace, Rehearsal, faults
from providers.rehearsal.truth import Thing
from tests.endtoend.killed_registry import CLOUDS, Order
from tests.endtoend.test_cloud_kills import CLOUDS as SDKS
from tests.endtoend.test_cloud_kills import ROWS

KILLS = int(os.environ.get("TENURE_KILLS", "300"))
SEED = int(os.environ.get("TENURE_KILL_SEED", "1"))
HOMES = 3
FINE_TUNES_MAX = 24
"""In a home: so that its log stays one that is quickly opened."""
PATIENCE_S = 60.0
STORY_LINES = 60
AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0, accepted_s=0, creating_s=0, deleting_s=0)
JOBS = ("openai.job", "azure.job", "bedrock.job")
DEPLOYED = ("azure.deployment", "bedrock.provisioned")
WEATHER = (
    *(faults.server_error(500), faults.server_error(500, after_effect=True), faults.reset_in_body()),
    *(faults.reset(after_effect=False), faults.reset(after_effect=True), faults.throttled("seconds", seconds=0.05)),
)
HELD_S = 20.0
LONG_AGO, NEVER = "1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z"
CALL_S_MAX = 0.6
"""How long a call is waited for that may not come."""
DIES_AT_MAX = 6
KINDS = ("instant", "durable", "call", "opening", "durable", "call")
"""How lives end, in turns: soon after the log was opened, while it is opened, at a sync or a rename, in a call."""


class Nursery:
    """The process that forks the registries."""

    def __init__(self, environment: dict[str, str]) -> None:
        modules = [name for cloud in SDKS for name in cloud.sdk]
        command = [sys.executable, "-m", "tests.endtoend.killed_registry", *modules]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}
        )
        self._rest = b""
        assert self.next()["ready"]

    def give(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(order)).encode() + b"\n")
        self._process.stdin.flush()

    def next(self) -> dict[str, Any]:
        """What is said next. Raises AssertionError where nothing is."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            assert select.select([self._process.stdout], [], [], PATIENCE_S)[0], "it says nothing any more"
            read = os.read(self._process.stdout.fileno(), 1 << 16)
            assert read, "the nursery has died"
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait(PATIENCE_S)


class Home:
    """One home and its clouds: what has been told of it, and what must be so."""

    def __init__(self, folder: Path, clouds: Rehearsal, nursery: Nursery, seed: int) -> None:
        self.clouds = clouds
        self.story: list[str] = [f"seed {seed}"]
        self.kills: Counter[str] = Counter()
        self._folder = folder
        self._nursery = nursery
        self._random = Random(seed)
        self._hashes: list[str] = []
        self._intents: dict[str, set[str]] = {"training-submitted": set(), "deployment-requested": set()}
        self._lives: list[str] = []
        self._requested = 0
        self._asked = 0
        self._there: list[Thing] = []
        self._last: dict[str, Any] = {}
        folder.mkdir()
        lines = [
            f"[connections.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
            for name, settings in clouds.connections().items()
            if name in CLOUDS
        ]
        lines += ['[models.bot.policy]\nsuperseded_grace = "0s"\n', '[scheduler]\npoll = "20ms"\n']
        (folder / "tenure.toml").write_text("".join(lines), "utf-8")
        (folder / "train.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n", "utf-8")

    # Lives

    def life(self) -> None:
        """One that is killed, or that ended before it could be."""
        kind = KINDS[len(self._lives) % len(KINDS)]
        self._lives.append(kind)
        order = self._order(quiet=False)
        self.clouds.faults.clear()
        if self._random.random() < 0.3:
            self.clouds.faults.schedule(seed=order.seed, rate=0.1, among=WEATHER)
        if kind == "durable":
            order = dataclasses.replace(
                order, dies_at=self._random.randint(1, DIES_AT_MAX), dies_after=self._random.random() < 0.5
            )
        if kind == "call":
            self._hold(self._random.randint(0, 9))
        self.story.append(f"-- {kind} {order.dies_at or ''}")
        self._live(order, kind)
        self.clouds.faults.clear()

    def rest(self) -> None:
        """Until nothing is under way any more."""
        self.story.append("-- in peace")
        self.clouds.faults.clear()
        ended = self._live(self._order(quiet=True), "")
        assert ended == 0, f"it ended with {ended}"

    def _order(self, *, quiet: bool) -> Order:
        return Order(
            home=str(self._folder),
            seed=self._random.getrandbits(32),
            after=len(self._hashes),
            asked=self._asked,
            quiet=quiet,
            new=self._asked < FINE_TUNES_MAX,
        )

    def _hold(self, after: int) -> None:
        """A call, counted from now, gets no answer: while it waits, whoever made it is killed."""
        effect = self._random.random() < 0.6
        pattern = self._random.choice(["*", "*", "*", "*create*", "*put*", "*delete*"])
        held = faults.timeout(after_effect=effect, hold_s=HELD_S)
        self.clouds.faults.inject(pattern, held, after=after if pattern == "*" else 0)

    def _live(self, order: Order, kind: str) -> int:
        self._nursery.give(order)
        pid = int(self._nursery.next()["pid"])
        struck = len(self.clouds.faults.struck)
        timers: list[threading.Timer] = []
        if kind == "opening":
            timers.append(self._kill(pid, self._random.uniform(0.0, 0.25)))
        if kind == "call":
            timers.append(threading.Timer(0, self._kill_in_call, (pid, struck)))
            timers[-1].start()
        while True:
            said = self._nursery.next()
            if "opened" in said and kind == "instant":
                timers.append(self._kill(pid, self._random.uniform(0.0, 0.5)))
            if "ended" in said:
                break
            self._hear(said)
        for timer in timers:
            timer.cancel()
            timer.join()
        ended = int(said["ended"])
        self.story.append(f"ended with {ended}")
        assert ended in {0, -signal.SIGKILL}, f"it ended with {ended}"
        self.kills[kind] += ended == -signal.SIGKILL
        self._there = self.clouds.truth.ever()
        return ended

    def _kill(self, pid: int, after_s: float) -> threading.Timer:
        timer = threading.Timer(after_s, _sigkill, (pid,))
        timer.start()
        return timer

    def _kill_in_call(self, pid: int, struck: int) -> None:
        """As soon as the call that is held has come; after a while in any case."""
        deadline = time.monotonic() + CALL_S_MAX
        while time.monotonic() < deadline:
            if any(fault.kind == "timeout" for _, fault in self.clouds.faults.struck[struck:]):
                break
            time.sleep(0.005)
        _sigkill(pid)

    # What was told

    def _hear(self, said: dict[str, Any]) -> None:
        assert "error" not in said, said["error"]
        if "answered" in said:
            self._asked = said["answered"][0] + 1
            self.story.append(f"answered {said['answered']}")
        for position, hash_, stream, type_, names in said.get("opened", said.get("events", [])):
            if position == len(self._hashes):
                assert hash_ == self._hashes[-1], f"event {position} was told, and is another one now"
                continue
            assert position == len(self._hashes) + 1, f"{position} follows {len(self._hashes)}"
            self._hashes.append(hash_)
            self.story.append(f"{position} {stream} {type_} {names}")
            self._requested += type_ == "fine-tune-requested"
            if type_ in self._intents:
                self._intents[type_].add(names["name"])
        if "opened" in said:
            assert not self._hashes or said["opened"], f"events up to {len(self._hashes)} were told, and are not there"
            self._opened()
        self._last.update(said)

    def _opened(self) -> None:
        """What was there when it was opened has its intent in the log, and is there once."""
        for thing in self._there:
            intended = self._intents["deployment-requested" if thing.kind in DEPLOYED else "training-submitted"]
            if thing.kind in {*JOBS, *DEPLOYED}:
                digested = thing.kind == "bedrock.job"
                name = thing.name.rpartition("-")[0] if digested else thing.name
                assert name in intended, f"{thing.kind} {thing.name} was made, and no intent of it is in the log"
        for kind in (*JOBS, *DEPLOYED):
            names = Counter(thing.name for thing in self._there if thing.kind == kind)
            assert not [name for name, count in names.items() if count > 1], f"twice: {names}"
        assert self._requested <= self._asked + 1, f"{self._requested} fine-tunes, and {self._asked} were answered"

    def settle(self) -> None:
        """At rest: what is billed is shown, and what is shown is billed, since when it is."""
        truth, now = self.clouds.truth, self.clouds.clock.now()
        shown = {one["name"]: one for one in self._last["deployments"]}
        alive = {name for name, one in shown.items() if one["state"] not in {"deleted", "lost"}}
        there = {thing.name for thing in truth.billed()}
        assert there == alive, f"billed {sorted(there)}, shown {sorted(alive)}"
        for thing in (thing for kind in DEPLOYED for thing in truth.ever(kind)):
            one = shown[thing.name]
            (interval,) = thing.billed_intervals()
            told = f"{thing.name} is billed {interval}, and shown as {one}"
            assert datetime.fromisoformat(one["billed_from"] or NEVER) <= interval.start, told
            if interval.end is not None and interval.end <= now:
                assert datetime.fromisoformat(one["billed_to"] or LONG_AGO) >= interval.end, told
        jobs = {thing.id for thing in truth.ever() if thing.kind.endswith(".job")}
        assert jobs == {one["job"]["id"] for one in self._last["versions"] if one["job"]["id"]}
        assert self._requested == len(self._last["versions"])
        for model in {one["model"] for one in self._last["versions"]}:
            active = [one["ref"] for one in self._last["versions"] if one["model"] == model and one["active"]]
            assert len(active) <= 1, active


def _sigkill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Rehearsal() as clouds:
        made = Nursery(dict(clouds.environment()))
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(HOMES))
def test_killed_again_and_again_nothing_is_lost_made_twice_or_billed_unseen(
    number: int, nursery: Nursery, tmp_path: Path
) -> None:
    with Rehearsal(pace=AT_ONCE) as clouds:
        home = Home(tmp_path / "home", clouds, nursery, SEED * HOMES + number)
        try:
            while home.kills.total() * HOMES < KILLS:
                home.life()
            home.rest()
            home.settle()
        except AssertionError as error:
            raise AssertionError("\n".join([*home.story[-STORY_LINES:], f"==> {error}"])) from error
    assert min(home.kills[kind] for kind in KINDS) * 100 >= KILLS, home.kills

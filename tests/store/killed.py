"""A process that is there to be killed: `python -m tests.store.killed HOME`.

It imports everything once and forks a child for each line that it reads, so that 200 lives cost seconds. A child opens
the log, appends from several threads, prints what was acknowledged (stream, version, position, id), and closes if it
lives long enough.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from registry.application.ports import Idempotency
from registry.domain.errors import ConflictError, UnavailableError
from registry.store import applier, writer
from registry.store.duckdb_log import DuckDBLog, open_log
from tests.store.samples import Ticking, requested, status, trained

THREADS = 4


def say(text: str) -> None:
    os.write(1, (text + "\n").encode())


def work(log: DuckDBLog, number: int, going: threading.Event) -> None:
    stream = f"version:bot-{number}@1"
    while going.is_set():
        state = log.load(stream)
        version = 0 if state is None else state.stream_version
        events = [requested(f"bot-{number}", 1) if version == 0 else status(f"bot-{number}", 1, f"s{version}")]
        if version % 3 == 0:
            events.append(trained("shared", 1, valid_loss=float(version)))
        key = Idempotency(key=secrets.token_hex(8), fingerprint="f", answer={"version": version})
        try:
            done = log.append(events, expected={stream: version}, idempotency=key if version % 5 == 0 else None)
        except (ConflictError, UnavailableError):
            return
        for event in done.events:
            say(f"ack {event.stream} {event.stream_version} {event.position} {event.id}")


def live(home: Path, milliseconds: int) -> None:
    log = open_log(home, clock=Ticking(), ids=lambda: secrets.token_hex(16))
    say("open")
    going = threading.Event()
    going.set()
    threads = [threading.Thread(target=work, args=(log, number, going)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(milliseconds / 1000)
    going.clear()
    for thread in threads:
        thread.join()
    log.close()
    say("closed")
    time.sleep(60)


def forked(life: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            life()
        finally:
            os._exit(1)
    return child


def main(home: Path) -> None:
    writer.SEGMENT_BYTES = 30_000
    applier.GATHER_S = 0.004
    for line in sys.stdin:
        child = forked(lambda milliseconds=int(line): live(home, milliseconds))
        say(f"pid {child}")
        os.waitpid(child, 0)
        say("over")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

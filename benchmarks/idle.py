"""What `tenure serve` costs when nobody asks anything: processor time of the real process, at the scheduler's defaults.

    python -m benchmarks.idle [--versions N] [--deployments N] [--seconds N]

The versions are at rest. The deployments serve at a rehearsed Azure in this process, so that its work is not counted,
and are watched as any other. A sweep comes every ten minutes: its cost is measured by itself, and counted as a share.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.planning import fill
from benchmarks.rest import cpu_s, serving
from benchmarks.rest import tell as show
from providers.rehearsal import Pace, Rehearsal
from registry.remote.finding import SERVER_FILE

MODELS = 100
SWEEP_S = 600.0
"""The scheduler's default."""
WARM_UP_S = 15.0
SWEEPS = 3
AT_ONCE = Pace(file_s=0, validating_s=0, queued_s=0, training_s=0, accepted_s=0, creating_s=0, deleting_s=0)
CONNECTION = "rehearsal-azure"
BASE_MODEL = "gpt-4.1-2025-04-14"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--deployments", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=180.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Rehearsal(pace=AT_ONCE) as clouds:
        home = Path(folder) / "home"
        os.environ |= clouds.environment()
        prepare(home, clouds, asked.versions, asked.deployments)
        with serving(home, **clouds.environment()) as (host, port):
            process = psutil.Process(json.loads((home / SERVER_FILE).read_text())["pid"])
            time.sleep(WARM_UP_S)
            sweeps = [sweep_s(process, host, port) for _ in range(SWEEPS + 1)]
            before = cpu_s(process)
            time.sleep(asked.seconds)
            idle = (cpu_s(process) - before) / asked.seconds
    # The first sweep opens what the others find open.
    sweep = statistics.median(sweeps[1:])
    what = f"{asked.versions:,} versions, {asked.deployments} of them deployed"
    show(f"share of a core of an idle registry of {what}", (idle + sweep / SWEEP_S) * 100, "%", "<= 1")
    show(f"processor time of one full pass and sweep, {what}", sweep * 1e3, "ms")


def prepare(home: Path, clouds: Rehearsal, versions: int, deployments: int) -> None:
    """Versions at rest, and a few models that were really trained, deployed and activated."""
    import registry
    from registry.store.duckdb_log import open_log
    from registry.system import TimeOrderedIds, now

    log = open_log(home, clock=now, ids=TimeOrderedIds())
    fill(log, versions - deployments, 0, MODELS)
    log.close()
    rows = home.parent / "train.csv"
    rows.write_text("prompt,completion\n" + "".join(f"Where is {n}?,On its way.\n" for n in range(12)), "utf-8")
    fast, usual = ({"poll": "20ms"}, {"poll": "15s"})
    connections = {name: table for name, table in clouds.connections().items() if name == CONNECTION}
    with registry.open(home) as tenure:
        tenure.remove_connection("cloud")
        tenure.apply({"connections": connections, "scheduler": fast})
        for number in range(deployments):
            version = tenure.fine_tune(
                f"served-{number}", connection=CONNECTION, base_model=BASE_MODEL, train=rows, activate=True
            )
            version.wait()
        tenure.reconcile()
        assert len([one for one in tenure.deployments() if one.state == "serving"]) == deployments
        tenure.apply({"scheduler": usual})


def sweep_s(process: psutil.Process, host: str, port: int) -> float:
    before = cpu_s(process)
    client = http.client.HTTPConnection(host, port)
    client.request("POST", "/api/v1/reconcile", headers={"Idempotency-Key": str(before)})
    answer = client.getresponse()
    assert answer.status < http.client.BAD_REQUEST, answer.read()
    answer.read()
    client.close()
    return cpu_s(process) - before


if __name__ == "__main__":
    main()

"""A registry's process for tests that kill it: started once, with everything imported, it forks one for every home.

    python -m tests.endtoend.cloud_driver MODULE...

Each line in is a home, a space, and the name of a connection; each line out says which process works on it, then how
that process ended. What a process does is what a person would who asks for a fine-tune and its activation, and asks
again after a crash.
"""

# ruff: noqa: T201 - it speaks through its standard output

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from registry import embedded
from registry.composition import FACTORIES

STORE = (
    "duckdb",
    "duckdb_sqlalchemy",
    "sqlmodel",
    "registry.store.migrations",
    "registry.store.duckdb_log",
    "registry.store.training_data",
    "registry.store.datasets.check",
    "registry.store.datasets.convert",
)
PASSES_MAX = 200
REF = "bot@1"
KEY = "the-one-fine-tune"
BASE_MODELS = {
    "openai": "gpt-4.1-nano-2025-04-14",
    "azure-openai": "gpt-4.1-nano-2025-04-14",
    "bedrock": "amazon.nova-micro-v1:0:128k",
}


def main(modules: list[str]) -> None:
    for name in [*STORE, *modules, *FACTORIES.values()]:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        home, _, connection = line.strip().rpartition(" ")
        child = os.fork()
        if child == 0:
            os._exit(_live(Path(home), connection))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _live(home: Path, connection: str) -> int:
    """Until the version is active; then what the registry believes is left in `told.json`."""
    try:
        with embedded.open(home, actor="user:ana", background=False) as tenure:
            if not any(one.model == "bot" and one.versions for one in tenure.models()):
                tenure.apply(home / "tenure.toml")
                provider = next(one.provider for one in tenure.connections() if one.name == connection)
                tenure.fine_tune(
                    "bot",
                    connection=connection,
                    base_model=BASE_MODELS[provider],
                    train=home / "train.jsonl",
                    activate=True,
                    idempotency_key=KEY,
                )
            for _ in range(PASSES_MAX):
                tenure.reconcile()
                if tenure.version(REF).state not in {"queued", "training", "deploying"}:
                    break
            told = {
                "version": tenure.version(REF).as_json(),
                "versions": len(tenure.versions("bot")),
                "events": [[event.type, event.recorded_at.isoformat()] for event in tenure.history("bot")],
                "deployments": [one.as_json() for one in tenure.deployments()],
                "verified": tenure.log.verify(),
            }
            (home / "told.json").write_text(json.dumps(told), encoding="utf-8")
    except Exception:  # noqa: BLE001 - nothing may go on after the fork
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])

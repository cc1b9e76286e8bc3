"""Run the benchmarks and print a table: `python -m benchmarks [NAME]... [--json]`.

Each benchmark is a program that prints JSON Lines of {"name", "value", "unit", "target"}, in a process of its own, so
that none warms another's caches. A target begins with <= or >=; a value is a median or a ratio of several runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

BENCHMARKS = (
    "command_line",
    "store",
    "audit",
    "polling",
    "datasets",
    "training",
    "planning",
    "idle",
    "gateway",
    "rest",
    "web",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all of them by default")
    parser.add_argument("--json", action="store_true", help="JSON Lines instead of a table")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    failed = 0
    for name in arguments.names or BENCHMARKS:
        for row in _rows(name):
            failed += not row["met"]
            print(json.dumps(row) if arguments.json else _line(row), flush=True)
    return 1 if failed else 0


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with subprocess.Popen([sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("{"):
                row = json.loads(line)
                yield {**row, "met": met(row["value"], row.get("target"))}
    if run.returncode:
        raise SystemExit(f"benchmarks.{name} ended with {run.returncode}")


def met(value: float, target: str | None) -> bool:
    """Whether a value reaches a target such as `<= 2` or `>= 15000`; a figure without one is only shown."""
    if not target:
        return True
    relation, bound = target.split()[:2]
    return value <= float(bound) if relation == "<=" else value >= float(bound)


def _line(row: dict[str, Any]) -> str:
    mark = "met   " if row["met"] else "MISSED"
    figure = f"{row['value']:,.4g}" if abs(row["value"]) < 1000 else f"{row['value']:,.0f}"
    target = row.get("target") or ""
    return f"{mark if target else '':<8}{row['name']:<66}{figure:>12} {row['unit']:<10}{target}"


if __name__ == "__main__":
    sys.exit(main())

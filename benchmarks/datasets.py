"""How long a check of a million rows takes, and how much memory: `python -m benchmarks.datasets [ROWS]`.

Each check runs in a process of its own, three times; the figures are the median time and the highest memory. Rows have
some 200 bytes, a third of them a system text; the files come to 200 to 300 MB. `broken.csv` has one broken quote at its
end, so that the slow reader goes through all of it: shown, not held to a figure.
"""

from __future__ import annotations

import csv
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROWS = 1_000_000
RUNS = 3
WORDS = ("refund", "order", "late", "invoice", "please", "could", "you", "where", "my", "parcel", "crashes", "settings")
FILES = ("table.csv", "table.jsonl", "chats.jsonl", "broken.csv")


def main() -> None:
    if sys.argv[1:2] == ["--check"]:
        _check(Path(sys.argv[2]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(prefix="tenure-bench-") as folder:
        _write(Path(folder), rows)
        for name in FILES:
            runs = [_run(Path(folder) / name) for _ in range(RUNS)]
            target = "<= 5" if name != "broken.csv" else ""
            _print(f"check {rows:,} rows, {name}", statistics.median(run[0] for run in runs), "s", target)
            _print(f"memory of that, {name}", max(run[1] for run in runs), "MB", "<= 1000")


def _write(folder: Path, rows: int) -> None:
    with (
        (folder / "table.csv").open("w", encoding="utf-8", newline="") as table,
        (folder / "table.jsonl").open("w", encoding="utf-8") as lines,
        (folder / "chats.jsonl").open("w", encoding="utf-8") as chats,
    ):
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("prompt", "completion", "system"))
        for prompt, completion, system in _rows(rows):
            writer.writerow((prompt, completion, system))
            told = [{"role": "system", "content": system}] if system else []
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
            lines.write(json.dumps({"prompt": prompt, "completion": completion, "system": system or None}) + "\n")
            chats.write(json.dumps({"messages": told + turns}) + "\n")
    shutil.copy(folder / "table.csv", folder / "broken.csv")
    with (folder / "broken.csv").open("a", encoding="utf-8") as broken:
        broken.write('a prompt,"a completion whose quote is never closed\n')


def _rows(rows: int) -> Iterator[tuple[str, str, str]]:
    for row in range(rows):
        prompt = " ".join(WORDS[(row * step + step * step) % len(WORDS)] for step in range(1, 21))
        completion = " ".join(WORDS[(row // step + step) % len(WORDS)] for step in range(1, 16))
        yield f"{prompt} {row}, or {row + 1}?", completion, "You are a support agent." if row % 3 == 0 else ""


def _run(file: Path) -> tuple[float, float]:
    """Seconds and megabytes of one check."""
    command = [sys.executable, "-m", "benchmarks.datasets", "--check", str(file)]
    seconds, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(megabytes)


def _check(file: Path) -> None:
    from registry.store.datasets import Columns, check

    started = time.perf_counter()
    report = check(file, None, Columns())
    seconds = time.perf_counter() - started
    assert report.ok != file.name.startswith("broken"), report.faults
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def _print(name: str, value: float, unit: str, target: str) -> None:
    print(json.dumps({"name": name, "value": round(value, 2), "unit": unit, "target": target}), flush=True)


if __name__ == "__main__":
    main()

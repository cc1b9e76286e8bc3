"""How fast the command line starts: whole processes, wall time, medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 9


def main() -> None:
    tenure = str(Path(sys.executable).with_name("tenure"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TENURE_HOME": folder}
        declaration = Path(folder) / "tenure.toml"
        declaration.write_text('[connections.local]\nprovider = "huggingface"\n[models.support-bot]\n', "utf-8")
        subprocess.run([tenure, "apply", str(declaration)], env=environment, check=True, capture_output=True)
        for name, words, target in (
            ("tenure --help, wall time", ["--help"], "<= 0.3"),
            ("tenure versions, embedded, wall time", ["versions", "support-bot"], "<= 0.8"),
        ):
            value = statistics.median(_seconds([tenure, *words], environment) for _ in range(RUNS))
            print(json.dumps({"name": name, "value": value, "unit": "s", "target": target}), flush=True)


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

"""What our training costs beside a bare TRL script, and how many tokens a second each way of batching trains on.

    python -m benchmarks.training [MODEL] [--steps N] [--rounds N] [--rows-max-tokens N]

MODEL is a folder with a causal language model; the demo's by default. Everything runs in one process, in alternating
order and several rounds; figures are medians, and ratios of them. Rows are SmolLM2's own tokens in lengths from 16 up
to --rows-max-tokens, spread evenly over the logarithm, the same ones in the same order for every way.
"""

# ruff: noqa: ANN401 - trainers are untyped
from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("HF_HUB_OFFLINE", "1")
BATCH = 8
Timing = tuple[float, float, float]
"""Seconds in train() by the clock, seconds of CPU, and the non-padding tokens that it trained on."""

SAME: dict[str, Any] = {
    "per_device_train_batch_size": BATCH,
    "learning_rate": 1e-4,
    "logging_steps": 1,
    "lr_scheduler_type": "linear",
    "seed": 42,
    "max_length": 1024,
}
LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
WAYS: Mapping[str, dict[str, Any]] = {
    "padded (TRL's default)": {"padding_free": False},
    "group_by_length": {"padding_free": False, "train_sampling_strategy": "group_by_length"},
    "padding_free (ours)": {"padding_free": True},
    "packing, bfd": {"packing": True, "max_length": 512, "per_device_train_batch_size": 2},
}


def write_rows(path: Path, tokens_max: int, count: int = 256) -> Path:
    words = [
        "the",
        "order",
        "has",
        "shipped",
        "and",
        "will",
        "arrive",
        "at",
        "your",
        "door",
        "within",
        "two",
        "days",
        "please",
        "track",
        "it",
        "here",
    ]
    rows: list[dict[str, object]] = []
    for number in range(count):
        # A low-discrepancy sequence: every length occurs, whatever the number of rows.
        length = int(16 * (tokens_max / 16) ** ((number * 0.6180339887) % 1.0))
        text = " ".join(words[(number + place) % len(words)] for place in range(max(2, length - 12)))
        half = len(text) // 2
        rows.append(
            {
                "prompt": [{"role": "user", "content": text[:half]}],
                "completion": [{"role": "assistant", "content": text[half:]}],
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def bare(model_folder: Path, rows: Path, out: Path, steps: int, way: Mapping[str, Any]) -> Timing:
    """What one writes from TRL's own documentation, with settings for a CPU."""
    # Typed in part only.
    datasets, peft, torch, transformers, trl = cast(
        "list[Any]", [import_module(name) for name in ("datasets", "peft", "torch", "transformers", "trl")]
    )
    options = SAME | {"max_steps": steps} | dict(way)
    if options.get("padding_free"):
        # TRL refuses it together with a max_length; no row here is longer.
        options["max_length"] = None
    trainer = trl.SFTTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        args=trl.SFTConfig(
            output_dir=str(out),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            **options,
        ),
        train_dataset=datasets.Dataset.from_json(str(rows), cache_dir=str(out / "cache")),
        processing_class=transformers.AutoTokenizer.from_pretrained(model_folder),
        peft_config=peft.LoraConfig(task_type="CAUSAL_LM", **LORA),
    )
    return timed(trainer, trainer.train)


def ours(model_folder: Path, rows: Path, out: Path, steps: int, way: Mapping[str, Any]) -> Timing:
    """The program's own trainer, callbacks and heartbeat, as `training.sft` puts them together; no checkpoints."""
    from training import sft
    from training.contract import RunSpec
    from training.report import Reporter

    seen: list[Timing] = []

    class Clocked(sft.TokenWeightedTrainer):
        def train(self, *args: Any, **options: Any) -> Any:
            self.args.save_strategy = "no"
            base: Any = super()
            seen.append(timed(self, lambda: base.train(*args, **options)))

    settings = SAME | LORA | {"max_steps": steps} | dict(way)
    spec = RunSpec(name="bench", base_model=str(model_folder), train=str(rows), hyperparameters=settings, device="cpu")
    trainer_class, sft.TokenWeightedTrainer = sft.TokenWeightedTrainer, Clocked
    try:
        with Reporter(out) as reporter:
            sft.fine_tune(spec, base=model_folder, out=out, result=out / "model", reporter=reporter)
    finally:
        sft.TokenWeightedTrainer = trainer_class
    return seen[0]


def timed(trainer: Any, train: Callable[[], Any]) -> Timing:
    started, worked = time.perf_counter(), time.process_time()
    train()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    return seconds, cpu_seconds, max(logs.get("num_tokens", 0.0) for logs in trainer.state.log_history)


def measure(runs: Mapping[str, Callable[[Path], Timing]], rounds: int) -> dict[str, Timing]:
    """Medians of each, taken in turns so that a slow minute of the machine touches all."""
    found: dict[str, list[Timing]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=number % 2 == 1):
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                found[name].append(runs[name](Path(folder)))
    return {
        name: (
            statistics.median(one[0] for one in runs_of),
            statistics.median(one[1] for one in runs_of),
            runs_of[0][2],
        )
        for name, runs_of in found.items()
    }


def one_way(base: Path, rows: Path, steps: int, way: Mapping[str, Any]) -> Callable[[Path], Timing]:
    return lambda out: ours(base, rows, out, steps, way)


def rows_of(base: Path, rows: Path, arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    steps, rounds = arguments.steps, arguments.rounds
    same = WAYS["padding_free (ours)"]
    overhead = measure(
        {
            "bare": lambda out: bare(base, rows, out, steps, same),
            "ours": lambda out: ours(base, rows, out, steps, same),
        },
        rounds,
    )
    wall, cpu = (overhead["ours"][one] / overhead["bare"][one] for one in (0, 1))
    yield {"name": f"training beside a bare TRL script, {steps} steps", "value": wall, "unit": "x", "target": "<= 1.03"}
    yield {"name": "the same in CPU time, which tells on a busy machine", "value": cpu, "unit": "x"}
    found = measure({name: one_way(base, rows, steps, way) for name, way in WAYS.items()}, rounds)
    for name, (seconds, _, tokens) in found.items():
        yield {"name": f"training, {name}", "value": tokens / seconds, "unit": "tokens/s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows-max-tokens", type=int, default=256)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder) / "rows.jsonl", arguments.rows_max_tokens)
        for row in rows_of(arguments.model or small_model(), rows, arguments):
            print(json.dumps(row), flush=True)


def small_model() -> Path:
    """The model of the demo, in TENURE_HOME; fetched where it is not there."""
    from providers.huggingface.small_model import fetch_small_model

    return fetch_small_model(Path(os.environ.get("TENURE_HOME", "~/.tenure")).expanduser() / "models")


if __name__ == "__main__":
    main()

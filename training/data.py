"""Rows of messages become token ids with labels on the completion only, as TRL's SFTTrainer takes them ready-made.

We tokenise here, and not in TRL, for one reason: laying a batch end to end (`padding_free`) is what makes rows of
different length fast, and TRL refuses it together with `max_length` unless the rows are cut already.

How the default was chosen. SmolLM2-135M, LoRA r=8 on q_proj and v_proj, fp32, two shared CPU cores, batches of 8 rows
of random length (log-uniform), non-padding tokens/s, one run of 4 steps each (10 for the last line); repeat it with
`benchmarks/training.py`:

    16 to 256 tokens, same batches: padded 63, with bf16 autocast 80, padding_free 128
    16 to 256 tokens, other batches: grouped by length 106, grouped and padding_free 86, packed (bfd) 98 to 106
    16 to 512 tokens, same batches: padded 36, padding_free 119

Padding-free trains on the same batches as padding and gave the same loss in both tries, to the last digit. Grouping by
length changes the order of the rows, and packing the number of rows in a step; both are there to be asked for. Without
FlashAttention a batch laid end to end pays attention over all of itself, so with long rows of about equal length
padding is less work; `padding_free_pays` counts which.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from training.report import RunFaultError

if TYPE_CHECKING:
    import datasets

IGNORED: Final = -100
"""The label that torch's cross entropy leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A tokenised set. `dataset` has the columns input_ids, labels, length and is memory-mapped from disk."""

    dataset: datasets.Dataset
    lengths: Sequence[int]


def tokenise(path: Path, tokenizer: Any, *, max_length: int, cache: Path) -> Tokens:  # noqa: ANN401 - transformers is untyped
    """Raises RunFaultError when nothing is left to train on.

    Rows are cut at `max_length` tokens; one whose completion is cut away entirely is left out, for it teaches nothing.
    """
    import datasets

    hf: Any = datasets
    hf.disable_progress_bars()
    if not tokenizer.chat_template:
        raise RunFaultError("the base model's tokenizer has no chat template, so messages cannot be written for it")
    # An empty set is no error to `from_generator` only if its columns are known, so look before.
    if next(_examples(path, tokenizer, max_length), None) is None:
        raise RunFaultError(f"no row of {path.name} has a completion within max_length={max_length} tokens")
    dataset: Any = hf.Dataset.from_generator(
        _examples,
        gen_kwargs={"path": path, "tokenizer": tokenizer, "max_length": max_length},
        cache_dir=str(cache),
        fingerprint=hashlib.sha256(f"{path} {path.stat().st_mtime_ns} {max_length}".encode()).hexdigest()[:16],
    )
    return Tokens(dataset=dataset, lengths=dataset["length"][:])


def padding_free_pays(lengths: Sequence[int], *, batch: int, parameters: int, width: int, layers: int) -> bool:
    """Whether a batch laid end to end takes fewer operations than the same batch padded.

    A token costs 2 operations for each parameter, and 4 for each layer, unit of width and position that it attends to:
    its padded row, or all of its batch (https://arxiv.org/abs/2001.08361, table 1). Batches are taken across the set,
    for it may be sorted.
    """
    batches = -(-len(lengths) // batch)
    per_pair = 4 * layers * width
    padded = free = 0
    for first in range(batches):
        rows = lengths[first::batches]
        longest, total = max(rows), sum(rows)
        padded += len(rows) * longest * (2 * parameters + per_pair * longest)
        free += total * (2 * parameters + per_pair * total)
    return free < padded


def _examples(path: Path, tokenizer: Any, max_length: int) -> Iterator[dict[str, object]]:  # noqa: ANN401 - see tokenise
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.strip():
                continue
            ids, start = _encode(tokenizer, json.loads(line))
            ids = ids[:max_length]
            if start < len(ids):
                labels = [IGNORED] * start + ids[start:]
                yield {"input_ids": ids, "labels": labels, "length": len(ids)}


def _encode(tokenizer: Any, row: Mapping[str, list[object]]) -> tuple[list[int], int]:  # noqa: ANN401 - see tokenise
    """The row's token ids, and where its completion starts: where they depart from the prompt alone, as in TRL."""
    prompt, completion = row["prompt"], row["completion"]
    before: list[int] = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    whole: list[int] = tokenizer.apply_chat_template([*prompt, *completion], return_dict=True)["input_ids"]
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False))
    return whole, sum(1 for _ in same)

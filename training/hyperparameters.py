"""The hyperparameters that a run accepts, as data: TRL's and peft's own names, with types, ranges and our defaults.

A registry checks them before anything is started, the program checks them again, and both say every fault at once.
Values may be JSON values or the text of a command line (`--set learning_rate=1e-4`). Custom training code has
hyperparameters of its own, which are not checked here.

Names: https://huggingface.co/docs/trl/sft_trainer#trl.SFTConfig, https://huggingface.co/docs/peft/package_reference/lora
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

Kind = Literal["integer", "number", "steps", "boolean", "choice", "names"]
"""`steps`: a whole number of steps, or a share of all steps where it is below 1, as transformers reads it."""

Method = Literal["lora", "full"]

SPELLINGS: Final[Mapping[str, str]] = {
    "epochs": "num_train_epochs",
    "steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "lora_r": "r",
    "lora_target_modules": "target_modules",
}
"""Common spellings, and the name that TRL or peft has for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """One accepted name. `minimum` and `maximum` are inclusive unless `above` is set: then the value is larger than it.

    `default` None: nothing is passed on, and what TRL does then is in `help`.
    """

    name: str
    kind: Kind
    help: str
    default: object = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    lora_only: bool = False


def _table(*rows: Hyperparameter) -> Mapping[str, Hyperparameter]:
    return {row.name: row for row in rows}


HYPERPARAMETERS: Final = _table(
    Hyperparameter(name="num_train_epochs", kind="number", default=3.0, above=0.0, help="passes over the training set"),
    Hyperparameter(name="max_steps", kind="integer", minimum=1, help="optimizer steps, instead of epochs"),
    Hyperparameter(
        name="learning_rate",
        kind="number",
        above=0.0,
        maximum=1.0,
        help="AdamW's peak rate; 2e-4 with LoRA, 2e-5 without",
    ),
    Hyperparameter(
        name="per_device_train_batch_size",
        kind="integer",
        default=8,
        minimum=1,
        maximum=4096,
        help="rows per forward pass",
    ),
    Hyperparameter(
        name="per_device_eval_batch_size",
        kind="integer",
        default=8,
        minimum=1,
        maximum=4096,
        help="validation rows per pass",
    ),
    Hyperparameter(
        name="gradient_accumulation_steps",
        kind="integer",
        default=1,
        minimum=1,
        maximum=65536,
        help="forward passes per optimizer step",
    ),
    Hyperparameter(
        name="max_length",
        kind="integer",
        default=1024,
        minimum=8,
        maximum=1_048_576,
        help="tokens kept of a row, and the length of a pack",
    ),
    Hyperparameter(
        name="packing", kind="boolean", default=False, help="fill sequences of max_length with whole rows (bfd)"
    ),
    Hyperparameter(
        name="padding_free",
        kind="boolean",
        help="lay a batch end to end instead of padding it; left out: wherever that is less work (training.data)",
    ),
    Hyperparameter(
        name="train_sampling_strategy",
        kind="choice",
        default="random",
        choices=("random", "sequential", "group_by_length"),
        help="the order of the rows",
    ),
    Hyperparameter(
        name="eval_strategy", kind="choice", default="steps", choices=("no", "steps", "epoch"), help="when to evaluate"
    ),
    Hyperparameter(
        name="eval_steps",
        kind="steps",
        default=0.1,
        above=0.0,
        help="steps between evaluations; below 1: a share of all steps",
    ),
    Hyperparameter(
        name="logging_steps", kind="steps", default=0.005, above=0.0, help="steps between loss points; below 1: a share"
    ),
    Hyperparameter(
        name="save_steps", kind="steps", default=0.1, above=0.0, help="steps between checkpoints; below 1: a share"
    ),
    Hyperparameter(
        name="save_total_limit", kind="integer", default=2, minimum=1, maximum=1000, help="checkpoints kept"
    ),
    Hyperparameter(
        name="warmup_steps", kind="steps", default=0.0, minimum=0.0, help="steps of warm-up; below 1: a share"
    ),
    Hyperparameter(
        name="warmup_ratio", kind="number", minimum=0.0, maximum=0.99, help="warm-up as a share of all steps"
    ),
    Hyperparameter(
        name="weight_decay", kind="number", default=0.0, minimum=0.0, maximum=1.0, help="AdamW's weight decay"
    ),
    Hyperparameter(
        name="max_grad_norm", kind="number", default=1.0, above=0.0, help="gradients are clipped to this norm"
    ),
    Hyperparameter(
        name="lr_scheduler_type",
        kind="choice",
        default="linear",
        choices=("linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"),
        help="how the rate falls",
    ),
    Hyperparameter(
        name="seed", kind="integer", default=42, minimum=0, maximum=2**32 - 1, help="of order, dropout and LoRA"
    ),
    Hyperparameter(
        name="early_stopping_patience",
        kind="integer",
        minimum=1,
        maximum=10_000,
        help="stop after this many evaluations without a lower validation loss, and keep the best",
    ),
    Hyperparameter(
        name="gradient_checkpointing",
        kind="boolean",
        help="recompute activations to save memory; left out: on a GPU only",
    ),
    Hyperparameter(name="bf16", kind="boolean", help="bfloat16 autocast; left out: on a GPU that has it"),
    Hyperparameter(name="r", kind="integer", default=16, minimum=1, maximum=4096, lora_only=True, help="LoRA rank"),
    Hyperparameter(
        name="lora_alpha", kind="number", default=32, above=0.0, lora_only=True, help="LoRA scale, times 1/r"
    ),
    Hyperparameter(
        name="lora_dropout", kind="number", default=0.0, minimum=0.0, maximum=0.99, lora_only=True, help="LoRA dropout"
    ),
    Hyperparameter(
        name="target_modules",
        kind="names",
        default="all-linear",
        lora_only=True,
        help="modules that LoRA adapts: a list of names, or all-linear",
    ),
)
_LEARNING_RATES: Final[Mapping[Method, float]] = {"lora": 2e-4, "full": 2e-5}


def validate(hyperparameters: Mapping[str, object], method: str) -> dict[str, object]:
    """The same settings under their canonical names and with their proper types; idempotent, and without defaults.

    Raises ValueError whose message is one line per fault.
    """
    faults: list[str] = []
    values: dict[str, object] = {}
    for given, raw in hyperparameters.items():
        name = SPELLINGS.get(given, given)
        row = HYPERPARAMETERS.get(name)
        if row is None:
            faults.append(_unknown(given))
        elif name in values:
            faults.append(f"{given}: is the same as {name}, which is set too")
        else:
            try:
                values[name] = _parse(row, raw)
            except ValueError as exc:
                faults.append(f"{given}: {exc}")
    faults += _contradictions(values, method)
    if faults:
        raise ValueError("\n".join(faults))
    ratio = values.pop("warmup_ratio", None)
    if ratio is not None:
        # transformers 5 has one name for both: warmup_steps, a share where it is below 1.
        values["warmup_steps"] = ratio
    return values


def with_defaults(values: Mapping[str, object], method: str) -> dict[str, object]:
    """Validated settings, completed: every name that has a default has a value."""
    full: dict[str, object] = {
        row.name: row.default
        for row in HYPERPARAMETERS.values()
        if row.default is not None and (method == "lora" or not row.lora_only)
    }
    full["learning_rate"] = _LEARNING_RATES["lora" if method == "lora" else "full"]
    full.update(values)
    return full


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, [*HYPERPARAMETERS, *SPELLINGS], n=1)
    return f"{name}: unknown hyperparameter" + (f"; did you mean {near[0]}?" if near else "")


def _parse(row: Hyperparameter, raw: object) -> object:
    match row.kind:
        case "boolean":
            return _boolean(raw)
        case "choice":
            if raw not in row.choices:
                raise ValueError(f"{raw!r} is none of {', '.join(row.choices)}")
            return raw
        case "names":
            return _names(raw)
        case "integer" | "number" | "steps":
            value = _number(raw, whole=row.kind == "integer")
            _check_range(row, value)
            if row.kind == "steps" and value >= 1:
                return _number(raw, whole=True)
            return value


def _boolean(raw: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in words:
        return words[raw.strip().lower()]
    raise ValueError(f"{raw!r} is not true or false")


def _names(raw: object) -> str | list[str]:
    if isinstance(raw, str):
        names = [part.strip() for part in raw.split(",")]
        if names == ["all-linear"]:
            return "all-linear"
    elif isinstance(raw, Sequence):
        names = list(cast("Sequence[object]", raw))
    else:
        names = []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{raw!r} is not a list of module names, or all-linear")
    return cast("list[str]", names)


def _number(raw: object, *, whole: bool) -> float:
    message = f"{raw!r} is not a {'whole ' if whole else ''}number"
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError(message)  # noqa: TRY004 - one kind of refusal for every fault
    try:
        value = float(raw)
    except (ValueError, OverflowError) as exc:
        raise ValueError(message) from exc
    if not math.isfinite(value) or (whole and not value.is_integer()):
        raise ValueError(message)
    return int(value) if whole else value


def _check_range(row: Hyperparameter, value: float) -> None:
    if row.above is not None and value <= row.above:
        raise ValueError(f"{value} is not above {row.above:g}")
    if row.minimum is not None and value < row.minimum:
        raise ValueError(f"{value} is below {row.minimum:g}")
    if row.maximum is not None and value > row.maximum:
        raise ValueError(f"{value} is above {row.maximum:g}")


def _contradictions(values: Mapping[str, object], method: str) -> list[str]:
    faults: list[str] = []
    if method == "full":
        faults += [f"{name}: has no meaning with the method full" for name in values if HYPERPARAMETERS[name].lora_only]
    for one, other in (("num_train_epochs", "max_steps"), ("warmup_steps", "warmup_ratio")):
        if one in values and other in values:
            faults.append(f"{one}, {other}: contradict each other; set one of them")
    strategy = values.get("eval_strategy", "steps")
    if strategy != "steps" and "eval_steps" in values:
        faults.append(f"eval_steps: contradicts eval_strategy={strategy}")
    if "early_stopping_patience" in values:
        if strategy == "no":
            faults.append("early_stopping_patience: needs evaluation, and eval_strategy is no")
        if "save_steps" in values and values["save_steps"] != values.get("eval_steps"):
            faults.append(
                "save_steps: with early_stopping_patience a checkpoint is saved at every evaluation; leave it out"
            )
    if values.get("packing") and values.get("padding_free") is False:
        faults.append("padding_free: packing is padding-free; leave it out")
    if values.get("packing") and values.get("train_sampling_strategy") == "group_by_length":
        faults.append(
            "train_sampling_strategy: packs have one length; packing and group_by_length contradict each other"
        )
    return faults

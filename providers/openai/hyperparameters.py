"""Hyperparameters in OpenAI's names, and the registry's common spelling where it means the same."""

from __future__ import annotations

from collections.abc import Mapping

from providers.hyperparameters import fault_of

COMMON = {"epochs": "n_epochs", "batch_size": "batch_size"}
KNOWN: Mapping[str, frozenset[str]] = {
    "supervised": frozenset({"n_epochs", "batch_size", "learning_rate_multiplier"}),
    "dpo": frozenset({"n_epochs", "batch_size", "learning_rate_multiplier", "beta"}),
    "reinforcement": frozenset(
        {
            "n_epochs",
            "batch_size",
            "learning_rate_multiplier",
            "compute_multiplier",
            "eval_interval",
            "eval_samples",
            "reasoning_effort",
        }
    ),
}
WHOLE = frozenset({"n_epochs", "batch_size", "eval_interval", "eval_samples"})
"""From 1; of the others that are numbers: above 0. Each may be "auto"."""
NUMBERS = frozenset({"learning_rate_multiplier", "compute_multiplier", "beta"}) | WHOLE
BESIDE = frozenset({"seed", "grader", "response_format"})
"""Not hyperparameters to OpenAI, but given in the same place: of the job, and of reinforcement."""


def own_names(given: Mapping[str, object]) -> dict[str, object]:
    return {COMMON.get(name, name): value for name, value in given.items()}


def faults_of(given: Mapping[str, object], method: str) -> list[str]:
    if method not in KNOWN:
        return [f"method {method!r} is not one of {', '.join(KNOWN)}"]
    faults: list[str] = []
    if "learning_rate" in given:
        faults.append("learning_rate: there is only learning_rate_multiplier here, a factor of the model's own rate")
    allowed = KNOWN[method] | BESIDE
    unknown = sorted(set(own_names(given)) - allowed - {"learning_rate"})
    faults += [f"{name} is not a hyperparameter of {method} (known: {', '.join(sorted(allowed))})" for name in unknown]
    for name, value in own_names(given).items():
        if name in NUMBERS and value != "auto":
            faults += fault_of(name, value, whole=name in WHOLE)
    return faults


def method_of(given: Mapping[str, object], method: str) -> dict[str, object]:
    """The `method` of a job."""
    named = own_names(given)
    inside: dict[str, object] = {
        "hyperparameters": {name: named[name] for name in sorted(named.keys() & KNOWN[method])}
    }
    if method == "reinforcement":
        inside |= {name: named[name] for name in ("grader", "response_format") if name in named}
    return {"type": method, method: inside}

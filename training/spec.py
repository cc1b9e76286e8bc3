"""Is a run's spec one that can be started? Checked without torch, so that the answer costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training.contract import RunSpec
from training.hyperparameters import validate

_METHODS: Final = ("lora", "full")
_DEVICES: Final = ("auto", "cpu", "cuda")


def validate_spec(spec: RunSpec) -> None:
    """Raises ValueError whose message is one line per fault. Looks whether files exist, not into them."""
    faults = _wrong_types(spec)
    if not faults:
        faults = [*_wrong_values(spec), *_missing_files(spec)]
    if faults:
        raise ValueError("\n".join(faults))


def _wrong_types(spec: RunSpec) -> list[str]:
    texts: dict[str, object] = {"name": spec.name, "base_model": spec.base_model, "train": spec.train}
    faults = [f"{key}: must be text" for key, value in texts.items() if not isinstance(value, str) or not value]
    options: dict[str, object] = {"validation": spec.validation, "code": spec.code}
    faults += [f"{key}: must be a path or null" for key, value in options.items() if not isinstance(value, str | None)]
    hyperparameters: object = spec.hyperparameters
    if not isinstance(hyperparameters, dict):
        faults.append("hyperparameters: must be an object")
    downloads: object = spec.downloads
    if downloads not in (True, False):
        faults.append("downloads: must be true or false")
    return faults


def _wrong_values(spec: RunSpec) -> list[str]:
    faults = [
        f"{key}: {value!r} is none of {', '.join(allowed)}"
        for key, value, allowed in (("method", spec.method, _METHODS), ("device", spec.device, _DEVICES))
        if value not in allowed
    ]
    if spec.code is not None:
        return faults
    try:
        settings = validate(spec.hyperparameters, spec.method)
    except ValueError as exc:
        return [*faults, *str(exc).splitlines()]
    if "early_stopping_patience" in settings and spec.validation is None:
        faults.append("early_stopping_patience: needs a validation set")
    return faults


def _missing_files(spec: RunSpec) -> list[str]:
    paths = {"train": spec.train, "validation": spec.validation, "code": spec.code}
    return [
        f"{key}: {path} is not a file" for key, path in paths.items() if path is not None and not Path(path).is_file()
    ]

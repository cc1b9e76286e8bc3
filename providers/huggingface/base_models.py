"""Base models by name, in the folder where a connection keeps them.

`smollm2-135m-instruct` or `org/name` is a folder there; a Hugging Face cache (`models--org--name/snapshots/…`) that
was copied there does as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from providers.errors import RejectedError
from providers.huggingface.settings import Settings
from training.artifact import ArtifactError, check_base_model, shape_of

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def base_models(folder: Path) -> Sequence[str]:
    """The names of what is there, usable or not; empty where there is no folder."""
    return sorted(_folders(folder))


def find_base_model(settings: Settings, name: str) -> str:
    """What a run is given as its base model: an absolute folder, or the Hub's id where downloads are allowed.

    Raises RejectedError: not there (the message lists what is), not a causal language model, code of its own,
    weights that are not safetensors.
    """
    there = _folders(settings.models)
    if name in there:
        folder = there[name]
        try:
            check_base_model(folder)
        except ArtifactError as exc:
            raise RejectedError(f"base model {name} ({folder}): {exc}", operation="find-base-model") from exc
        return str(folder.absolute())
    if settings.downloads and HUB_ID.fullmatch(name):
        return name
    if not settings.models.is_dir():
        found = "that folder does not exist"
    else:
        found = f"there are: {', '.join(sorted(there))}" if there else "it is empty"
    hint = "" if settings.downloads else "; downloads are off for this connection"
    raise RejectedError(f"no base model {name!r} in {settings.models}: {found}{hint}", operation="find-base-model")


def base_of(models: Path, folder: Path, name: str | None) -> Path | None:
    """The base model of a tuned one: the one of that name, or without a name the only one of the same shape.

    None: it is not here, or several could be it.
    """
    there = _folders(models)
    if name is not None:
        return there.get(name)
    shape = shape_of(folder)
    alike = [one for one in there.values() if shape and shape_of(one) == shape]
    return alike[0] if len(alike) == 1 else None


def _folders(models: Path) -> dict[str, Path]:
    return dict(_named(models)) if models.is_dir() else {}


def _named(models: Path) -> Iterator[tuple[str, Path]]:
    for child in sorted(models.iterdir()):
        if child.name.startswith(".") or not child.is_dir():
            continue
        if child.name.startswith("models--"):
            snapshots = sorted((child / "snapshots").glob("*/config.json"), key=lambda file: file.stat().st_mtime)
            if snapshots:
                yield child.name.removeprefix("models--").replace("--", "/"), snapshots[-1].parent
        elif (child / "config.json").is_file():
            yield child.name, child
        else:
            for config in sorted(child.glob("*/config.json")):
                yield f"{child.name}/{config.parent.name}", config.parent

"""A local connection's settings, checked once, when the connection is opened."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from providers.errors import RejectedError
from providers.ports import Connection

Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["auto", "transformers", "vllm"]

KEYS = frozenset({"provider", "fine_tuning", "models", "downloads", "python", "device", "engine"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`models`: preloaded base models, one folder each. `python`: the interpreter that trains and serves."""

    models: Path
    python: Path
    downloads: bool = False
    device: Device = "auto"
    engine: Engine = "auto"
    fine_tuning: bool = True


def settings_of(connection: Connection) -> Settings:
    """Raises RejectedError that names every fault. Paths are absolute or begin with `~`."""
    faults: list[str] = []
    given = connection.settings
    unknown = sorted(set(given) - KEYS)
    if unknown:
        faults.append(f"unknown: {', '.join(unknown)} (known: {', '.join(sorted(KEYS))})")
    settings = Settings(
        models=_models(given.get("models"), connection.folder / "models", faults),
        python=_python(given.get("python", sys.executable), faults),
        downloads=_flag("downloads", given.get("downloads", False), faults),
        device=cast("Device", _choice("device", given.get("device", "auto"), get_args(Device), faults)),
        engine=cast("Engine", _choice("engine", given.get("engine", "auto"), get_args(Engine), faults)),
        fine_tuning=_flag("fine_tuning", given.get("fine_tuning", True), faults),
    )
    if faults:
        raise RejectedError(f"connection {connection.name}: {'; '.join(faults)}", operation="connect")
    return settings


def _models(value: object, default: Path, faults: list[str]) -> Path:
    path = _absolute(value) if value is not None else default
    if path is None:
        faults.append(f"models is {value!r}, not an absolute path or one that begins with ~")
    return path or default


def _python(value: object, faults: list[str]) -> Path:
    found = shutil.which(value) if isinstance(value, str) and value and "/" not in value else None
    path = Path(found) if found else _absolute(value)
    if path is None:
        faults.append(f"python is {value!r}, neither an absolute path nor a command on PATH")
    return path or Path(sys.executable)


def _absolute(value: object) -> Path | None:
    if not isinstance(value, str | Path):
        return None
    try:
        path = Path(value).expanduser()
    except RuntimeError:  # ~name of a user who does not exist
        return None
    return path if path.is_absolute() else None


def _flag(key: str, value: object, faults: list[str]) -> bool:
    if not isinstance(value, bool):
        faults.append(f"{key} is {value!r}, not true or false")
    return value is True


def _choice(key: str, value: object, choices: tuple[str, ...], faults: list[str]) -> str:
    if value not in choices:
        faults.append(f"{key} is {value!r}, not one of {', '.join(choices)}")
        return choices[0]
    return str(value)

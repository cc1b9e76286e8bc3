"""A job or a deployment is a folder with a record, made whole or not at all. Shared by both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from providers.errors import RejectedError, UnavailableError
from providers.redaction import redacted
from training.contract import write_json
from training.log import telling_line

RECORD_FILE = "record.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def named_folder(parent: Path, name: str) -> Path | None:
    """Where this name lives, or None for a name that no folder of ours can have."""
    return parent / name if NAME.fullmatch(name) else None


def names_in(parent: Path) -> Sequence[str]:
    """Names with a record; half-made folders have none. An unreadable folder raises OSError: it is not absence."""
    try:
        return sorted(child.name for child in parent.iterdir() if (child / RECORD_FILE).is_file())
    except FileNotFoundError:
        return []


def make_folder(parent: Path, name: str, files: Mapping[str, object]) -> Path:
    """Make `parent/name` with these JSON files in it, at once. One that is there already is left as it is."""
    folder = named_folder(parent, name)
    if folder is None:
        raise RejectedError(f"{name!r} is not a name (letters, digits, . _ -)", operation="create")
    if not folder.exists():
        parent.mkdir(parents=True, exist_ok=True)
        fresh = parent / f".{name}.{os.getpid()}.{threading.get_ident()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for file, content in files.items():
            write_json(fresh / file, content)
        with contextlib.suppress(FileExistsError):
            _rename(fresh, folder)
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no such file. Raises RejectedError for one that holds no JSON object."""
    try:
        value: object = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as exc:
        raise RejectedError(f"{path} is damaged: {exc}", operation="read") from exc
    if not isinstance(value, dict):
        raise RejectedError(f"{path} is damaged: no JSON object", operation="read")
    return cast("dict[str, Any]", value)


@contextlib.contextmanager
def disk_trouble(operation: str) -> Generator[None, None, None]:
    """A full or unwritable disk is a reason to come back later, in words."""
    try:
        yield
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        raise UnavailableError(f"{exc.strerror or exc}{where}", operation=operation) from exc


def last_words(log: Path) -> str:
    """One line that says best why a program ended, redacted: it enters the event log, and can quote data."""
    return redacted(telling_line(log) or "it printed nothing")


def _rename(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError as exc:
        if folder.exists():
            raise FileExistsError(folder) from exc
        raise

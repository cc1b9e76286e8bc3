"""Names and references: how models, versions, deployments, connections and streams are written."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from registry.domain.errors import BadInputError

DeploymentId = NewType("DeploymentId", str)
"""`dep_<hex>`"""
StreamName = NewType("StreamName", str)
"""`model:support-bot`, `version:support-bot@3`, `deployment:dep_…`, `connection:azure-prod`, `registry:<id>`"""

NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
_NUMBER_PATTERN = re.compile(r"[1-9][0-9]{0,8}")
_NUMBERS = re.compile(r"-([1-9][0-9]{0,8})-([1-9][0-9]{0,8})(?:-[a-z]{4}|-[0-9a-f]{8})?$")
DIGITS_MAX = 18
"""Python refuses to read thousands of digits, and the database counts with 64 bits."""
NAME_RULE = "lower-case letters, digits, '-' and '.', 1 to 63 of them, beginning and ending with a letter or digit"


@dataclass(frozen=True, slots=True, order=True)
class VersionRef:
    """`support-bot@3`"""

    model: str
    number: int

    def __str__(self) -> str:
        return f"{self.model}@{self.number}"

    @classmethod
    def parse(cls, text: str) -> VersionRef:
        """Raises BadInputError for anything that is not MODEL@N with N from 1."""
        model, at, number = text.rpartition("@")
        if not at or _NUMBER_PATTERN.fullmatch(number) is None:
            raise BadInputError(f"{text!r} is not a version: write MODEL@N, as in support-bot@3", field="version")
        return cls(check_name(model, "model"), int(number))


def whole_number(text: str) -> int | None:
    """The position or number that an address or a form has. None for what is none, or has more digits than one can."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def parse_ref(text: str) -> tuple[str, int | None]:
    """`support-bot` -> (model, None); `support-bot@3` -> (model, 3)."""
    if "@" in text:
        ref = VersionRef.parse(text)
        return ref.model, ref.number
    return check_name(text, "model"), None


def check_name(name: str, what: str) -> str:
    """The name itself. Raises BadInputError when it is not a legal name."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise BadInputError(f"{name!r} is not a {what} name: {NAME_RULE}", field=what)
    return name


def model_stream(model: str) -> StreamName:
    return StreamName(f"model:{model}")


def version_stream(ref: VersionRef) -> StreamName:
    return StreamName(f"version:{ref}")


def deployment_stream(id: str) -> StreamName:
    return StreamName(f"deployment:{id}")


def connection_stream(name: str) -> StreamName:
    return StreamName(f"connection:{name}")


def registry_stream() -> StreamName:
    return StreamName("registry:tenure")


def resource_name(registry: str, ref: VersionRef, attempt: int, moment: datetime, *, length_max: int = 63) -> str:
    """`tenure-<registry>-<model>-<version>-<attempt>-<mark>`, letters, digits and '-', cut to length with a digest.

    Never reused: an attempt is never repeated, so a late delete cannot hit a successor. Where a home is put back to an
    earlier state, numbers are given out again; `moment`, which the mark is made of, tells the two apart.
    """
    mark = "".join(chr(ord("a") + byte % 26) for byte in hashlib.sha256(moment.isoformat().encode()).digest()[:4])
    end = f"-{ref.number}-{attempt}-"
    stem = f"tenure-{registry}-{ref.model}"
    plain = stem.replace(".", "-")
    if plain == stem and len(plain + end + mark) <= length_max:
        return plain + end + mark
    tail = end + hashlib.sha256((stem + end + mark).encode()).hexdigest()[:8]
    return plain[: length_max - len(tail)].rstrip("-") + tail


def numbers_in(name: str) -> tuple[int, int] | None:
    """Version and attempt, from a name that `resource_name` gave. None for any other."""
    found = _NUMBERS.search(name)
    return None if found is None else (int(found[1]), int(found[2]))

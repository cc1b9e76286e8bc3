"""What a command answered, as a shell sees it, and a registry with a connection that trains in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """What was piped, split at tabs, without the header."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]

    @property
    def header(self) -> list[str]:
        return self.out.splitlines()[0].split("\t")

    @property
    def records(self) -> list[dict[str, str]]:
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """`behaviour`: a file that tells the next training what to do: fail, hang, …"""

    tenure: Run
    train: Path
    declaration: Path
    behaviour: Path

    def fine_tune(self, *more: str) -> Answer:
        files = ("--train", str(self.train), "--validation", str(self.validation))
        return self.tenure("fine-tune", "support-bot", "--connection", "local", "--base-model", "tiny", *files, *more)

    @property
    def validation(self) -> Path:
        file = self.train.with_name("validation.csv")
        file.write_text("prompt,completion\nanother question,another answer\n")
        return file

    def trained(self) -> str:
        """A version that is trained."""
        answer = self.fine_tune("--wait", "--json")
        assert answer.code == 0, answer.err
        return answer.json["ref"]

    def active(self) -> str:
        """A version that is active."""
        ref = self.trained()
        answer = self.tenure("activate", ref, "--wait")
        assert answer.code == 0, answer.err
        return ref

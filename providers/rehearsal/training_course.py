"""How an emulated training job goes: the same data and settings give the same losses, to the last digit."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

TOKENS_PER_BYTE = 0.25
CHECKPOINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """`seed` is the training data's digest. Steps count from 1 to `steps`."""

    seed: str
    rows: int
    size_bytes: int
    epochs: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        return max(1, math.ceil(self.rows / self.batch_size))

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def tokens(self) -> int:
        return int(self.size_bytes * TOKENS_PER_BYTE) * self.epochs

    def train_loss(self, step: int) -> float:
        return round(0.42 + 2.1 * math.exp(-3.0 * step / self.steps) + 0.06 * self._noise("train", step), 4)

    def valid_loss(self, step: int) -> float:
        return round(0.55 + 2.0 * math.exp(-2.8 * step / self.steps) + 0.03 * self._noise("valid", step), 4)

    def accuracy(self, loss: float) -> float:
        return round(math.exp(-loss / 2), 4)

    def epoch_ends(self) -> list[int]:
        """The last steps of the last epochs: where checkpoints stand."""
        return [self.steps_per_epoch * epoch for epoch in range(1, self.epochs + 1)][-CHECKPOINTS:]

    def _noise(self, curve: str, step: int) -> float:
        digest = hashlib.sha256(f"{self.seed}/{curve}/{step}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 - 0.5

"""The conformance suite's stage for a cloud: a rehearsal, whose clock the suite moves on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from providers.ports import Connection, DataSet, Provider, ProviderFactory, TrainingRequest
from providers.rehearsal import Pace, Rehearsal, faults

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
AT_ONCE = Pace(file_s=0.0)


def data_set(path: Path, rows: int = 12, *, mark: str = "") -> DataSet:
    """Rows of a system text, a question and an answer, in the form that the registry hands to providers."""
    lines = [
        json.dumps(
            {
                "prompt": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": f"Where is order {mark}{n}?"},
                ],
                "completion": [{"role": "assistant", "content": f"Order {n} is on its way."}],
            }
        )
        for n in range(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DataSet(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), rows=rows, tokens=rows * 20)


class CloudHarness:
    """`tests.providers.conformance.Harness` on a rehearsal."""

    def __init__(
        self,
        rehearsal: Rehearsal,
        factory: ProviderFactory,
        *,
        name: str,
        base_model: str,
        creates: str,
        folder: Path,
    ) -> None:
        self.rehearsal = rehearsal
        self.factory = factory
        self.base_model = base_model
        self.creates = creates
        self._folder = folder
        self.opened: list[Provider] = []
        self._name = name
        settings = rehearsal.connections()[name]
        self.connection = Connection(
            name=name, provider=str(settings["provider"]), settings=settings, registry="reg", folder=folder
        )

    def connect(self) -> Provider:
        provider = self.factory(self.connection, now=self.rehearsal.clock.now)
        self.opened.append(provider)
        return provider

    def set(self, **settings: object) -> None:
        """Change settings for what is opened from now on; None takes one away."""
        merged = {key: value for key, value in {**self.connection.settings, **settings}.items() if value is not None}
        self.connection = dataclasses.replace(self.connection, settings=merged)

    @contextmanager
    def beside(self) -> Generator[CloudHarness]:
        """Another account of the same kind, in which nothing has happened."""
        with Rehearsal(start=NOON, speed=0.0, pace=self.rehearsal.pace) as rehearsal:
            other = CloudHarness(
                rehearsal,
                self.factory,
                name=self._name,
                base_model=self.base_model,
                creates=self.creates,
                folder=self._folder,
            )
            addresses = {key for key, value in other.connection.settings.items() if "://127.0.0.1" in str(value)}
            other.set(**{key: value for key, value in self.connection.settings.items() if key not in addresses})
            yield other
            other.close()

    def close(self) -> None:
        for provider in self.opened:
            provider.close()

    def training_request(self, name: str, *, ends: bool = True) -> TrainingRequest:
        del ends  # a job of a rehearsal ends when the clock is moved, and not before
        return TrainingRequest(
            name=name,
            token=f"token-{name}",
            model="support-bot",
            version=1,
            base_model=self.base_model,
            train=data_set(self._folder / "train.jsonl"),
            validation=data_set(self._folder / "validation.jsonl", 4, mark="v"),
            method="supervised",
            hyperparameters={"epochs": 2},
        )

    def failing_request(self, name: str) -> TrainingRequest:
        self.rehearsal.faults.inject(self.creates, faults.doomed("the data is poor"))
        return self.training_request(name)

    def advance(self) -> None:
        self.rehearsal.clock.advance(5)

    def lose_deployment(self, name: str) -> None:
        self.rehearsal.truth.vanish(name)

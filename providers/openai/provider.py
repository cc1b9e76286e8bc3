"""One OpenAI connection, opened: its settings, and the parts that work with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import date, datetime

from providers.checks import checked
from providers.cloud_settings import REHEARSAL_POLL_S
from providers.openai.artifacts import OpenAIArtifacts
from providers.openai.chat import CloudChat
from providers.openai.client import client_of, upstream_of
from providers.openai.deployments import NoDeployments
from providers.openai.errors import translated
from providers.openai.lists import models
from providers.openai.settings import settings_of
from providers.openai.training import CloudTraining, Dialect
from providers.ports import Capabilities, Connection, ConnectionCheck


class OpenAIProvider:
    """`providers.ports.Provider` for an OpenAI account, or for what speaks as one."""

    def __init__(self, connection: Connection, *, now: Callable[[], datetime]) -> None:
        self.settings = settings_of(connection)
        self._now = now
        self._client = client_of(self.settings)
        self.training = CloudTraining(
            self._client,
            Dialect(fine_tuning=self.settings.fine_tuning),
            base_models=self.base_models,
            registry=connection.registry,
            now=now,
        )
        self.artifacts = OpenAIArtifacts(self._client, now=now)
        self.deployments = NoDeployments()
        self.chat = CloudChat(
            self._client,
            lambda target: target.artifact.id,
            lambda model: upstream_of(self.settings, model),
            now=now,
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fine_tuning=self.settings.fine_tuning,
            serving="none",
            checkpoints=True,
            pause=True,
            poll_interval_s=REHEARSAL_POLL_S if self.settings.rehearsal else None,
        )

    def check(self) -> Sequence[ConnectionCheck]:
        remedy = f"check {self.settings.api_key_env} and what its key may do"
        checks = [checked("models", lambda: f"{len(self.base_models())} models to call", remedy)]
        if self.settings.fine_tuning and checks[0].passed:
            checks.append(checked("fine-tuning", lambda: f"{len(self._jobs())} fine-tuning jobs seen", remedy))
        return checks

    def base_models(self) -> Sequence[str]:
        """Every model of the account: OpenAI does not tell which can be tuned, and a tuned one can be tuned again."""
        return [str(model["id"]) for model in models(self._client, now=self._now)]

    def retires_on(self, base_model: str) -> date | None:
        """The day on which OpenAI shuts the model down, if it has told."""
        dates = {model["id"]: model.get("shutdown_date") for model in models(self._client, now=self._now)}
        with contextlib.suppress(ValueError):
            return date.fromisoformat(str(dates.get(base_model))[:10])
        return None

    def close(self) -> None:
        self._client.close()

    def _jobs(self) -> Sequence[str]:
        with translated("list-jobs", now=self._now):
            return [job.id for job in self._client.get().fine_tuning.jobs.list(limit=1).data]

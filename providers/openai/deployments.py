"""Where a tuned model serves as it is: nothing to deploy, so nothing that is billed for standing by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from providers.errors import RejectedError
from providers.ports import DeploymentReport, DeploymentRequest


class NoDeployments:
    """`providers.ports.Deployments`, always empty."""

    def create(self, request: DeploymentRequest) -> NoReturn:
        raise RejectedError(
            f"{request.artifact.id} serves without a deployment here", operation="create-deployment", code="not-needed"
        )

    def list(self) -> Sequence[DeploymentReport]:
        return []

    def get(self, name_or_id: str) -> None:
        """There is none of that name."""

    def delete(self, name_or_id: str) -> None:
        """What is not there is deleted."""

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        del since
        return {}

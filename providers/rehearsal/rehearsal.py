"""All emulated clouds in one place: started, spoken to over loopback, looked into, stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

from providers.rehearsal.arm_service import ArmService
from providers.rehearsal.azure_service import AzureService
from providers.rehearsal.bedrock_runtime import BedrockRuntime
from providers.rehearsal.bedrock_service import BedrockService
from providers.rehearsal.clock import VirtualClock
from providers.rehearsal.faults import Faults
from providers.rehearsal.http import Host
from providers.rehearsal.openai_service import OpenAIService
from providers.rehearsal.s3_service import S3Service
from providers.rehearsal.service import Service
from providers.rehearsal.truth import Truth
from providers.rehearsal.world import (
    ACCESS_KEY,
    ACCOUNT,
    ACCOUNT_ID,
    API_KEY,
    ARM_TOKEN,
    BUCKET,
    REGION,
    RESOURCE_GROUP,
    SUBSCRIPTION,
    WORKSPACE,
    WORKSPACE_CONNECTION,
    BaseModel,
    Limits,
    Pace,
    World,
)

API_KEY_ENV = "REHEARSAL_API_KEY"
SERVICES = 6
ARM_TOKEN_ENV = "REHEARSAL_ARM_TOKEN"  # noqa: S105 - the name of a variable


class Rehearsal:
    """A context manager; the addresses are known from the start, and answered from `start` (or `with`) on.

    `port`: of the first service, the others follow it; 0 lets the system choose each. Raises OSError for one in use.
    """

    def __init__(
        self,
        *,
        start: datetime | None = None,
        speed: float = 1.0,
        pace: Pace | None = None,
        limits: Limits | None = None,
        port: int = 0,
    ) -> None:
        self.clock = VirtualClock(start, speed=speed)
        self.truth = Truth(self.clock.now)
        self._world = World(
            clock=self.clock,
            truth=self.truth,
            pace=dataclasses.replace(pace or Pace()),  # what one rehearsal is told to change is its own
            limits=dataclasses.replace(limits or Limits()),
        )
        self.faults: Faults = self._world.faults
        self._host = Host()
        try:
            self._listen([port + n if port else 0 for n in range(SERVICES)])
        except OSError:
            self._host.close()
            raise

    def _listen(self, ports: Sequence[int]) -> None:
        world, listen = self._world, self._host.listen
        self.openai_url = listen(Service(world, OpenAIService(world)), port=ports[0]) + "/v1"
        self.azure_url = listen(Service(world, AzureService(world)), port=ports[1])
        self.arm_url = listen(Service(world, ArmService(world, self.azure_url)), port=ports[2])
        self.bedrock_url = listen(Service(world, BedrockService(world)), port=ports[3])
        self.bedrock_runtime_url = listen(Service(world, BedrockRuntime(world)), port=ports[4])
        self.s3_url = listen(Service(world, S3Service(world)), port=ports[5])

    @property
    def pace(self) -> Pace:
        return self._world.pace

    @property
    def limits(self) -> Limits:
        return self._world.limits

    @property
    def catalogue(self) -> dict[str, dict[str, BaseModel]]:
        """The base models of `openai`, `azure` and `bedrock` by name, for a test to change."""
        return self._world.catalogue

    def start(self) -> Self:
        self._host.start()
        return self

    def close(self) -> None:
        """Lets go of everyone who waits, and ends every connection."""
        self._world.stopping.set()
        self._host.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def environment(self) -> Mapping[str, str]:
        """What `connections` refers to: the credentials that the emulators take."""
        return {
            API_KEY_ENV: API_KEY,
            ARM_TOKEN_ENV: ARM_TOKEN,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "rehearsal-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def declaration(self) -> dict[str, dict[str, object]]:
        """`connections` that need no environment, as `tenure rehearse` declares them, and one that serves on demand."""
        references = ("api_key_env", "token_env")
        ready: dict[str, dict[str, object]] = {
            name: {key: value for key, value in settings.items() if key not in references} | {"rehearsal": True}
            for name, settings in self.connections().items()
        }
        on_demand = {key: value for key, value in ready["rehearsal-aws"].items() if key != "model_units"}
        return {**ready, "rehearsal-aws-on-demand": {**on_demand, "serving": "on-demand"}}

    def connections(self) -> dict[str, dict[str, object]]:
        """By name, the settings tables that `tenure apply` takes."""
        return {
            "rehearsal-openai": {
                "provider": "openai",
                "api_key_env": API_KEY_ENV,
                "base_url": self.openai_url,
            },
            "rehearsal-azure": {
                "provider": "azure-openai",
                "subscription_id": SUBSCRIPTION,
                "resource_group": RESOURCE_GROUP,
                "workspace": WORKSPACE,
                "workspace_connection": WORKSPACE_CONNECTION,
                "account": ACCOUNT,
                "endpoint": self.azure_url,
                "api_key_env": API_KEY_ENV,
                "resource_manager": self.arm_url,
                "token_env": ARM_TOKEN_ENV,
                "sku": "Standard",
                "capacity": 1,
                "training_type": "GlobalStandard",
            },
            "rehearsal-aws": {
                "provider": "bedrock",
                "region": REGION,
                "role_arn": f"arn:aws:iam::{ACCOUNT_ID}:role/rehearsal",
                "s3_uri": f"s3://{BUCKET}/tenure",
                "serving": "provisioned-throughput",
                "model_units": 1,
                "endpoint_url": self.bedrock_url,
                "runtime_endpoint_url": self.bedrock_runtime_url,
                "s3_endpoint_url": self.s3_url,
                "cloudwatch_endpoint_url": self.bedrock_url,
            },
        }

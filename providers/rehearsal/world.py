"""What the emulated services share: one clock, one truth, one set of faults, one lock, and how fast things move."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from providers.cloud_settings import REHEARSAL_ACCESS_KEY, REHEARSAL_KEY, REHEARSAL_TOKEN
from providers.rehearsal.clock import VirtualClock
from providers.rehearsal.faults import Faults
from providers.rehearsal.truth import Truth

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000042"
RESOURCE_GROUP = "rehearsal"
ACCOUNT = "rehearsal-aoai"
WORKSPACE = "rehearsal-ws"
WORKSPACE_CONNECTION = "aoai"
BUCKET = "rehearsal"
API_KEY = REHEARSAL_KEY
ACCESS_KEY = REHEARSAL_ACCESS_KEY
ARM_TOKEN = REHEARSAL_TOKEN


@dataclass(slots=True, kw_only=True)
class Pace:
    """How long each motion takes, in virtual seconds; a test sets what it needs."""

    file_s: float = 0.5
    validating_s: float = 2.0
    queued_s: float = 2.0
    training_s: float = 20.0
    accepted_s: float = 1.0
    creating_s: float = 5.0
    deleting_s: float = 2.0
    list_lag_s: float = 0.0
    """Lists show the world as it was so long ago."""
    metrics_lag_s: float = 120.0
    """Azure Monitor and CloudWatch count calls so much later."""


@dataclass(slots=True, kw_only=True)
class Limits:
    """What the account is allowed; past it, the provider's own refusal."""

    azure_capacity: int = 1000
    azure_deployments: int = 10
    azure_files: int = 100
    azure_jobs: int = 23
    bedrock_units_without_commitment: int = 2


@dataclass(slots=True, kw_only=True)
class BaseModel:
    """A model that can be tuned (or not), and when its provider takes it away."""

    name: str
    fine_tunable: bool = True
    retires_at: datetime | None = None


def _catalogue() -> dict[str, dict[str, BaseModel]]:
    openai = ("gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14", "gpt-4o-mini-2024-07-18")
    bedrock = ("amazon.nova-micro-v1:0:128k", "amazon.nova-lite-v1:0:300k", "amazon.titan-text-express-v1:0:8k")
    tables = {"openai": openai, "azure": openai[:3], "bedrock": bedrock}
    found = {service: {name: BaseModel(name=name) for name in names} for service, names in tables.items()}
    found["openai"]["gpt-4o-mini-2024-07-18"].retires_at = datetime(2027, 10, 1, tzinfo=UTC)
    found["openai"]["o3-2025-04-16"] = BaseModel(name="o3-2025-04-16", fine_tunable=False)
    found["bedrock"]["amazon.titan-text-express-v1:0:8k"].retires_at = datetime(2027, 6, 30, tzinfo=UTC)
    return found


@dataclass(slots=True, kw_only=True)
class World:
    clock: VirtualClock
    truth: Truth
    faults: Faults = field(default_factory=Faults)
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    catalogue: dict[str, dict[str, BaseModel]] = field(default_factory=_catalogue)
    """By service (`openai`, `azure`, `bedrock`), then name; a test may change what is in it."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopping: threading.Event = field(default_factory=threading.Event)
    counter: int = 0

    def id(self, prefix: str, length: int = 24) -> str:
        """Ids are a count, dressed: the same run gives the same ids."""
        self.counter += 1
        return prefix + hashlib.sha256(f"rehearsal/{self.counter}".encode()).hexdigest()[:length]

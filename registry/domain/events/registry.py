"""What happens to the registry itself and to its connections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registry.domain.events.values import JobRef, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryCreated:
    registry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfigured:
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesChanged:
    prices: tuple[Json, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultPolicyChanged:
    """What holds for every model that does not say otherwise; only what was set."""

    policy: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInConfigured:
    """Where people sign in, and which of their groups and addresses have which roles."""

    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDeclared:
    connection: str
    provider: str
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionChanged:
    connection: str
    provider: str
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRemoved:
    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFailed:
    """Its polling stopped: the credential or the address does not answer. Told once, until it recovers."""

    connection: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRecovered:
    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanJobFound:
    """A training job runs there that bears our name, and no version here knows it.

    `suspected`: the version that its name was made for. `duplicate`: that version has a job, and this is a second one.
    """

    connection: str
    job: JobRef
    suspected: str | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanJobEnded:
    """It runs no more: by itself, or stopped by the policy that is the actor."""

    connection: str
    job_id: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFound:
    """The connection's account has a deployment that is not provably ours: shown, never touched."""

    connection: str
    provider_id: str
    name: str
    status: str
    artifact_id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignGone:
    """It is no longer there, or it is one of ours now."""

    connection: str
    provider_id: str

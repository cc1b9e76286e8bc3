"""What the registry asks of a provider, as small protocols. Values are frozen; every call may raise `ProviderError`s.

One `Provider` object stands for one connection (an account, with its credential and endpoints). Adapters are made by
`connect(connection, ...)` in each provider's folder and hold no state that matters: everything they must remember is
in what they return, so that a registry started again asks the same questions with the same names.

Words as in the registry: *job* (the provider's training job behind a version), *artifact* (what training produced),
*deployment* (something at the provider that serves a version and may be billed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol

JobOutcome = Literal["running", "succeeded", "failed", "cancelled"]
"""How the registry reads a job's status. A status that is not known is `running`: shown, waited out, never an end."""

DeploymentOutcome = Literal["provisioning", "serving", "failed", "deleting"]
ServingNeed = Literal["none", "deployment"]
ChatRequest = Mapping[str, object]
"""The body of POST /v1/chat/completions, as OpenAI's clients send it; `model` is set by the adapter."""
ChatChunk = Mapping[str, object]
"""An OpenAI `chat.completion.chunk` (streaming) or `chat.completion` object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A declared account. `settings` are the keys of its TOML table; `folder` is the registry's own space for it."""

    name: str
    provider: str
    settings: Mapping[str, object]
    registry: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this connection can do, so that nobody has to fail to find out."""

    fine_tuning: bool
    serving: ServingNeed
    """`none`: a tuned model serves as it is. `deployment`: something must be deployed first, and may be billed."""
    cancel: bool = True
    checkpoints: bool = False
    pause: bool = False
    delete_artifacts: bool = True
    absence_reads: int | None = None
    """Reads that must miss a deleted deployment before it is gone; None: the scheduler's setting."""
    poll_interval_s: float | None = None
    """How often to look at what is in motion; None: the scheduler's setting."""
    use_lag: timedelta | None = None
    """How late the provider's own metrics show a call (`Deployments.last_used`); None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A checked data set as JSON Lines of {"prompt": [messages], "completion": [messages]}."""

    path: Path
    sha256: str
    rows: int
    tokens: int | None = None
    name: str = ""
    """What its owner calls it; faults name it so."""

    @property
    def label(self) -> str:
        return self.name or self.path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """One attempt at training one version. `name` and `token` are deterministic and never reused."""

    name: str
    token: str
    model: str
    version: int
    base_model: str
    train: DataSet
    validation: DataSet | None
    method: str
    """supervised | dpo | reinforcement at the clouds; the local provider adds lora | full below `supervised`."""
    hyperparameters: Mapping[str, object]
    code: Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What training produced: a model id or ARN, or a folder's path. `digest`: of the folder's manifest, if any."""

    id: str
    digest: str | None = None
    base_model: str | None = None
    kind: Literal["model", "checkpoint", "folder"] = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    step: int
    artifact: Artifact
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """`step` counts from 1 within an attempt; `metrics` holds train_loss, valid_loss, … as floats."""

    step: int
    metrics: Mapping[str, float]
    epoch: float | None = None
    recorded_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """A job as the provider shows it. `status` is its own word, `outcome` how the registry reads it."""

    id: str
    name: str
    status: str
    outcome: JobOutcome
    artifact: Artifact | None = None
    error: str | None = None
    step: int | None = None
    steps_total: int | None = None
    estimated_finish_at: datetime | None = None
    finished_at: datetime | None = None
    """When it ended, by the provider's clock; None while it runs, and where the provider does not tell."""
    trained_tokens: int | None = None
    duration_s: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Final figures (train_loss, valid_loss, …) where the provider gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What training will take, before it starts. `cost` is None where no price is known: unknown, not zero."""

    tokens: int | None = None
    steps: int | None = None
    duration_s: float | None = None
    cost: Decimal | None = None
    currency: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest:
    """One attempt at deploying one version. `name` is unique for ever, so that a late delete cannot hit a successor."""

    name: str
    token: str
    model: str
    version: int
    artifact: Artifact
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentReport:
    """A deployment as the provider shows it.

    `ours`: tagged as made by this registry. `endpoint`: where it answers, if that is an address of its own.
    `created_at`: since when it may be billed, as the provider tells it. `hourly_units`: how many units the hourly price
    is multiplied with (capacity, model units); None where it is not billed by the hour.
    """

    id: str
    name: str
    status: str
    outcome: DeploymentOutcome
    artifact_id: str | None = None
    endpoint: str | None = None
    error: str | None = None
    ours: bool = False
    created_at: datetime | None = None
    sku: str | None = None
    hourly_units: Decimal | None = None
    committed_until: datetime | None = None
    """It is billed until then, whatever is deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCheck:
    """One thing that `tenure connections test` looked at. `remedy` says what to do where it failed."""

    name: str
    passed: bool
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingTarget:
    """What a chat goes to: a deployment, or the artifact itself where serving needs none."""

    artifact: Artifact
    deployment_id: str | None
    deployment_name: str | None
    endpoint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where OpenAI's own chat requests for a target can be sent as they are.

    `model`: what their `model` must say there. `headers` hold the credential, good for a minute at least: ask again
    later. `ca_bundle`: certificates to believe instead of the system's. `check` raises ChatError for a request that
    what serves there would break on, or answer otherwise than asked.
    """

    url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    ca_bundle: str | None = None
    check: Callable[[Mapping[str, object]], None] | None = None


class Training(Protocol):
    """Jobs and what they produce."""

    def validate(self, request: TrainingRequest) -> None:
        """Check base model, hyperparameters and data against the provider's rules; costs nothing, changes nothing.

        Raises RejectedError naming every fault.
        """
        ...

    def estimate(self, request: TrainingRequest) -> Estimate: ...

    def submit(self, request: TrainingRequest) -> JobReport:
        """Start the job, once. Asked again with the same token, answers the job that is there.

        Never retried inside. Raises RejectedError, UnavailableError (nothing happened), OutcomeUnknownError.
        """
        ...

    def find(self, *, name: str, token: str) -> Sequence[JobReport]:
        """Every job that was made under this name or token, oldest first: empty when it never happened."""
        ...

    def unfinished(self, *, or_ended_since: datetime | None = None) -> Sequence[JobReport]:
        """Jobs that bear this registry's name and have not ended, as lists show them. A failed list raises.

        `or_ended_since`: also those that ended later than that, where one request may become two jobs that are paid.
        """
        ...

    def poll(self, ids: Sequence[str]) -> Mapping[str, JobReport]:
        """These jobs as they stand, with list calls where the provider has them.

        A job that the provider does not have (definitively) is left out; a failed or partial list raises.
        """
        ...

    def metrics(self, id: str, *, after_step: int) -> Sequence[MetricPoint]:
        """Loss points after a step, in step order. May be empty for long; may be repeated."""
        ...

    def checkpoints(self, id: str) -> Sequence[Checkpoint]: ...

    def cancel(self, id: str) -> None:
        """Ask the job to stop. One that has ended or is not there: success. Seen to be done by `poll`."""
        ...

    def pause(self, id: str) -> None:
        """Ask a running job to pause. Raises RejectedError where it cannot, and where there is no pausing at all."""
        ...

    def resume(self, id: str) -> None:
        """Ask a paused job to go on; as `pause`."""
        ...

    def clean_up(self) -> Sequence[str]:
        """Delete training data that was uploaded more than a day ago and that no unfinished job uses; their names.

        Costs a list where there is nothing to do. May be repeated.
        """
        ...

    def log_tail(self, id: str, *, lines: int = 40) -> Sequence[str]:
        """The last lines that the job printed or the provider's last messages; empty where there are none."""
        ...


class Artifacts(Protocol):
    """Tuned models that exist at the provider."""

    def get(self, id: str) -> Artifact | None:
        """None when the provider definitively does not have it. The local provider checks digests and formats here.

        Raises RejectedError when it is there but must not be used (corrupt, a pickle, not a causal language model).
        """
        ...

    def list(self) -> Sequence[Artifact]: ...

    def delete(self, id: str) -> None:
        """Delete for good. One that is not there: success. Raises RejectedError while something serves it."""
        ...


class Deployments(Protocol):
    """What serves tuned models, and may be billed. Absent where `capabilities.serving` is `none`."""

    def create(self, request: DeploymentRequest) -> DeploymentReport:
        """Deploy, once. Asked again with the same name and token, answers the deployment that is there."""
        ...

    def list(self) -> Sequence[DeploymentReport]:
        """All that the connection has, ours or not. A failed or partial list raises: it is never absence."""
        ...

    def get(self, name_or_id: str) -> DeploymentReport | None:
        """None when the provider definitively does not have it (one read; absence is believed after several)."""
        ...

    def delete(self, name_or_id: str) -> None:
        """Ask for deletion. One that is not there: success. Done only when reads no longer show it."""
        ...

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        """By id, a moment after which nobody called it, by the provider's own metrics; exact to the hour, and never
        before the last call. `since`: where to begin; it is the answer where nobody has called since, or the moment
        from which calls are kept, if that is later.

        What nobody can tell is left out, and where there are no metrics (`Capabilities.use_lag`) that is everything.
        Calls of the last `use_lag` may not be counted yet.
        """
        ...


class Chat(Protocol):
    def complete(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> ChatChunk:
        """One `chat.completion` object. Raises ChatError with the endpoint's own status and body."""
        ...

    def stream(self, target: ServingTarget, request: ChatRequest, *, timeout_s: float) -> Iterator[ChatChunk]:
        """`chat.completion.chunk` objects as they come; closing the iterator ends the request.

        One that is `providers.optional.Interruptible` can be ended while somebody waits for its next piece.
        """
        ...

    def upstream(self, target: ServingTarget) -> Upstream | None:
        """None where the provider does not speak OpenAI's language: then `complete` and `stream` translate.

        May block, for an address or a token that has to be asked for. Raises ProviderError where there is none.
        """
        ...


class Provider(Protocol):
    """One connection's door to one provider. Cheap to make; no call is made before a method needs one."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def training(self) -> Training: ...
    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def deployments(self) -> Deployments: ...
    @property
    def chat(self) -> Chat: ...

    def check(self) -> Sequence[ConnectionCheck]:
        """Credentials, permissions, reachability: what `tenure connections test` prints. A failed check is no error."""
        ...

    def base_models(self) -> Sequence[str]:
        """Names that `base_model` may be, as far as the provider tells; empty where it does not."""
        ...

    def retires_on(self, base_model: str) -> date | None:
        """The day on which the provider takes a base model away, and what was tuned from it; None: it has not said."""
        ...

    def close(self) -> None: ...


class ProviderFactory(Protocol):
    """How a provider's folder is entered: it validates a connection's settings and opens it."""

    def __call__(self, connection: Connection, *, now: Callable[[], datetime]) -> Provider:
        """Raises RejectedError for a setting that is unknown, missing, or a secret written as a value."""
        ...

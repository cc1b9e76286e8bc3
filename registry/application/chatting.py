"""A chat with what serves a version: find it, hand the request through, give the text piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import cast

from providers.errors import ChatError, ProviderError
from providers.ports import Artifact, ChatChunk, ServingTarget
from registry.application.ports import Clock, DeploymentQuery, EventLog, Providers, Usage
from registry.application.reading import Reading
from registry.domain import errors
from registry.domain.deploying import answering
from registry.domain.ids import VersionRef, parse_ref
from registry.domain.states import VersionState

TIMEOUT_S = 600.0


def target_of(reading: Reading, log: EventLog, providers: Providers, ref: str) -> tuple[VersionState, ServingTarget]:
    """What answers for `support-bot` (its active version) or `support-bot@2`.

    Raises NotFoundError, and RefusedError for a version that nothing serves.
    """
    name, number = parse_ref(ref)
    model = reading.model_state(name)
    if number is None:
        if model.active is None:
            raise errors.RefusedError(f"{name} has no active version", hint=f"run: tenure activate {name}@N")
        number = model.active
    version = reading.version_state(VersionRef(name, number))
    connection = reading.connection_state(version.connection)
    if version.artifact_id is None:
        raise errors.RefusedError(f"{name}@{number} is {version.state}: nothing serves it", state=version.state)
    artifact = Artifact(id=version.artifact_id, digest=version.artifact_digest)
    if providers.of(connection).capabilities.serving == "none":
        return version, ServingTarget(artifact=artifact, deployment_id=None, deployment_name=None, endpoint=None)
    for one in answering(log.deployments(DeploymentQuery(model=name, version=number, live=True))):
        return version, ServingTarget(
            artifact=artifact,
            deployment_id=one.provider_id,
            deployment_name=one.name,
            endpoint=one.endpoint,
        )
    raise errors.RefusedError(
        f"nothing serves {name}@{number}, which is {version.state}",
        state=version.state,
        hint=f"run: tenure deploy {name}@{number}, or tenure activate {name}@{number}",
    )


def stream_text(
    reading: Reading,
    log: EventLog,
    providers: Providers,
    ref: str,
    messages: Sequence[Mapping[str, object]],
    options: Mapping[str, object],
    *,
    clock: Clock,
) -> Iterator[str]:
    """The call counts as a use of the deployment, whatever comes of it: see `idle_delete`."""
    version, target = target_of(reading, log, providers, ref)
    _count(log, version, target, clock())
    provider = providers.of(reading.connection_state(version.connection))
    request = {**options, "messages": [dict(one) for one in messages], "stream": True}
    return _pieces(lambda: provider.chat.stream(target, request, timeout_s=TIMEOUT_S))


def _count(log: EventLog, version: VersionState, target: ServingTarget, now: datetime) -> None:
    mine = log.deployments(DeploymentQuery(model=version.model, version=version.version, live=True))
    called = next((one.id for one in mine if one.name == target.deployment_name), None)
    use = Usage(
        model=version.model,
        version=version.version,
        deployment=called,
        hour=now.replace(minute=0, second=0, microsecond=0),
        requests=1,
        last_used_at=now,
    )
    # A chat that cannot be counted is still a chat.
    with suppress(errors.UnavailableError):
        log.record_usage([use])


def _pieces(ask: Callable[[], Iterator[ChatChunk]]) -> Iterator[str]:
    try:
        for chunk in ask():
            for choice in cast("list[dict[str, dict[str, str | None] | None]]", chunk.get("choices") or []):
                text = (choice.get("delta") or {}).get("content")
                if text:
                    yield text
    except ChatError as error:
        kind = errors.BadInputError if error.status < 500 else errors.UnavailableError  # noqa: PLR2004 - HTTP's line
        raise kind(f"the model's endpoint answered {error.status}: {error.message}") from error
    except ProviderError as error:
        raise errors.UnavailableError(error.message) from error

"""Which deployments answer for which model: a table in memory that follows the log.

`Fold` reads the log and says what changed; it may wait for the database, so it runs in a thread. `Table` is what
requests look into; it belongs to the event loop, so that looking and changing never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from providers.ports import Artifact, ServingTarget
from registry.application.ports import DeploymentQuery, EventLog, VersionQuery
from registry.domain import events as ev
from registry.domain.apply import apply
from registry.domain.deploying import DEPLOYABLE, GONE, answering
from registry.domain.errors import BadInputError
from registry.domain.events import Event
from registry.domain.ids import VersionRef, parse_ref
from registry.domain.states import ConnectionState, DeploymentState, ModelState, VersionState
from registry.gateway.refusal import RefusalError

Key = tuple[str, int]
"""A model and a version's number."""
_RESHAPING = (ev.ConnectionDeclared, ev.ConnectionChanged, ev.ConnectionRemoved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A model, as far as a name has to be understood. `created`: in seconds since 1970."""

    active: int | None
    last_version: int
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One thing that serves a version: a deployment; or the tuned model itself, then `deployment` is None."""

    ref: VersionRef
    deployment: str | None
    target: ServingTarget
    created: int
    connection: ConnectionState = field(compare=False)

    @property
    def id(self) -> str:
        return self.deployment or str(self.ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is new as of a position. `whole`: this is everything, what it does not name is gone."""

    position: int
    models: Mapping[str, Named]
    served: Mapping[Key, tuple[Replica, ...]]
    whole: bool = False


class Table:
    """Used on the event loop only."""

    def __init__(self) -> None:
        self.position = -1
        self.models: dict[str, Named] = {}
        self.served: dict[Key, tuple[Replica, ...]] = {}

    def install(self, changes: Changes) -> None:
        if changes.whole:
            self.models.clear()
            self.served.clear()
        self.models.update(changes.models)
        for key, replicas in changes.served.items():
            if replicas:
                self.served[key] = replicas
            else:
                self.served.pop(key, None)
        self.position = changes.position

    def resolve(self, name: str) -> tuple[Replica, ...]:
        """What answers for `support-bot` or `support-bot@2` at this moment. Raises RefusalError (404, 409)."""
        key = self._key(name)
        replicas = self.served.get(key)
        if replicas is None:
            ref = VersionRef(*key)
            message = f"nothing serves {ref}: run `tenure deploy {ref}` or `tenure activate {ref}`"
            raise RefusalError(409, "not_served", message, param="model", again=False)
        return replicas

    def _key(self, name: str) -> Key:
        try:
            model, number = parse_ref(name)
        except BadInputError as error:
            raise _unknown(error.message) from None
        named = self.models.get(model)
        if named is None:
            raise _unknown(f"there is no model {model!r}")
        if number is None:
            if named.active is None:
                message = f"{model} has no active version: run `tenure activate {model}@N`, or ask for {model}@N"
                raise RefusalError(409, "not_served", message, param="model", again=False)
            number = named.active
        elif number > named.last_version:
            raise _unknown(f"there is no version {name}: {model} has versions 1 to {named.last_version}")
        return model, number

    def listed(self) -> Iterable[tuple[str, str, int]]:
        """(name, model, created) of everything that can be asked for now."""
        for model, named in self.models.items():
            if named.active is not None and (model, named.active) in self.served:
                yield model, model, named.created
        for (model, number), replicas in self.served.items():
            yield f"{model}@{number}", model, replicas[0].created


def _unknown(why: str) -> RefusalError:
    return RefusalError(404, "model_not_found", why, param="model")


class Fold:
    """Follows the log event by event, so that what it tells is always as of one position.

    `serves_alone`: whether a connection's provider serves a tuned model without a deployment. Only of such connections
    are versions remembered; elsewhere a deployment says all there is to know.
    """

    def __init__(self, log: EventLog, serves_alone: Callable[[ConnectionState], bool]) -> None:
        self._log = log
        self._serves_alone = serves_alone
        self._position = 0
        self._connections: dict[str, ConnectionState] = {}
        self._alone: dict[str, bool] = {}
        self._models: dict[str, ModelState] = {}
        self._deployments: dict[Key, dict[str, DeploymentState]] = {}
        self._where: dict[str, Key] = {}
        self._versions: dict[Key, VersionState] = {}

    def load(self) -> Changes:
        """Everything, as of now."""
        self._position = self._log.head()
        self._connections = {one.name: one for one in self._log.connections() if not one.removed}
        self._alone = {name: self._serves_alone(one) for name, one in self._connections.items()}
        self._models = {one.name: one for one in self._log.models()}
        self._deployments, self._where, self._versions = {}, {}, {}
        for one in self._log.deployments(DeploymentQuery(live=True)):
            self._keep(one)
        for name in (name for name, alone in self._alone.items() if alone):
            for version in self._log.versions(VersionQuery(connection=name, states=DEPLOYABLE)).items:
                self._versions[version.model, version.version] = version
        changed = self._read()
        if changed is None:
            return self.load()
        keys = {*self._deployments, *self._versions}
        return self._changes(set(self._models), keys, whole=True)

    def advance(self) -> Changes:
        """What came since."""
        changed = self._read()
        return self.load() if changed is None else self._changes(*changed, whole=False)

    def _read(self) -> tuple[set[str], set[Key]] | None:
        """The models and versions that may be served differently; None: connections changed, so that all may."""
        until = self._log.head()
        models: set[str] = set()
        keys: set[Key] = set()
        versions: set[VersionRef] = set()
        for event in self._log.read(after=self._position, until=until):
            kind, _, name = event.stream.partition(":")
            match kind:
                case "connection" if isinstance(event.payload, _RESHAPING):
                    return None
                case "model":
                    self._take_model(name, event)
                    models.add(name)
                case "deployment":
                    keys.add(self._take_deployment(name, event))
                case "version" if any(self._alone.values()):
                    versions.add(VersionRef.parse(name))
                case _:
                    pass
        keys.update(key for ref in versions if (key := self._take_version(ref)) is not None)
        self._position = until
        return models, keys

    def _take_model(self, name: str, event: Event) -> None:
        state = self._models.setdefault(name, ModelState(name=name))
        if event.stream_version == state.stream_version + 1:
            apply(state, event)

    def _take_deployment(self, id: str, event: Event) -> Key:
        key = self._where.get(id)
        state = self._deployments[key][id] if key is not None else None
        if state is None:
            # New, or one that was gone and is back: then what it was is looked up.
            found = self._log.deployment(id) if event.stream_version > 1 else None
            state = found or DeploymentState(id=id)
        if event.stream_version == state.stream_version + 1:
            apply(state, event)
        return self._keep(state)

    def _keep(self, state: DeploymentState) -> Key:
        key = (state.model, state.version)
        before = self._where.pop(state.id, key)  # an orphan belongs to no version until it is adopted
        self._deployments.get(before, {}).pop(state.id, None)
        if state.state not in GONE:
            self._where[state.id] = key
            self._deployments.setdefault(key, {})[state.id] = state
        return key

    def _take_version(self, ref: VersionRef) -> Key | None:
        key = (ref.model, ref.number)
        state = self._log.version(ref)
        if state is not None and self._alone.get(state.connection) and state.state in DEPLOYABLE:
            self._versions[key] = state
            return key
        return key if self._versions.pop(key, None) is not None else None

    def _changes(self, models: Iterable[str], keys: Iterable[Key], *, whole: bool) -> Changes:
        return Changes(
            position=self._position,
            models={name: _named(self._models[name]) for name in models},
            served={key: self._replicas(key) for key in keys},
            whole=whole,
        )

    def _replicas(self, key: Key) -> tuple[Replica, ...]:
        serving = answering(one for one in self._deployments.get(key, {}).values() if not one.orphan)
        found = [replica for one in serving if (replica := self._deployed(one)) is not None]
        version = self._versions.get(key)
        if version is not None and version.artifact_id is not None:
            found.append(self._by_itself(version, version.artifact_id))
        return tuple(found)

    def _deployed(self, one: DeploymentState) -> Replica | None:
        connection = self._connections.get(one.connection)
        if connection is None:
            return None
        return Replica(
            ref=VersionRef(one.model, one.version),
            deployment=one.id,
            target=ServingTarget(
                artifact=Artifact(id=one.artifact_id, digest=one.artifact_digest),
                deployment_id=one.provider_id,
                deployment_name=one.name,
                endpoint=one.endpoint,
            ),
            created=int(one.serving_at.timestamp()) if one.serving_at else 0,
            connection=connection,
        )

    def _by_itself(self, version: VersionState, artifact: str) -> Replica:
        target = ServingTarget(
            artifact=Artifact(id=artifact, digest=version.artifact_digest),
            deployment_id=None,
            deployment_name=None,
            endpoint=None,
        )
        return Replica(
            ref=VersionRef(version.model, version.version),
            deployment=None,
            target=target,
            created=int(version.created_at.timestamp()) if version.created_at else 0,
            connection=self._connections[version.connection],
        )


def _named(state: ModelState) -> Named:
    created = int(state.created_at.timestamp()) if state.created_at else 0
    return Named(active=state.active, last_version=state.last_version, created=created)

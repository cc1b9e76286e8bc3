"""Connections, models, policies, prices and the scheduler from a TOML file: `tenure apply`.

Repeatable; touches only what the file names: of a policy and of the scheduler single keys, of all else the whole
table. A key is taken back with the value "default".
"""

from __future__ import annotations

import tomllib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from registry.application.ports import Clock, DeploymentQuery, EventLog, Providers, VersionQuery
from registry.application.prices import changed_price, check_price, hourly_price, region_of
from registry.application.signing_in import SignIn
from registry.application.unit import Command, Door, Unit
from registry.application.views import ChangeView, to_json
from registry.domain import events as ev
from registry.domain.errors import BadInputError, NotFoundError, RefusedError
from registry.domain.events import DomainEvent, Json, NewEvent
from registry.domain.ids import (
    VersionRef,
    check_name,
    connection_stream,
    deployment_stream,
    model_stream,
    registry_stream,
)
from registry.domain.policy import POLICY_DEFAULTS, SCHEDULER_DEFAULTS, Policy, SchedulerSettings, policy_json
from registry.domain.states import ConnectionState, RegistryState
from registry.domain.versions import Who

_MISSING = object()
SECTIONS = ("connections", "models", "oidc", "policy", "prices", "scheduler")


def read_toml(path: Path) -> Json:
    """Raises BadInputError naming the file and what is wrong with it."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}", field="file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not UTF-8: byte {error.start + 1}", field="file") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{path} is not TOML: {error}", field="file") from error


class Declaring:
    def __init__(self, *, log: EventLog, clock: Clock, providers: Providers, door: Door) -> None:
        self._log = log
        self._clock = clock
        self._providers = providers
        self._door = door

    def apply(self, document: Mapping[str, object], who: Who, *, plan: bool) -> list[ChangeView]:
        """All of it or nothing: one append. With `plan`, only says what would change."""
        document = cast("Json", to_json(document))
        for key in document:
            if key not in SECTIONS:
                raise BadInputError(f"{key!r} is not a section; known: {', '.join(SECTIONS)}", field=key)
        changes: list[ChangeView] = []

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            changes.clear()
            events: list[NewEvent] = []
            for name, settings in _tables(document, "connections").items():
                events += self._connection(unit, name, settings, who, changes)
            for name, table in _tables(document, "models").items():
                with _within(f"models.{name}"):
                    events += self._model(unit, name, table, who, changes)
            events += self._registry(unit, document, who, changes)
            return ([] if plan else events), {}

        self._door.run(Command(name="apply", body=document, who=who), decide)
        return changes

    def declare_connection(self, name: str, settings: Mapping[str, object], who: Who) -> None:
        self.apply({"connections": {name: settings}}, who, plan=False)

    def set_policy(
        self, model: str, policy: Mapping[str, object], who: Who, expected: Mapping[str, int] | None = None
    ) -> None:
        """Set the rules that are named; the others stay. One that is in force already, by default too, is left alone.

        `expected`: as in `Command`.
        """
        policy = cast("Json", to_json(policy))

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.model(model)
            before: Json = state.policy if state else {}
            in_force = policy_json(before, self._log.registry().policy)
            changed = {rule: value for rule, value in policy.items() if in_force.get(rule, _MISSING) != value}
            return self._model(unit, model, {"policy": changed}, who, []), {}

        body = {"model": model, "policy": policy}
        self._door.run(Command(name="set-policy", body=body, who=who, expected=expected or {}), decide)

    def remove_connection(self, name: str, who: Who, expected: Mapping[str, int] | None = None) -> None:
        """Refused while anything at it may be billed or is under way: it would go unseen."""

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            state = unit.connection(name)
            if state is None:
                raise NotFoundError(f"there is no connection {name!r}")
            if state.removed:
                return [], {}
            used = self._users(name)
            if used:
                raise RefusedError(f"connection {name!r} is in use by {', '.join(used[:5])}")
            return [who.says(connection_stream(name), ev.ConnectionRemoved(connection=name))], {}

        command = Command(name="remove-connection", body={"name": name}, who=who, expected=expected or {})
        self._door.run(command, decide)

    def _users(self, connection: str) -> list[str]:
        """What is under way at a connection, and what it serves."""
        motion = self._log.motion()
        active = self._log.versions(VersionQuery(states=frozenset({"active"}), connection=connection)).items
        moving = [one for one in motion.versions if one.connection == connection]
        used = {f"{one.model}@{one.version}" for one in (*active, *moving)}
        return sorted(used | {one.id for one in motion.deployments if one.connection == connection})

    def _connection(
        self, unit: Unit, name: str, written: Mapping[str, object], who: Who, changes: list[ChangeView]
    ) -> list[NewEvent]:
        check_name(name, "connection")
        settings = dict(written)
        provider = settings.pop("provider", None)
        if not isinstance(provider, str):
            raise BadInputError(f"connections.{name} needs provider", field=f"connections.{name}.provider")
        kept = cast("Json", to_json(settings))
        with _within(f"connections.{name}"):
            self._providers.of(ConnectionState(name=name, provider=provider, settings=kept))
        state = unit.connection(name)
        subject = f"connection {name}"
        if state is None or state.removed:
            changes.append(ChangeView(kind="add", subject=subject, detail=provider))
            payload = ev.ConnectionDeclared(connection=name, provider=provider, settings=kept)
            return [who.says(connection_stream(name), payload)]
        if state.provider != provider:
            raise RefusedError(
                f"connections.{name}.provider cannot change from {state.provider} to {provider}:"
                " versions were made with it",
                hint="declare it under another name",
            )
        if state.settings == kept:
            changes.append(ChangeView(kind="same", subject=subject, detail=provider))
            return []
        differing = sorted(key for key in {*state.settings, *kept} if state.settings.get(key) != kept.get(key))
        changes.append(ChangeView(kind="change", subject=subject, detail=", ".join(differing)))
        changed = ev.ConnectionChanged(connection=name, provider=provider, settings=kept)
        return [who.says(connection_stream(name), changed)]

    def _model(
        self, unit: Unit, name: str, table: Mapping[str, object], who: Who, changes: list[ChangeView]
    ) -> list[NewEvent]:
        check_name(name, "model")
        for key in table:
            if key != "policy":
                raise BadInputError(f"models.{name}.{key} is not known; known: policy", field=key)
        state = unit.model(name)
        before: Json = state.policy if state else {}
        written = _table(table.get("policy", {}), f"models.{name}.policy")
        policy = _with(before, written, POLICY_DEFAULTS)
        Policy.of(policy)
        events = [] if state else [who.says(model_stream(name), ev.ModelDeclared(model=name))]
        kind = "add" if state is None else "same"
        if dict(before) != dict(policy):
            events.append(who.says(model_stream(name), ev.PolicyChanged(model=name, policy=dict(policy))))
            kind = "add" if state is None else "change"
        detail = ", ".join(sorted(key for key in {*before, *policy} if before.get(key) != policy.get(key)))
        changes.append(ChangeView(kind=kind, subject=f"model {name}", detail=detail))
        return events

    def _registry(
        self, unit: Unit, document: Mapping[str, object], who: Who, changes: list[ChangeView]
    ) -> list[NewEvent]:
        events: list[NewEvent] = []
        if not document.keys() & {"oidc", "scheduler", "prices", "policy"}:
            return events
        state = unit.registry() or RegistryState()
        if "scheduler" in document:
            settings = _with(state.scheduler, _table(document["scheduler"], "scheduler"), SCHEDULER_DEFAULTS)
            with _within("scheduler"):
                SchedulerSettings.of(settings).check()
            changed = ev.SchedulerConfigured(settings=dict(settings))
            events += _configured("scheduler", state.scheduler, settings, who, changed, changes)
        if "oidc" in document:
            oidc = _table(document["oidc"], "oidc")
            if oidc:
                SignIn.of(oidc)
            events += _configured("oidc", state.oidc, oidc, who, ev.SignInConfigured(settings=dict(oidc)), changes)
        if "policy" in document:
            policy = _with(state.policy, _table(document["policy"], "policy"), POLICY_DEFAULTS)
            with _within("policy"):
                Policy.of(policy)
            changed = ev.DefaultPolicyChanged(policy=dict(policy))
            events += _configured("policy", state.policy, policy, who, changed, changes)
        if "prices" in document:
            prices = tuple(_prices(document["prices"]))
            same = [dict(one) for one in state.prices] == [dict(one) for one in prices]
            detail = f"{len(prices)} {'entry' if len(prices) == 1 else 'entries'}"
            changes.append(ChangeView(kind="same" if same else "change", subject="prices", detail=detail))
            if not same:
                events.append(who.says(registry_stream(), ev.PricesChanged(prices=prices)))
                events += self._repriced(unit, prices, who)
        return events

    def _repriced(self, unit: Unit, prices: Sequence[Json], who: Who) -> list[NewEvent]:
        """What is billed now and costs something else from now on. What is past keeps the price it had."""
        now = self._clock()
        events: list[NewEvent] = []
        for known in self._log.deployments(DeploymentQuery(live=True)):
            one, connection = unit.deployment(known.id), self._log.connection(known.connection)
            if one is None or connection is None:
                continue
            version = self._log.version(VersionRef(one.model, one.version)) if one.model else None
            price = hourly_price(
                prices,
                provider=one.provider,
                sku=one.sku,
                units=one.units,
                now=now,
                model=version.base_model if version else None,
                region=region_of(connection),
            )
            if changed_price(one, price, now):
                events.append(who.says(deployment_stream(one.id), ev.DeploymentRepriced(price=price)))
        return events


def _configured(
    subject: str, before: Json, after: Json, who: Who, payload: DomainEvent, changes: list[ChangeView]
) -> list[NewEvent]:
    """One table of the registry's own settings, if it differs."""
    differing = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    changes.append(ChangeView(kind="change" if differing else "same", subject=subject, detail=", ".join(differing)))
    return [who.says(registry_stream(), payload)] if differing else []


def _with(before: Json, written: Json, known: Mapping[str, object]) -> Json:
    """`before` with the keys that are written; those that are written as "default" stand there no more."""
    taken_back = {key for key, value in written.items() if value == "default" and key in known}
    return {key: value for key, value in {**before, **written}.items() if key not in taken_back}


def _tables(document: Mapping[str, object], section: str) -> Mapping[str, Mapping[str, object]]:
    tables = _table(document.get(section, {}), section)
    return {name: _table(one, f"{section}.{name}") for name, one in tables.items()}


def _table(value: object, key: str) -> Json:
    if not isinstance(value, Mapping):
        raise BadInputError(f"{key} = {value!r} is not a table: write [{key}]", field=key)
    return cast("Json", value)


def _prices(value: object) -> Iterator[Json]:
    if not isinstance(value, list | tuple):
        raise BadInputError("prices is not a list of tables: write [[prices]]", field="prices")
    for number, one in enumerate(cast("list[object]", value), start=1):
        with _within(f"prices, entry {number}"):
            yield check_price(_table(one, "[prices]"))


@contextmanager
def _within(section: str) -> Generator[None]:
    """A key that is wrong is named with the section it stands in."""
    try:
        yield
    except BadInputError as error:
        if error.message.startswith(section):
            raise
        raise BadInputError(f"{section}: {error.message}", field=error.field, hint=error.hint) from error

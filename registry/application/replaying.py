"""`tenure policy replay`: another policy over a model's recorded history, beside what was really done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import cast

from registry.application.commands import Commands
from registry.application.ports import Clock, EventLog, Providers, VersionQuery
from registry.application.reading import Reading
from registry.application.views import View
from registry.domain.errors import BadInputError
from registry.domain.events import Json, Price
from registry.domain.policy import Policy, policy_json
from registry.domain.recorded import record
from registry.domain.replay import Act, compared, replay


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedActView(View):
    """`where`: both | replay (only the other policy does it) | record (only what really happened has it)."""

    at: datetime
    what: str
    subject: str
    actor: str
    why: str | None
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView(View):
    """Costs are of serving, as far as prices are known; `unpriced` deployments are in neither sum."""

    model: str
    policy: Json
    to: datetime
    acts: tuple[ReplayedActView, ...]
    cost: Decimal
    recorded_cost: Decimal
    difference: Decimal
    currency: str
    unpriced: int


class Replaying:
    def __init__(
        self, *, log: EventLog, clock: Clock, providers: Providers, reading: Reading, commands: Commands
    ) -> None:
        self._log = log
        self._clock = clock
        self._providers = providers
        self._reading = reading
        self._commands = commands

    def replay(self, model: str, document: Mapping[str, object] | None) -> ReplayView:
        """`document`: as `tenure apply` reads it, or the policy's keys alone; None: the policy in force.

        Keys that it does not name are the registry's, then the defaults. Raises BadInputError, NotFoundError.
        """
        self._reading.model_state(model)
        default = self._log.registry().policy
        written = self._reading.policy(model) if document is None else policy_of(document, model)
        policy = Policy.of(written, default)
        streams = self._log.model_streams(model)
        uses = [(one.version, one.last_used_at) for one in self._log.usage(model=model)]
        price, needs_deployment = self._newest(model)
        now = self._clock()
        told = replay(
            model,
            record(self._log.read(streams=streams), uses),
            policy,
            until=now,
            needs_deployment=needs_deployment,
            price=price,
        )
        currencies = [one.currency for one in self._reading.deployments(model=model)]
        return ReplayView(
            model=model,
            policy=policy_json(written, default),
            to=now,
            acts=tuple(_view(one, where) for one, where in compared(told)),
            cost=told.cost,
            recorded_cost=told.recorded_cost,
            difference=told.difference,
            currency=currencies[-1] if currencies else (price.currency if price else "USD"),
            unpriced=told.unpriced,
        )

    def _newest(self, model: str) -> tuple[Price | None, bool]:
        """What an hour costs at the connection of the newest version, and whether serving needs a deployment there."""
        page = self._log.versions(VersionQuery(model=model, limit=1))
        connection = self._log.connection(page.items[0].connection) if page.items else None
        if connection is None:
            return None, True
        needs = self._providers.of(connection).capabilities.serving != "none"
        return self._commands.price(connection), needs


def _view(act: Act, where: str) -> ReplayedActView:
    return ReplayedActView(at=act.at, what=act.what, subject=act.subject, actor=act.actor, why=act.why, where=where)


def policy_of(document: Mapping[str, object], model: str) -> Json:
    """The policy that a document sets for a model: its own table, else `[policy]`, else the keys as they stand."""
    models = document.get("models")
    if isinstance(models, Mapping) and model in models:
        table = cast("Mapping[str, Mapping[str, object]]", models)[model].get("policy")
    elif "models" in document or "policy" in document:
        table = document.get("policy")
    else:
        table = document
    if not isinstance(table, Mapping):
        raise BadInputError(f"there is no policy for {model} in it: write [models.{model}.policy]", field="policy")
    return cast("Json", table)

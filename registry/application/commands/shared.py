"""What every command needs: the log, the door, prices and limits, and the states that a decision begins from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from providers.errors import ProviderError, RejectedError, UnauthorizedError
from providers.errors import UnavailableError as ProviderUnavailableError
from providers.ports import DeploymentReport
from registry.application.commands.trainers import Trainers
from registry.application.limits import Limits
from registry.application.ports import Clock, EventLog, Providers, TrainingData
from registry.application.prices import hourly_price, region_of, serving_sku, training_price, training_sku
from registry.application.reading import Reading
from registry.application.unit import Command, Decision, Door, Outcome, Unit
from registry.domain import budget
from registry.domain import events as ev
from registry.domain.errors import BadInputError, UnavailableError
from registry.domain.ids import VersionRef
from registry.domain.states import ConnectionState, DeploymentState, ModelState, VersionState
from registry.domain.versions import Who


class Shared:
    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        providers: Providers,
        data: TrainingData,
        reading: Reading,
        door: Door,
        home: Path,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """`free_bytes`: how much room there is where the home lies; by default, what the file system says."""
        self._log = log
        self._clock = clock
        self._providers = providers
        self._data = data
        self._reading = reading
        self._door = door
        self.home = home
        self.trainers = Trainers(clock)
        self.limits = Limits(log=log, clock=clock, home=home, free_bytes=free_bytes)

    def registry_id(self) -> str:
        """Part of every name that is given to something at a provider."""
        state = self._log.registry()
        assert state.registry is not None
        return state.registry

    def price(
        self, connection: ConnectionState, report: DeploymentReport | None = None, base_model: str | None = None
    ) -> ev.Price:
        """What an hour of a deployment at a connection costs: of one that is there (`report`), or of a new one.

        Of one that is there, since it was made, if the price of then is known.
        """
        sku, units = serving_sku(connection)
        now = self._clock()

        def price(at: datetime) -> ev.Price:
            return hourly_price(
                self._log.registry().prices,
                provider=connection.provider,
                sku=report.sku if report and report.sku else sku,
                units=report.hourly_units if report and report.hourly_units else units,
                now=at,
                model=base_model,
                region=region_of(connection),
            )

        made_at = report.created_at if report else None
        then = price(min(made_at, now)) if made_at else None
        return then if then is not None and then.hourly is not None else price(now)

    def training_price(self, connection: str, base_model: str | None) -> ev.UnitPrice | None:
        known = self._log.connection(connection)
        if known is None:
            return None
        return training_price(
            self._log.registry().prices,
            provider=known.provider,
            sku=training_sku(known),
            now=self._clock(),
            model=base_model,
            region=region_of(known),
        )

    def _check_training(self, model: str, cost: Decimal | None, currency: str | None) -> None:
        """Raises RefusedError where the month has no room for it."""
        policy, spending = self.limits.spending(model)
        budget.check_training(policy, cost, currency or "USD", spending)

    def _run(
        self,
        name: str,
        ref: VersionRef,
        decide: Decision,
        who: Who,
        key: str | None,
        expected: Mapping[str, int] | None,
    ) -> Outcome:
        command = Command(
            name=name,
            body={"ref": str(ref), "reason": who.reason},
            who=who,
            idempotency_key=key,
            expected=expected or {},
        )
        return self._door.run(command, decide)

    def _connection(self, unit: Unit, name: str) -> ConnectionState:
        state = unit.connection(name)
        return state if state is not None and not state.removed else self._reading.connection_state(name)

    def _model(self, unit: Unit, name: str) -> ModelState:
        return unit.model(name) or self._reading.model_state(name)

    def _version(self, unit: Unit, ref: VersionRef) -> VersionState:
        return unit.version(ref) or self._reading.version_state(ref)

    def _deployment(self, unit: Unit, id: str) -> DeploymentState:
        return unit.deployment(id) or self._reading.deployment_state(id)


@contextmanager
def provider_errors() -> Generator[None]:
    """A provider's answer to something that a person asked for, as what the person is told."""
    try:
        yield
    except UnauthorizedError as error:
        raise UnavailableError(error.message, hint="`tenure connections test` says what is missing.") from error
    except RejectedError as refusal:
        raise BadInputError(refusal.message) from refusal
    except ProviderUnavailableError as error:
        raise UnavailableError(error.message, retry_after_s=error.retry_after_s) from error
    except ProviderError as error:
        raise UnavailableError(f"{error.message} ({error.operation}: outcome unknown)") from error


def answered_ref(outcome: Outcome) -> VersionRef:
    """The version that a command has made."""
    return VersionRef(str(outcome.answer["model"]), int(str(outcome.answer["version"])))

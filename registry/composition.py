"""The composition root: the only place that chooses adapters and puts the parts together."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from providers.errors import RejectedError
from providers.ports import Connection, Provider, ProviderFactory
from registry.application import tracing
from registry.application.auditing import Auditing
from registry.application.bills import Bill
from registry.application.commands import Commands
from registry.application.comparing import Comparing
from registry.application.declaring import Declaring
from registry.application.jobs import Jobs
from registry.application.ports import CheckedData, Clock, DataSource, EventLog, Ids, LogTools, Providers, TrainingData
from registry.application.reading import Reading
from registry.application.replaying import Replaying
from registry.application.traced import traced
from registry.application.unit import Door
from registry.domain.errors import BadInputError
from registry.domain.states import ConnectionState
from registry.reconciler import Reconciler
from registry.scheduler import Scheduler

FACTORIES: Mapping[str, str] = {
    "huggingface": "providers.huggingface",
    "openai": "providers.openai",
    "azure-openai": "providers.azure",
    "bedrock": "providers.bedrock",
}
"""Provider -> the module whose `connect` opens it, imported when the first connection of its kind is opened."""

EXTRAS: Mapping[str, str] = {"huggingface": "local", "azure-openai": "azure"}
"""Provider -> the extra that installs what it needs, where the two are not called the same."""


class OpenProviders:
    """`Providers`: one open door per connection, opened again when its settings change.

    A door that was replaced may be in use by another thread: it is closed with the others.
    """

    def __init__(self, home: Path, *, registry_id: Callable[[], str], clock: Clock) -> None:
        self._home = home
        self._registry_id = registry_id
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, tuple[object, Provider]] = {}
        self._replaced: list[Provider] = []

    def of(self, connection: ConnectionState) -> Provider:
        settings = (connection.provider, dict(connection.settings))
        with self._lock:
            known = self._open.get(connection.name)
            if known is not None and known[0] == settings:
                return known[1]
            provider = self._connect(connection)
            if known is not None:
                self._replaced.append(known[1])
            self._open[connection.name] = (settings, provider)
            return provider

    def _connect(self, connection: ConnectionState) -> Provider:
        module = FACTORIES.get(connection.provider)
        if module is None:
            raise BadInputError(
                f"{connection.provider!r} is not a provider; known: {', '.join(FACTORIES)}", field="provider"
            )
        try:
            connect = cast("ProviderFactory", importlib.import_module(module).connect)
        except ImportError as error:
            raise BadInputError(
                f"connection {connection.name!r}: {connection.provider} is not installed ({error})",
                hint=f"pip install 'tenure[{EXTRAS.get(connection.provider, connection.provider)}]'",
            ) from error
        settings = dict(connection.settings)
        if connection.provider == "huggingface":
            settings.setdefault("models", str(self._home / "models"))
        opened = Connection(
            name=connection.name,
            provider=connection.provider,
            settings=settings,
            registry=self._registry_id(),
            folder=self._home / "connections" / connection.name,
        )
        try:
            provider = connect(opened, now=cast("Callable[[], datetime]", self._clock))
        except RejectedError as refusal:
            raise BadInputError(refusal.message) from refusal
        return traced(provider, opened) if tracing.active() else provider

    def close(self) -> None:
        with self._lock:
            for provider in [*self._replaced, *(one for _, one in self._open.values())]:
                provider.close()
            self._replaced.clear()
            self._open.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All parts of one registry, put together."""

    home: Path
    clock: Clock
    log: EventLog
    tools: LogTools
    reading: Reading
    comparing: Comparing
    replaying: Replaying
    auditing: Auditing
    commands: Commands
    declaring: Declaring
    jobs: Jobs
    providers: Providers
    data: TrainingData
    door: Door
    reconciler: Reconciler

    def scheduler(self) -> Scheduler:
        """What does everything that is due by itself, the sweep included, between its `start` and its `stop`."""
        return Scheduler(
            log=self.log,
            clock=self.clock,
            run_pass=lambda: self.reconciler.run(paced=True, sweep=True),
            next_due=lambda: self.reconciler.next_due(sweep=True),
        )

    def close(self) -> None:
        """Finish what was acknowledged and release the home. May be repeated."""
        self.providers.close()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compose(
    home: Path,
    log: EventLog,
    *,
    clock: Clock,
    jitter: Callable[[], float],
    new_registry_id: Callable[[], str],
    data: TrainingData,
    providers: Providers | None = None,
    free_bytes: Callable[[], int] | None = None,
) -> Registry:
    """Put the parts together around a log, its own tools. `free_bytes`: of room; by default, the file system's word."""
    fresh_id = new_registry_id()

    def registry_id() -> str:
        return log.registry().registry or fresh_id

    providers = providers or OpenProviders(home, registry_id=registry_id, clock=clock)
    door = Door(log, registry_id)
    reading = Reading(log, clock)
    commands = Commands(
        log=log,
        clock=clock,
        providers=providers,
        data=data,
        reading=reading,
        door=door,
        home=home,
        free_bytes=free_bytes,
    )
    reconciler = Reconciler(log=log, clock=clock, providers=providers, commands=commands, door=door, jitter=jitter)
    return Registry(
        home=home,
        clock=clock,
        log=log,
        tools=cast("LogTools", log),
        reading=reading,
        comparing=Comparing(log, providers, reading),
        replaying=Replaying(log=log, clock=clock, providers=providers, reading=reading, commands=commands),
        auditing=Auditing(log, clock, reading),
        commands=commands,
        declaring=Declaring(log=log, clock=clock, providers=providers, door=door),
        jobs=Jobs(reading=reading, providers=providers, door=door),
        providers=providers,
        data=data,
        door=door,
        reconciler=reconciler,
    )


def open_home(home: Path, *, clock: Clock | None = None, ids: Ids | None = None) -> Registry:
    """The registry of a home on this machine. Raises HomeInUseError naming the process that has it."""
    from registry import system
    from registry.store.duckdb_log import open_log

    clock = clock or system.now
    log = open_log(home, clock=clock, ids=ids or system.TimeOrderedIds())
    return compose(
        home,
        log,
        clock=clock,
        jitter=system.jitter,
        new_registry_id=system.short_id,
        data=_LateTrainingData(home),
    )


def read_bill(path: Path) -> Bill:
    """A provider's bill from a file. Raises BadInputError naming the file and what is wrong with it."""
    from registry.store import bills

    return bills.read_bill(path)


class _LateTrainingData:
    """Imports the reader of training data when the first data set is given."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def prepare(self, source: DataSource, *, rows_min: int) -> CheckedData:
        from registry.store.training_data import HomeTrainingData

        return HomeTrainingData(self._home).prepare(source, rows_min=rows_min)

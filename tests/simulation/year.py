"""A year of a registry beside the bills of its providers: `python -m tests.simulation.year --seeds 20 [--first 0]`.

The real registry works on accounts that keep a bill of their own (`meter`). After each month, and at the end for all of
them, the audit is held against the bills, deployment by deployment. An even seed is calm: nothing fails and nobody
interferes, and the two are equal to the cent. In an odd one calls fail, processes are killed, and deployments go and
come behind the registry's back: then the bill lies between what the ledger knows and what it counts. Of four seeds in a
row, two are over DuckDB and two over memory, which is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded: a seed always plays the same
from typing import cast

from registry.application.audit_csv import audit_csv
from registry.application.ports import DeploymentQuery, EventLog, VersionQuery
from registry.application.views import AuditView, BilledDeploymentView
from registry.domain.apply.deployments import DOUBT_MIN
from registry.domain.errors import TenureError
from registry.domain.ids import VersionRef
from registry.store.duckdb_log import open_log
from tests.clock import FakeClock, SequentialIds
from tests.cloud import Crash
from tests.simulation.__main__ import quiet
from tests.simulation.accounts import (
    ANNOUNCED,
    BARGAIN,
    BEGIN,
    DOCUMENT,
    LATER,
    LESS,
    PRICES,
    BillingCloud,
    BillingProviders,
)
from tests.simulation.drama import OneLaneAfterAnother
from tests.simulation.mortal import MortalLog
from tests.simulation.rules import Broken
from tests.simulation.sky import STALE_MAX, Sky
from tests.stage import ANA, Stage

CENT = Decimal("0.01")
MONTHS = tuple(datetime(2027 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(13))
CLOSING = timedelta(days=1)
"""A month's bill comes so long after its end; by then the registry has looked."""
HOPS_H = (6, 12, 20, 30)
"""How long nothing happens: nobody looks, either."""
PASS_S = 20.0
PASSES_MAX = 30


class Year:
    def __init__(self, seed: int, folder: Path) -> None:
        self.calm = seed % 2 == 0
        self.folder = folder
        self.random = Random(seed)
        self.clock = FakeClock(BEGIN)
        self.ids = SequentialIds()
        self.story: list[str] = []
        self.closed: list[tuple[datetime, datetime, bytes]] = []
        """(month, when it was asked about, what was answered)"""
        self.compared = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.on_disk = seed % 4 < 2
        self.stage = Stage(folder, document={}, clock=self.clock, log=self._opened() if self.on_disk else None)
        self.sky = Sky(Random(seed + 1), self.clock, self.tell)
        self.providers = self.stage.providers = BillingProviders(self.sky)
        self.mortal = MortalLog(self.stage.log, self.sky)
        self.stage.log = cast("EventLog", self.mortal)
        self.start()
        self.stage.registry.declaring.apply(DOCUMENT, ANA, plan=False)
        self.weather()

    def _opened(self) -> EventLog:
        return cast("EventLog", open_log(self.folder / "home", clock=self.clock, ids=self.ids))

    def tell(self, line: str) -> None:
        self.story.append(f"{self.clock.time:%m-%d %H:%M:%S}  {line}")

    def start(self, *, reopen: bool = False) -> None:
        if reopen and self.on_disk:
            self.mortal._log.close()
            self.mortal.stand_before(self._opened())
        self.stage.restart()
        self.stage.registry.reconciler._lanes = OneLaneAfterAnother()
        self.stage.registry.reconciler._backoff._jitter = self.random.random

    def weather(self) -> None:
        """Of a month."""
        self.sky.rate = 0.0 if self.calm else self.random.choice([0.0, 0.03, 0.12])
        self.mortal.rate = 0.0 if self.calm else self.random.choice([0.0, 0.01, 0.03])
        self.tell(f"faults at {self.sky.rate:.0%} of calls, kills at {self.mortal.rate:.0%} of commits")

    # Living

    def play(self) -> None:
        """Raises Broken."""
        for month, next_month in pairwise(MONTHS):
            if month > BEGIN:
                self.live(until=month + CLOSING)
                self.close_month(month)
            self.live(until=next_month)
            self.start(reopen=True)
            self.weather()
        self.sky.rate = self.mortal.rate = 0.0
        self.live(until=MONTHS[-1] + CLOSING)
        self.close_month(MONTHS[-1])
        for month, next_month in pairwise(MONTHS):
            self.compare(month, next_month)
        self.ask_again()
        self.stage.registry.tools.verify()
        self.mortal._log.close()

    def live(self, *, until: datetime) -> None:
        while self.clock.time < until:
            hop = timedelta(hours=self.random.choice(HOPS_H), seconds=self.random.random())
            self.clock.time = max(self.clock.time, min(self.clock.time + hop, until))
            self.look()
            if self.clock.time < until - timedelta(hours=2):
                self._prices()
                if self.random.random() < 0.3:
                    self.act()
                    self.work()

    def look(self) -> None:
        """What polls in between would have seen is seen now; what is missing, looked for again."""
        self.run(sweep=True)
        for _ in range(PASSES_MAX):
            live = self.stage.log.deployments(DeploymentQuery(live=True))
            if not any(one.missed_reads for one in live) and not self.stage.registry.reconciler.in_motion():
                break
            self.clock.advance(seconds=PASS_S)
            self.run()

    def work(self) -> None:
        for _ in range(PASSES_MAX):
            self.run()
            if not self.stage.registry.reconciler.in_motion():
                break
            self.clock.advance(seconds=PASS_S)

    def run(self, *, sweep: bool = False) -> None:
        with self.dying():
            self.stage.registry.reconciler.run(sweep=sweep)

    @contextlib.contextmanager
    def dying(self) -> Generator[None]:
        try:
            yield
        except Crash:
            self.tell("killed; started again")
            self.start(reopen=self.random.random() < 0.1)

    def _prices(self) -> None:
        """The list of the year is declared when it is known, and until that has been done."""
        now = self.clock.time
        tariff = self.providers.metered()[0].meter.tariff
        wanted = PRICES if now < ANNOUNCED else LATER if now < BARGAIN else LESS
        before = self.mortal.rate
        self.mortal.rate = 0.0
        self.stage.registry.declaring.apply({"prices": wanted}, ANA, plan=False)
        self.mortal.rate = before
        if wanted is LESS and len(tariff.hourly) == 2:
            tariff.hourly.append((self.clock.time, Decimal("1.95")))

    def act(self) -> None:
        commands = self.stage.registry.commands
        versions = self.stage.log.versions(VersionQuery()).items
        deployments = [one for one in self.stage.log.deployments(DeploymentQuery(live=True)) if one.model]
        kinds = ["fine-tune"] * 3 + ["stranger"]
        kinds += ["activate"] * 4 + ["deploy", "retire", "attach", "orphan", "delete"] if versions else []
        kinds += ["undeploy"] * 2 if deployments else []
        kinds += [] if self.calm else ["lose", "lose", "break", "return", "fail"]
        kind = self.random.choice(kinds)
        newest = [one for one in versions if one.state in {"trained", "retired", "active"}][:4]
        version = self.random.choice(newest) if newest else None
        ref = VersionRef(version.model, version.version) if version else None
        self.tell(f"  {kind} {ref or ''}")
        with self.dying(), contextlib.suppress(TenureError):
            match kind:
                case "fine-tune":
                    connection = self.random.choice(["cloud", "cloud", "alone", "aws"])
                    model = self.random.choice(["bot", "desk"])
                    self.stage.fine_tune(model, connection, activate=self.random.random() < 0.3)
                case "activate" | "deploy" | "retire" if ref:
                    getattr(commands, kind)(ref, ANA)
                case "delete" if ref and self.random.random() < 0.3:
                    commands.delete(ref, ANA)
                case "attach" if ref:
                    self._attach(ref)
                case "undeploy":
                    commands.undeploy(self.random.choice(deployments).id, ANA)
                case _:
                    self._nature(kind, ref)

    def _attach(self, ref: VersionRef) -> None:
        """Somebody deployed it by hand, and some hours later it is taken over."""
        version = self.stage.registry.reading.version_state(ref)
        cloud = self.providers.clouds[version.connection]
        if version.artifact_id is None or cloud.capabilities.serving == "none":
            return
        made = cloud.stranger(cloud.next_id("by-hand"), version.artifact_id)
        self.clock.advance(hours=self.random.randint(1, 30))
        self.look()
        self.stage.registry.commands.attach(ref, made.id, ANA)

    def _nature(self, kind: str, ref: VersionRef | None) -> None:
        """What happens without the registry."""
        cloud = self.random.choice([one for one in self.providers.metered() if one.name != "alone"])
        known = {one.provider_id for one in self.stage.log.deployments(DeploymentQuery(live=True))}
        serving = [one for one in cloud.deployments.values() if one.outcome == "serving" and one.id in known]
        match kind:
            case "stranger":
                theirs = [one for one in cloud.deployments.values() if not one.ours and one.id not in known]
                if theirs:
                    cloud.lose(theirs[0].name)
                else:
                    cloud.stranger(cloud.next_id("stranger"), "theirs")
            case "orphan" if ref is not None:
                version = self.stage.registry.reading.version_state(ref)
                home = self.providers.clouds[version.connection]
                if home.capabilities.serving != "none" and version.artifact_id is not None:
                    name = f"tenure-test12-{ref.model}-{ref.number}-{self.random.randint(50, 99)}"
                    made = home._deploy(name, token=name, artifact_id=version.artifact_id)
                    made.outcome, made.status = "serving", "Succeeded"
            case "lose" if serving:
                cloud.lose(self.random.choice(serving).name)
            case "break" if serving:
                cloud.break_down(self.random.choice(serving).name)
            case "return":
                cloud.reappearing = 1
            case "fail":
                cloud.deploy_failures.append("no capacity in this region")
            case _:
                pass

    # Reckoning

    def close_month(self, month: datetime) -> None:
        """The month that has just ended, as its bill comes."""
        last = MONTHS[MONTHS.index(month) - 1]
        self.compare(last, month)
        self.reconcile(last, month)
        if last.month in {1, 4, 10}:
            asked_at = self.clock.time
            self.clock.advance(seconds=1)
            self.closed.append((last, asked_at, self.answer(last, asked_at)))
        if last.month in {6, 12}:
            self.ask_again()

    def answer(self, month: datetime, asked_at: datetime) -> bytes:
        end = MONTHS[MONTHS.index(month) + 1]
        auditing = self.stage.registry.auditing
        view = auditing.audit(from_=month, to=end, by="day", as_of=asked_at)
        focus = auditing.focus(from_=month, to=end, as_of=asked_at)
        told = json.dumps(view.as_json(), default=str)
        return "\n".join([told, audit_csv(view), focus.csv()]).encode()

    def ask_again(self) -> None:
        for month, asked_at, answer in self.closed:
            if self.answer(month, asked_at) != answer:
                raise Broken(f"the audit of {month:%B} as of {asked_at} is not what it was")

    def compare(self, from_: datetime, to: datetime) -> None:
        view = self.stage.registry.auditing.audit(from_=from_, to=to)
        ledger: dict[tuple[str, str], list[BilledDeploymentView]] = {}
        for entry in view.deployments:
            one = entry.deployment
            ledger.setdefault((one.connection, one.provider_id or one.name), []).append(entry)
        totals: dict[str, Decimal] = {}
        for cloud in self.providers.metered():
            bill = cloud.meter.serving(from_, to)
            mine = {id_ for connection, id_ in ledger if connection == cloud.name}
            for id_ in sorted(mine | bill.keys()):
                entries = ledger.get((cloud.name, id_))
                if entries is None:
                    self._is_foreign(cloud, id_, bill[id_])
                    continue
                names = ", ".join(entry.deployment.id for entry in entries)
                self._compare(f"{from_:%B} {cloud.name} {id_} ({names})", cloud, entries, bill.get(id_, Decimal(0)))
                currency = cloud.meter.tariff.currency
                totals[currency] = totals.get(currency, Decimal(0)) + bill.get(id_, Decimal(0))
            self._trained(cloud, view, from_, to)
        if self.calm:
            serving = {code: Decimal(0) for code in totals}
            for entry in view.deployments:
                serving[entry.deployment.currency] += entry.cost or Decimal(0)
            if any(abs(serving[code] - totals[code]) >= CENT for code in totals):
                raise Broken(f"{from_:%B}: the ledger says {serving}, the bills say {totals}")

    def _compare(self, what: str, cloud: BillingCloud, entries: Iterable[BilledDeploymentView], bill: Decimal) -> None:
        """known <= bill <= counted; in a calm year all three are the same, to the cent."""
        self.compared += 1
        spans = [span for entry in entries for span in entry.intervals]
        if any(span.cost is None for span in spans):
            raise Broken(f"{what}: no price")
        counted = sum((span.cost or Decimal(0) for span in spans), Decimal(0))
        unknown = sum((span.cost or Decimal(0) for span in spans if not span.known), Decimal(0))
        told = f"{what}: the bill says {bill:.4f}, the ledger {counted:.4f}, of which {unknown:.4f} are in doubt"
        if counted < bill - CENT / 2:
            raise Broken(f"{told}: too little")
        unseen = cloud.meter.rate(self.clock.time) * Decimal((DOUBT_MIN + STALE_MAX).total_seconds()) / 3600
        if counted - unknown > bill + (CENT / 2 if self.calm else unseen + CENT):
            raise Broken(f"{told}: too much")
        if self.calm and unknown:
            raise Broken(f"{told}: and nothing was hidden")

    def _is_foreign(self, cloud: BillingCloud, id_: str, cost: Decimal) -> None:
        if any(one.provider_id == id_ for one in self.stage.log.deployments(DeploymentQuery())):
            raise Broken(f"{cloud.name} bills {cost:.4f} for {id_}, and the ledger nothing")
        name = next(bill.name for bill in cloud.bills if bill.id == id_)
        if name.startswith("tenure-"):
            raise Broken(f"{cloud.name} bills {cost:.4f} for {name}, and the ledger does not know it")

    def _trained(self, cloud: BillingCloud, view: AuditView, from_: datetime, to: datetime) -> None:
        ledger = sorted((one.version, one.cost) for one in view.training if one.connection == cloud.name)
        bill = sorted((one.ref, one.cost) for one in cloud.meter.trained if from_ <= one.at < to)
        if [ref for ref, _ in ledger] != [ref for ref, _ in bill]:
            raise Broken(f"{from_:%B} {cloud.name}: trained {ledger}, billed {bill}")
        for (ref, cost), (_, billed) in zip(ledger, bill, strict=True):
            if cost is None or abs(cost - billed) >= CENT / 2:
                raise Broken(f"{from_:%B} {cloud.name}: the training of {ref} cost {billed}, the ledger says {cost}")

    def reconcile(self, from_: datetime, to: datetime) -> None:
        """`tenure audit --reconcile` of the bill as a file; our own FOCUS beside ourselves."""
        tenure = self.stage.tenure()
        known = {one.provider_id for one in self.stage.log.deployments(DeploymentQuery())}
        for cloud in self.providers.metered():
            path = cloud.meter.write(self.folder / f"{cloud.name}.csv", from_, to)
            if path.read_text("utf-8").count("\n") < 2:
                continue
            for row in tenure.audit_against(path).rows:
                theirs = row.status == "bill-only" and row.resource not in known
                less = row.status == "ledger-only" or (row.difference is not None and row.difference < CENT)
                if not theirs and row.status != "fits" and (self.calm or not less):
                    raise Broken(f"{from_:%B} {cloud.name}: beside its bill {row}")
        ours = self.folder / "focus.csv"
        ours.write_text(tenure.audit_focus(from_=from_, to=to).csv(), "utf-8")
        if ours.read_text("utf-8").count("\n") > 1 and not (view := tenure.audit_against(ours)).fits:
            raise Broken(
                f"{from_:%B}: our own FOCUS does not fit: {[one for one in view.rows if one.status != 'fits']}"
            )


def play(seed: int) -> tuple[Year, str | None]:
    """The year, and its story if something is broken."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        year = Year(seed, Path(folder))
        try:
            year.play()
        except Exception as error:  # noqa: BLE001 -- also a fault of the registry that nobody expected
            return year, "\n".join([f"year {seed}: {type(error).__name__}: {error}", *year.story, f"  ==> {error}"])
        return year, None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.year", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    begun, compared = time.process_time(), 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        year, story = play(seed)
        if story is not None:
            print(story)  # noqa: T201 -- what it is for
            return 1
        compared += year.compared
    seconds = time.process_time() - begun
    print(f"{arguments.seeds} years, {compared:,} deployments' months, {seconds:.0f} s")  # noqa: T201 -- the answer
    return 0


if __name__ == "__main__":
    sys.exit(main())

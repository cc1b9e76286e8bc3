"""`tenure demo`: the whole life of a version on this machine, narrated, with the commands that would do the same."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from registry.cli.audit import show_audit
from registry.cli.output import human, print_table
from registry.cli.progress import progress
from registry.cli.running import StoppedError
from registry.cli.session import opened
from registry.domain.errors import RefusedError, TenureError

if TYPE_CHECKING:
    from registry.application.views import VersionView
    from registry.embedded import Tenure
    from registry.embedded import Version as Handle

CONNECTION = "local"
SYSTEM_COLUMN = "system"
FILES = ("train.csv", "validation.csv")
STOP_S_MAX = 60.0
PAUSE_S = 0.1
GONE = frozenset({"deleted", "lost"})
KEYS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is trained and asked. `short` and `long` are the hyperparameters of version 1 and of version 2."""

    model: str
    before: str
    """The model whose only version is the base model as it came."""
    base_model: str
    question: str
    short: Mapping[str, object]
    long: Mapping[str, object]
    answer_tokens: int = 60


_BOTH: Mapping[str, object] = {"per_device_train_batch_size": 4, "learning_rate": 5e-4, "logging_steps": 1}
SCRIPT = Script(
    model="support-bot",
    before="support-bot-before",
    base_model="smollm2-135m-instruct",
    question="I was charged twice for my order. Can you help?",
    short={"max_steps": 12, "eval_steps": 6, **_BOTH},
    long={"max_steps": 40, "eval_steps": 10, **_BOTH},
)


def demo() -> None:
    """Live through the whole life of a version on this machine, narrated; about five minutes.

    Fetches a small model, fine-tunes it on support tickets, deploys it, makes it active, replaces it by a better
    version and goes back. Every step shows the command that does the same. Ctrl-C leaves nothing running; said again,
    it goes on where it stood.

    Example: tenure demo
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("trl") is None:
        raise TenureError("Training here needs torch and trl.", hint="pip install 'tenure[local]'")
    for ending in (signal.SIGTERM, signal.SIGHUP):  # a time-out or a closed terminal leaves nothing running either
        signal.signal(ending, signal.default_int_handler)
    with opened() as tenure:
        perform(Life(tenure, SCRIPT))


def perform(life: Life) -> None:
    """Live it. When it is interrupted or something fails, nothing that it started is left running."""
    try:
        life.live()
    except KeyboardInterrupt as exc:
        with _undisturbed():
            life.stop()
        again = "Nothing of it is left running; `tenure demo` goes on where it stood."
        raise StoppedError(again) from exc
    except TenureError:
        life.stop()
        raise


@contextmanager
def _undisturbed() -> Generator[None]:
    """A second Ctrl-C does not cut the stopping short: it is bounded, and must come to its end."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class Life:
    """The steps, in order. Each looks first at what is so already, so that a second run goes on."""

    def __init__(self, tenure: Tenure, script: Script) -> None:
        self._tenure = tenure
        self._script = script
        self._refs: list[str] = []
        self._folder = tenure.home / "demo"
        self._chapter = 0

    def live(self) -> None:
        script = self._script
        self._write_files()
        self._title("A small language model, and a connection to this machine")
        self._fetch()
        self._declare()
        self._title("Before: what the model answers as it comes")
        self._before()
        self._title("Version 1: a short fine-tune")
        first = self._fine_tune("version-1", script.short)
        self._activate(first, "the first that was trained")
        self._ask(script.model)
        self._title("Version 2: trained longer")
        second = self._fine_tune("version-2", script.long)
        self._compare(first, second)
        self._activate(second, "a lower validation loss")
        self._ask(script.model)
        typer.echo(f"{first} is {self._state(first)}:")
        self._deployments()
        self._title("Back to version 1")
        self._activate(first, "rolling back, to show that it can be done")
        self._ask(script.model)
        self._title("What happened, what is there, what it costs")
        self._look(first, second)

    def stop(self) -> None:
        """Cancel what trains, retire what is active, delete every deployment; returns when they are seen gone."""
        typer.secho("\nStopping what the demo has started …", dim=True)
        give_up_at = time.monotonic() + STOP_S_MAX
        while time.monotonic() < give_up_at:
            for ref in self._refs:
                self._let_go(ref)
            self._tenure.reconcile()
            if self._is_at_rest():
                return
            time.sleep(PAUSE_S)
        typer.echo("Some of it is still stopping; `tenure reconcile` goes on with it.", err=True)

    def _let_go(self, ref: str) -> None:
        """Ask everything of one version to end."""
        reason = "the demo was stopped"
        state = self._state(ref)
        if state in {"queued", "training"}:
            self._tenure.cancel(ref, reason=reason)
        elif state == "active":
            self._tenure.retire(ref, reason=reason)
        for deployment in self._live(ref):
            try:
                self._tenure.undeploy(deployment, reason=reason)
            except RefusedError:  # it came to serve the active version meanwhile; the next pass retires that
                continue

    def _live(self, ref: str) -> list[str]:
        deployments = self._tenure.deployments(model=ref.rpartition("@")[0])
        return [one.id for one in deployments if one.ref == ref and one.state not in GONE]

    def _is_at_rest(self) -> bool:
        planned = {step.subject for step in self._tenure.reconcile(plan=True)}
        return not any(ref in planned or self._live(ref) for ref in self._refs)

    def _write_files(self) -> None:
        """The data, where the commands that are shown find them when they are tried by hand."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (self._folder / name).write_bytes(resources.files("registry.cli").joinpath("demo_data", name).read_bytes())

    @property
    def _models(self) -> Path:
        """Where base models are: where the connection says, if it is there already."""
        for one in self._tenure.connections():
            if one.name == CONNECTION and isinstance(one.settings.get("models"), str):
                return Path(str(one.settings["models"])).expanduser()
        return self._tenure.home / "models"

    def _fetch(self) -> None:
        from providers.huggingface.small_model import SMALL_MODEL, fetch_small_model
        from registry.application.commands import provider_errors

        if self._script.base_model == SMALL_MODEL:
            with provider_errors():
                fetch_small_model(self._models, progress=lambda text: typer.secho(f"  {text}", dim=True))

    def _declare(self) -> None:
        """What is missing; a connection or a model that is there already is left as it is."""
        script, parts = self._script, list[str]()
        if all(one.name != CONNECTION for one in self._tenure.connections()):
            models = json.dumps(str(self._models))
            parts.append(f'[connections.{CONNECTION}]\nprovider = "huggingface"\nmodels = {models}\n')
        if all(one.model != script.model for one in self._tenure.models()):
            parts.append(f'[models.{script.model}.policy]\nsuperseded = "delete"\nsuperseded_grace = "0s"\n')
        if not parts:
            typer.echo(f"{CONNECTION} and {script.model} are declared already.")
            return
        file = self._folder / "tenure.toml"
        file.write_text("\n".join(parts), encoding="utf-8")
        self._command("apply", str(file))
        for change in self._tenure.apply(file):
            typer.echo(f"  {change.subject}: {change.kind}")

    def _before(self) -> None:
        script, tenure = self._script, self._tenure
        folder = str(self._models / script.base_model)
        self._command("import", script.before, "--connection", CONNECTION, "--artifact", folder)
        ref = self._keep(
            "before",
            lambda key: tenure.import_version(
                script.before, connection=CONNECTION, artifact=folder, idempotency_key=key, reason="to compare with"
            ),
        )
        self._command("deploy", ref, "--wait")
        deployment = tenure.deploy(ref, reason="to ask it once")
        served = tenure.wait_for_deployment(deployment.id, until=frozenset({"serving"}))
        if served.state != "serving":
            raise TenureError(f"{served.id} is {served.state}: {served.error or 'it did not come up'}")
        self._ask(ref)
        self._command("undeploy", served.id, "--wait")
        tenure.undeploy(served.id, reason="asked")
        tenure.wait_for_deployment(served.id, until=frozenset({"deleted"}))
        typer.echo("Its server is stopped, and seen gone.")

    def _fine_tune(self, name: str, settings: Mapping[str, object]) -> str:
        """Train it, or take what was trained by an earlier run; one that was stopped is tried again."""
        script, tenure = self._script, self._tenure
        train, validation = self._folder / "train.csv", self._folder / "validation.csv"
        files = ["--train", str(train), "--validation", str(validation), "--system-column", SYSTEM_COLUMN]
        sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        where = ["--connection", CONNECTION, "--base-model", script.base_model]
        self._command("fine-tune", script.model, *where, *files, *sets, "--wait")

        def ask(key: str) -> Handle:
            return tenure.fine_tune(
                script.model,
                connection=CONNECTION,
                base_model=script.base_model,
                train=train,
                validation=validation,
                system_column=SYSTEM_COLUMN,
                hyperparameters=settings,
                idempotency_key=key,
                reason=f"the demo: {name}",
            )

        ref = self._keep(name, ask)
        if self._state(ref) in {"failed", "cancelled"}:
            self._command("retry", ref, "--wait")
            tenure.retry(ref, reason="the demo goes on")
        if self._state(ref) in {"queued", "training"}:
            with progress() as report:
                view = tenure.wait(ref, on_progress=report)
            if view.state == "failed":
                raise TenureError(f"{ref} failed: {view.error}", hint=f"tenure history {ref}")
        view = tenure.version(ref)
        typer.echo(f"{ref} is {view.state}: {_losses(view)}.")
        return ref

    def _keep(self, name: str, ask: Callable[[str], Handle]) -> str:
        """The version that this step has made or makes now; another one where the former was deleted."""
        for attempt in range(1, KEYS_MAX):
            view = ask(f"tenure-demo-{self._digest()}-{name}-{attempt}")
            if view.state != "deleted":
                self._refs.append(view.ref)
                return view.ref
        raise TenureError(f"{name} of the demo was deleted {KEYS_MAX} times.", hint="Take another TENURE_HOME.")

    def _digest(self) -> str:
        """Of all that is asked for, so that a changed demo does not take an earlier one's versions for its own."""
        digest = hashlib.sha256(repr(self._script).encode())
        for name in FILES:
            digest.update((self._folder / name).read_bytes())
        return digest.hexdigest()[:12]

    def _compare(self, first: str, second: str) -> None:
        losses = [self._tenure.version(ref).metrics.get("valid_loss") for ref in (first, second)]
        typer.echo(f"Validation loss: {first} {human(losses[0])}, {second} {human(losses[1])}.")

    def _activate(self, ref: str, reason: str) -> None:
        self._command("activate", ref, "--wait", "--reason", reason)
        asked = self._tenure.activate(ref, reason=reason)
        with progress() as report:
            view = asked.wait(on_progress=report)
        typer.echo(f"{ref} is {view.state}.")

    def _ask(self, ref: str) -> None:
        script = self._script
        self._command("chat", ref, script.question, "--max-tokens", str(script.answer_tokens), "--temperature", "0")
        messages = [{"role": "user", "content": script.question}]
        typer.secho("  > ", fg="green", nl=False)
        for piece in self._tenure.chat(ref, messages, max_tokens=script.answer_tokens, temperature=0):
            typer.echo(piece, nl=False)
        typer.echo()

    def _look(self, first: str, second: str) -> None:
        from registry.cli.columns import EVENTS, VERSIONS

        tenure, model = self._tenure, self._script.model
        self._command("versions", model)
        print_table(tenure.versions(model), VERSIONS)
        self._command("history", model)
        print_table(tenure.history(model), EVENTS)
        self._deployments()
        self._command("audit")
        show_audit(tenure.audit())
        typer.secho("\nIt is all there to look at:", bold=True)
        for words in (["metrics", second], ["show", first], ["chat", model], ["log", "verify"]):
            self._command(*words)
        typer.echo(f"{first} goes on serving. To stop it:")
        self._command("retire", first)

    def _deployments(self) -> None:
        from registry.cli.columns import DEPLOYMENTS

        self._command("deployments", "--model", self._script.model)
        print_table(self._tenure.deployments(model=self._script.model), DEPLOYMENTS)

    def _state(self, ref: str) -> str:
        return self._tenure.version(ref).state

    def _title(self, text: str) -> None:
        self._chapter += 1
        typer.secho(f"\n{self._chapter}. {text}", bold=True, fg="cyan")

    def _command(self, *words: str) -> None:
        typer.secho(f"$ {shlex.join(['tenure', *words])}", dim=True)


def _losses(view: VersionView) -> str:
    known = {name: view.metrics.get(f"{name}_loss") for name in ("train", "valid")}
    return ", ".join(f"{name} loss {human(value)}" for name, value in known.items() if value is not None) or "no losses"

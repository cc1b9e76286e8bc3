"""The methods of `Tenure`, each as its request."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Unpack

from registry.application.declaring import read_toml
from registry.application.focus import Focus
from registry.application.reading import AsOf
from registry.application.replaying import ReplayView
from registry.application.views import (
    AuditView,
    ChangeView,
    CheckpointView,
    CheckView,
    ConnectionView,
    DeploymentView,
    EstimateView,
    EventView,
    MetricView,
    ModelView,
    SideBySideView,
    StepView,
    VersionView,
)
from registry.domain.errors import BadInputError, TenureError, UnavailableError
from registry.domain.ids import VersionRef, check_name, parse_ref
from registry.embedded import GONE, NewVersion, Tenure, Version, Wanted, Which
from registry.embedded.training import fine_tune
from registry.remote.http import Http, words_of
from registry.remote.log import RemoteLog
from registry.remote.naming import (
    JsonObject,
    connection_path,
    deployment_path,
    model_path,
    own_names,
    position_asked,
    time_asked,
    version_path,
)
from registry.remote.parse import parse
from registry.remote.training import own_training

POLL_S = 0.4
"""How often a wait looks, in seconds."""
CLEAN_UP_S_MAX = 120.0
ACTIVATED = frozenset({"active", "trained", "retired", "deleted"})


def connect(url: str, token: str | None = None, *, actor: str | None = None) -> Remote:
    """A registry that a server owns, with the methods of `registry.open()`. Asks nothing yet.

    `actor`: for whom you act, where you have full rights anyway. Raises BadInputError for what is no address.
    """
    return Remote(Http(url, token, actor))


class Remote(Tenure):
    """Work goes on in the server, whatever becomes of this process."""

    elsewhere = True

    def __init__(self, http: Http) -> None:  # pyright: ignore[reportMissingSuperCall] - there is no registry here
        self._http = http

    @property
    def home(self) -> Path:
        raise BadInputError(f"the home of {self._http.url} is elsewhere")

    @property
    def log(self) -> RemoteLog:
        """verify, rebuild, export and backup, to files here; import is for a home that no server has."""
        return RemoteLog(self._http)

    def close(self) -> None:
        self._http.close()

    # Training

    def fine_tune(
        self, model: str, *, reason: str | None = None, idempotency_key: str | None = None, **wanted: Unpack[Wanted]
    ) -> Version:
        body, names = self._wanted(model, wanted)
        with own_names(names):
            found = self._http.post(f"{model_path(model)}/versions", {**body, "reason": reason}, key=idempotency_key)
        return Version.of(self, parse(VersionView, found))

    def estimate(self, model: str, **wanted: Unpack[Wanted]) -> EstimateView:
        body, names = self._wanted(model, wanted)
        with own_names(names):
            found = self._http.post(f"{model_path(model)}/versions", body, estimate=True)
        return parse(EstimateView, found)

    def _wanted(self, model: str, wanted: Wanted) -> tuple[JsonObject, Mapping[str, str]]:
        """The body of a fine-tune, and what its files are called here; they are sent first.

        What is unsaid is not sent: the server may be older.
        """
        fine_tune(model, **wanted)
        body: JsonObject = {name: value for name, value in wanted.items() if value is not None}
        body["hyperparameters"] = dict(body.get("hyperparameters", {}))
        names: dict[str, str] = {}
        for name in ("train", "validation", "code"):
            if name in body:
                path = Path(body[name]).expanduser()
                body[name], kept_as = self._http.upload(path, name)
                names[f"{body[name]}/{kept_as}"] = str(path)
        return body, names

    def import_version(
        self,
        model: str,
        *,
        connection: str,
        artifact: str,
        base_model: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Version:
        body = {"connection": connection, "artifact": {"id": artifact}, "base_model": base_model, "reason": reason}
        return Version.of(
            self, parse(VersionView, self._http.post(f"{model_path(model)}/versions", body, key=idempotency_key))
        )

    def importable(self, connection: str) -> list[Mapping[str, object]]:
        return list(self._http.pages(f"{connection_path(connection)}/artifacts"))

    @contextmanager
    def new_version(
        self, model: str, *, connection: str, base_model: str | None = None, reason: str | None = None
    ) -> Generator[NewVersion]:
        """As `Tenure.new_version`; `.directory` is here, and is sent when the block ends."""
        body = {"connection": connection, "base_model": base_model, "reason": reason}
        begun = parse(VersionView, self._http.post(f"{model_path(model)}/own-versions", body))
        with own_training(self._http, begun, version_path(begun.ref), reason) as new:
            yield new

    # Moves

    def _move(self, version: Which, move: str, reason: str | None, key: str | None) -> VersionView:
        return parse(VersionView, self._http.post(f"{version_path(version)}/{move}", {"reason": reason}, key=key))

    def activate(
        self,
        version: Which,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Version:
        ref = VersionRef.parse(str(version))
        body = {"version": ref.number, "reason": reason}
        found = self._http.put(f"{model_path(ref.model)}/active", body, key=idempotency_key)
        return Version.of(self, parse(VersionView, found), ACTIVATED)

    def retire(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        return Version.of(self, self._move(version, "retire", reason, idempotency_key))

    def cancel(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        return Version.of(self, self._move(version, "cancel", reason, idempotency_key), frozenset({"cancelled"}))

    def pause(self, version: Which, *, reason: str | None = None) -> Version:
        return Version.of(self, self._move(version, "pause", reason, None))

    def resume(self, version: Which, *, reason: str | None = None) -> Version:
        return Version.of(self, self._move(version, "resume", reason, None))

    def checkpoints(self, ref: Which) -> list[CheckpointView]:
        return [parse(CheckpointView, one) for one in self._http.pages(f"{version_path(ref)}/checkpoints")]

    def retry(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        return Version.of(self, self._move(version, "retry", reason, idempotency_key))

    def approve(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        return Version.of(self, self._move(version, "approve", reason, idempotency_key))

    def delete(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        found = self._http.delete(version_path(version), key=idempotency_key, reason=reason)
        return Version.of(self, parse(VersionView, found), GONE)

    # Deployments

    def deploy(
        self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> DeploymentView:
        found = self._http.post(f"{version_path(version)}/deploy", {"reason": reason}, key=idempotency_key)
        return parse(DeploymentView, found)

    def undeploy(
        self, deployment: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> DeploymentView:
        found = self._http.delete(deployment_path(deployment), key=idempotency_key, reason=reason)
        return parse(DeploymentView, found)

    def attach(
        self,
        version: Which,
        deployment: str,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> DeploymentView:
        body = {"deployment": deployment, "reason": reason}
        return parse(DeploymentView, self._http.post(f"{version_path(version)}/attach", body, key=idempotency_key))

    # Declarations

    def apply(self, source: Path | str | Mapping[str, object], *, plan: bool = False) -> list[ChangeView]:
        document = source if isinstance(source, Mapping) else read_toml(Path(source))
        answer = self._http.post("/apply", document, plan=plan)
        return [parse(ChangeView, one) for one in answer["items"]]

    def declare_connection(self, name: str, settings: Mapping[str, object]) -> ConnectionView:
        check_name(name, "connection")
        return parse(ConnectionView, self._http.post("/connections", {**settings, "name": name}))

    def remove_connection(self, name: str) -> None:
        self._http.delete(connection_path(name))

    def set_policy(self, model: str, policy: Mapping[str, object]) -> Mapping[str, object]:
        return self._http.put(f"{model_path(model)}/policy", dict(policy))

    def policy(self, model: str, *, as_of: AsOf = None) -> Mapping[str, object]:
        return self._http.get(f"{model_path(model)}/policy", as_of=time_asked(as_of))

    def policy_plan(self, model: str, *, as_of: AsOf = None) -> list[StepView]:
        found = self._http.pages(f"{model_path(model)}/policy/plan", as_of=time_asked(as_of))
        return [parse(StepView, one) for one in found]

    def policy_replay(self, model: str, source: Path | str | Mapping[str, object] | None = None) -> ReplayView:
        document = source if isinstance(source, Mapping) or source is None else read_toml(Path(source))
        return parse(ReplayView, self._http.post(f"{model_path(model)}/policy/replay", document))

    # Questions

    def models(self, *, as_of: AsOf = None) -> list[ModelView]:
        return [parse(ModelView, one) for one in self._http.pages("/models", as_of=time_asked(as_of))]

    def versions(
        self, model: str, *, states: Sequence[str] = (), limit: int | None = None, as_of: AsOf = None
    ) -> list[VersionView]:
        if limit is not None and limit < 1:
            raise BadInputError(f"a page holds at least one version, not {limit}", field="limit")
        found = self._http.pages(
            f"{model_path(model)}/versions", limit, state=list(states) or None, as_of=time_asked(as_of)
        )
        return [parse(VersionView, one) for one in found]

    def version(self, ref: Which | VersionRef, *, as_of: AsOf = None) -> VersionView:
        return parse(VersionView, self._http.get(version_path(str(ref)), as_of=time_asked(as_of)))

    def show(self, ref: Which, *, as_of: AsOf = None) -> ModelView | VersionView:
        model, number = parse_ref(str(ref))
        if number is not None:
            return self.version(ref, as_of=as_of)
        return parse(ModelView, self._http.get(model_path(model), as_of=time_asked(as_of)))

    def history(self, ref: Which, *, as_of: AsOf = None, after: int = 0) -> list[EventView]:
        model, number = parse_ref(str(ref))
        path = model_path(model) if number is None else version_path(str(ref))
        found = self._http.pages(f"{path}/events", as_of=time_asked(as_of), after=position_asked(after))
        return [parse(EventView, one) for one in found]

    def events(self, *, after: int = 0, limit: int | None = None) -> list[EventView]:
        return [parse(EventView, one) for one in self._http.pages("/events", limit, after=position_asked(after))]

    def follow(
        self, ref: Which | None = None, *, after: int = 0, timeout_s: float | None = None
    ) -> Iterator[EventView]:
        """As `Tenure.follow`; a connection that breaks is made again where it ended."""
        if ref is not None:
            self.show(ref)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            new = self.history(ref, after=after) if ref is not None else self.events(after=after)
            for event in new:
                yield event
                after = event.position
                deadline = None if timeout_s is None else time.monotonic() + timeout_s
            if deadline is not None and time.monotonic() > deadline:
                return
            self._drive(None, "")

    def metrics(self, ref: Which, *, as_of: AsOf = None) -> list[MetricView]:
        return [
            parse(MetricView, one) for one in self._http.pages(f"{version_path(ref)}/metrics", as_of=time_asked(as_of))
        ]

    def deployments(
        self, *, billed: bool | None = None, model: str | None = None, as_of: AsOf = None
    ) -> list[DeploymentView]:
        if model is not None:
            check_name(model, "model")
        found = self._http.pages("/deployments", billed=billed, model=model, as_of=time_asked(as_of))
        return [parse(DeploymentView, one) for one in found]

    def side_by_side(self, *, billed: bool | None = None, model: str | None = None) -> list[SideBySideView]:
        answer = self._http.get("/deployments/side-by-side", billed=billed, model=model)
        return [parse(SideBySideView, one) for one in answer["items"]]

    def deployment(self, id: str, *, as_of: AsOf = None) -> DeploymentView:
        return parse(DeploymentView, self._http.get(deployment_path(id), as_of=time_asked(as_of)))

    def audit(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        by: str | None = None,
        as_of: AsOf = None,
    ) -> AuditView:
        query = {"from_": time_asked(from_, "from"), "to": time_asked(to, "to"), "as_of": time_asked(as_of)}
        if by is None:
            return parse(AuditView, self._http.get("/audit/deployments", **query))
        return parse(AuditView, self._http.get("/audit/costs", by=by, **query))

    def audit_focus(self, *, from_: datetime | None = None, to: datetime | None = None, as_of: AsOf = None) -> Focus:
        query = {"from_": time_asked(from_, "from"), "to": time_asked(to, "to"), "as_of": time_asked(as_of)}
        text = self._http.text("/audit/deployments", format="focus", **query)
        return Focus.of_csv(text, unpriced=self.audit(from_=from_, to=to, as_of=as_of).unpriced)

    def connections(self, *, as_of: AsOf = None) -> list[ConnectionView]:
        return [parse(ConnectionView, one) for one in self._http.pages("/connections", as_of=time_asked(as_of))]

    def test_connection(self, name: str) -> list[CheckView]:
        return [parse(CheckView, one) for one in self._http.post(f"{connection_path(name)}/test", None)["items"]]

    def doctor(self) -> list[CheckView]:
        """What the server's doctor says, behind the fact that there is one."""
        here = CheckView(name="server", passed=True, detail=f"answers at {self._http.url}")
        return [here, *(parse(CheckView, one) for one in self._http.get("/doctor")["items"])]

    # Work

    def reconcile(self, *, plan: bool = False, sweep: bool = True) -> list[StepView]:
        answer = self._http.post("/reconcile", None, plan=plan, sweep=sweep)
        return [parse(StepView, one) for one in answer["items"]]

    def _drive(self, deadline: float | None, what: str) -> None:
        """The server does the work: only wait a moment."""
        if deadline is not None and time.monotonic() > deadline:
            if what:
                raise TenureError(what, hint="it goes on; ask again later")
            return
        time.sleep(POLL_S)

    def _clean_up(self, model: str, deadline: float | None) -> None:
        limit = min(deadline or float("inf"), time.monotonic() + CLEAN_UP_S_MAX)
        while time.monotonic() < limit:
            leaving = {"deleting", "failed"}
            if not any(one.state in leaving for one in self.deployments(model=model)):
                return
            self._drive(limit, "")

    def chat(self, ref: Which, messages: Sequence[Mapping[str, object]], **options: object) -> Iterator[str]:
        body = {**options, "model": str(ref), "messages": [dict(one) for one in messages], "stream": True}
        return self._pieces(body)

    def _pieces(self, body: Mapping[str, object]) -> Iterator[str]:
        answered = False
        with self._http.lines("POST", "/v1/chat/completions", body=body) as lines:
            for line in lines:
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                chunk: JsonObject = json.loads(data)
                if broken := chunk.get("error"):
                    raise UnavailableError(words_of(broken))
                choices: list[JsonObject] = chunk.get("choices") or []
                answered = answered or bool(choices)
                for choice in choices:
                    delta: JsonObject = choice.get("delta") or {}
                    text: str | None = delta.get("content")
                    if text:
                        yield text
        if not answered:
            raise UnavailableError("what serves this version answered, but with no completion")

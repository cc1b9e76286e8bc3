"""schemathesis over the whole OpenAPI document, in every role: no 5xx, and every answer as documented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from registry.application.access import ANONYMOUS, Grant, Principal
from registry.transport.gate import Gate
from registry.transport.services import Services
from tests.api.conftest import Live
from tests.stage import Stage

# Their types are partial.
schemathesis: Any = import_module("schemathesis")
checks: Any = import_module("schemathesis.checks")
openapi_checks: Any = import_module("schemathesis.specs.openapi.checks")
validator: Any = import_module("jsonschema").Draft202012Validator

ROLES = ("viewer", "user", "developer", "approver", "admin", "developer:bot")
NOBODY = "nobody"
"""Who shows no token."""
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.unsupported_method,
]
EXAMPLES = 3
POSITIVE = schemathesis.GenerationMode.POSITIVE
NEGATIVE = schemathesis.GenerationMode.NEGATIVE
ENDLESS = "/api/v1/events/stream"


class Fixed(Gate):
    """Everyone is taken for the principal whose turn it is."""

    def __init__(self) -> None:
        super().__init__(open_to="user:ana")
        self.role = "admin"

    def principal(self, headers: Mapping[str, str], cookies: Mapping[str, str], address: str) -> Principal:
        if self.role == NOBODY:
            return ANONYMOUS
        return Principal(actor="user:ana", grants=frozenset({Grant.parse(self.role)}))


class Held:
    """One served registry for all examples: what was made is there for the next."""

    def __init__(self, folder: Path) -> None:
        stage = Stage(folder)
        stage.active()
        stage.trained()
        self.gate = Fixed()
        self.services = Services(registry=stage.registry, gate=self.gate)
        self.live = Live(self.services)
        schema = schemathesis.openapi.from_url(f"{self.live.url}/openapi.json")
        found = [one.ok() for one in schema.get_all_operations()]
        self.operations: list[Any] = [one for one in found if one.path != ENDLESS]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    held = Held(tmp_path_factory.mktemp("openapi"))
    yield held
    held.live.stop()


@pytest.mark.parametrize(
    ("role", "mode"),
    [*((role, POSITIVE) for role in (*ROLES, NOBODY)), ("admin", NEGATIVE), ("developer:bot", NEGATIVE)],
)
def test_every_answer_is_as_documented(held: Held, role: str, mode: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held.gate, "role", role)
    session = requests.Session()
    for operation in held.operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            case.call_and_validate(session=session, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            assert mode is NEGATIVE, operation.label


def test_the_document_has_every_route_of_the_contract(held: Held) -> None:
    paths = requests.get(f"{held.live.url}/openapi.json", timeout=10).json()["paths"]
    have = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    one = "/api/v1/models/{model}/versions/{number}"
    want = {
        *(("GET", f"/api/v1/{name}") for name in ("models", "deployments", "events", "events/stream", "connections")),
        *(("POST", f"/api/v1/{name}") for name in ("models", "connections", "datasets", "reconcile")),
        *((method, f"/api/v1/models/{{model}}/{name}") for method in ("GET", "PUT") for name in ("policy", "active")),
        *((method, "/api/v1/models/{model}/versions") for method in ("GET", "POST")),
        *((method, one) for method in ("GET", "DELETE")),
        *(("POST", f"{one}/{name}") for name in ("deploy", "retire", "cancel", "retry", "approve", "attach")),
        *(("GET", f"{one}/{name}") for name in ("events", "metrics", "deployments")),
        *((method, "/api/v1/deployments/{id}") for method in ("GET", "DELETE")),
        *((method, "/api/v1/connections/{name}") for method in ("GET", "DELETE")),
        *(("GET", f"/api/v1/audit/{name}") for name in ("deployments", "costs")),
        *(("GET", path) for path in ("/healthz", "/readyz", "/metrics")),
    }
    assert want <= have


def test_every_body_and_every_answer_has_an_example_that_is_as_documented(held: Held) -> None:
    document = requests.get(f"{held.live.url}/openapi.json", timeout=10).json()
    lacking: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = {code: found for code, found in operation["responses"].items() if code.startswith("2")}
            for name, holder in {"body": operation.get("requestBody", {}), **answers}.items():
                content = holder.get("content", {}).get("application/json")
                if content is None:
                    continue
                if content.get("example") is None:
                    lacking.append(f"{method} {path}: {name}")
                    continue
                schema = {**content["schema"], "components": document["components"]}
                validator(schema).validate(content["example"])
    assert lacking == []

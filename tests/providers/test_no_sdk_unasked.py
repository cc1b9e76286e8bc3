"""What a vendor has written is imported when a connection of its kind makes its first call, and not before."""

from __future__ import annotations

import subprocess
import sys

SDKS = {"openai", "boto3", "botocore", "azure", "torch", "transformers", "trl", "huggingface_hub"}
CONNECTIONS = {
    "openai": {"provider": "openai"},
    "azure": {"provider": "azure-openai", "subscription_id": "s", "resource_group": "g", "account": "a"},
    "bedrock": {"provider": "bedrock", "region": "r", "role_arn": "arn:aws:iam::1:role/r", "s3_uri": "s3://b/p"},
    "huggingface": {"provider": "huggingface", "models": "~/models"},
}
PROGRAM = """
import sys, importlib
from datetime import UTC, datetime
from pathlib import Path
import registry, registry.cli, registry.embedded, registry.composition, providers.rehearsal
from providers.ports import Connection
for module, settings in {connections}.items():
    connect = importlib.import_module("providers." + module).connect
    one = Connection(name=module, provider=settings["provider"], settings=settings, registry="r", folder=Path("f"))
    connect(one, now=lambda: datetime.now(UTC)).capabilities
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def test_opening_a_connection_imports_no_vendors_sdk() -> None:
    program = PROGRAM.format(connections=CONNECTIONS)
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(answer.stdout.split())
    assert {"registry", "providers"} <= imported
    assert not SDKS & imported

"""A vendor's SDK that is not installed is told by its name, with the extra that has it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import pytest

from providers.errors import UnavailableError
from providers.extras import NotInstalledError, needing
from tests.providers.test_no_sdk_unasked import CONNECTIONS

PROGRAM = """
import importlib, sys
from datetime import UTC, datetime
from pathlib import Path
from providers.errors import ProviderError
from providers.ports import Connection
for module in ("openai", "azure", "boto3", "botocore"):
    sys.modules[module] = None  # what `import` finds where nothing is installed
settings = {settings}
connect = importlib.import_module("providers.{name}").connect
one = Connection(name="c", provider=settings["provider"], settings=settings, registry="r", folder=Path("f"))
opened = connect(one, now=lambda: datetime.now(UTC))
for check in opened.check():
    print(check.passed or "optional" in check.detail, check.detail, check.remedy, sep="|")
for ask in (lambda: opened.artifacts.get("m"), opened.artifacts.list, lambda: opened.training.poll(["j"])):
    try:
        ask()
    except ProviderError as error:
        print("asked", error.message, None, sep="|")
"""


@pytest.mark.parametrize("name", ["openai", "azure", "bedrock"])
def test_a_connection_says_which_extra_it_needs(name: str) -> None:
    program = PROGRAM.format(settings=CONNECTIONS[name], name=name)
    environment = {"OPENAI_API_KEY": "k"}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    told = [line.split("|") for line in answer.stdout.splitlines()]
    assert all("is not installed: pip install 'tenure[" in detail for _, detail, _ in told), told
    assert {"False", "asked"} <= {outcome for outcome, _, _ in told}
    assert f"pip install 'tenure[{name}]'" in {remedy for _, _, remedy in told}


def test_what_is_missing_deeper_is_told_too() -> None:
    installed = needing("azure")(lambda _: nullcontext())
    with pytest.raises(NotInstalledError, match="azure_mgmt_absent is not installed") as missing, installed("list"):
        __import__("azure_mgmt_absent")
    assert isinstance(missing.value, UnavailableError), "it may be installed, and then asked again"
    assert missing.value.remedy == "pip install 'tenure[azure]'"

"""LiteLLM's proxy and Portkey's gateway in environments of their own, made when they are first asked for.

LiteLLM comes from PyPI into a virtual environment, Portkey from npm into a folder; both stay in the user's cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Generator, Sequence
from pathlib import Path

import httpx2

from benchmarks.gateway_load import Endpoint

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tenure-benchmarks"
START_S_MAX = 120.0
INSTALL_S_MAX = 900.0
LITELLM = "litellm[proxy]"
PORTKEY = "@portkey-ai/gateway"


@contextlib.contextmanager
def litellm(upstream: str) -> Generator[tuple[Endpoint, int]]:
    """The endpoint and the process id. Raises OSError or CalledProcessError where it cannot be had."""
    folder = CACHE / "litellm"
    program = folder / "bin" / "litellm"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", LITELLM])
    config = folder / "tenure-benchmark.json"
    model = {"model": "openai/upstream", "api_base": f"{upstream}/v1", "api_key": "none"}
    key = f"sk-{secrets.token_hex(16)}"
    settings = {"general_settings": {"master_key": key}}
    config.write_text(json.dumps({"model_list": [{"model_name": "support-bot", "litellm_params": model}], **settings}))
    port = _free_port()
    words = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with _process(words, folder) as pid:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health/liveliness")
        headers = {"authorization": f"Bearer {key}"}
        yield Endpoint(name="LiteLLM", url=f"{url}/v1/chat/completions", model="support-bot", headers=headers), pid


@contextlib.contextmanager
def portkey(upstream: str) -> Generator[tuple[Endpoint, int]]:
    """As `litellm`."""
    folder = CACHE / "portkey"
    program = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise OSError("node and npm are not installed")
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run([npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), PORTKEY])
    port = _free_port()
    with _process([node, str(program), f"--port={port}", "--headless"], folder) as pid:
        url = f"http://127.0.0.1:{port}"
        _wait(url)
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream}/v1",
            "authorization": "Bearer none",
        }
        yield Endpoint(name="Portkey", url=f"{url}/v1/chat/completions", model="upstream", headers=headers), pid


RIVALS = (litellm, portkey)


def _run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, stdout=sys.stderr, timeout=INSTALL_S_MAX)


@contextlib.contextmanager
def _process(words: Sequence[str], folder: Path) -> Generator[int]:
    with (folder / "log.txt").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log, cwd=folder) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            httpx2.get(url, trust_env=False, timeout=2)
            return
        time.sleep(0.2)
    raise OSError(f"nothing answers at {url}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""LiteLLM's proxy and Portkey's gateway in environments of their own, made when they are first asked for.

LiteLLM comes from PyPI into a virtual environment, Portkey from npm into a folder; both stay in the user's cache
(`$XDG_CACHE_HOME/tenure-benchmarks`, a folder for each version). `python -m benchmarks.gateway_rivals` only makes them.
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
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import httpx2

from benchmarks.gateway_load import Endpoint

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tenure-benchmarks"
DONE = "complete"
"""A file that stands in an environment that was installed to the end."""
START_S_MAX = 120.0
INSTALL_S_MAX = 900.0
LITELLM = "1.106.2"
PORTKEY = "1.15.2"
HONO = "1.13.8"
"""The server below Portkey. With 1.19 each of its streams ends in an error of its own ("immutable" headers)."""


@contextlib.contextmanager
def litellm(upstream: str) -> Generator[tuple[Endpoint, int]]:
    """The endpoint and the process id, one worker. Raises OSError or SubprocessError where it cannot be had."""
    program, folder = _litellm(), CACHE / f"litellm-{LITELLM}"
    config = folder / "tenure-benchmark.json"
    model = {"model": "openai/upstream", "api_base": f"{upstream}/v1", "api_key": "none"}
    key = f"sk-{secrets.token_hex(16)}"
    settings = {"general_settings": {"master_key": key}, "litellm_settings": {"telemetry": False}}
    config.write_text(json.dumps({"model_list": [{"model_name": "support-bot", "litellm_params": model}], **settings}))
    port = _free_port()
    words = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    quiet = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with _process(words, folder, quiet) as pid:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health/liveliness")
        headers = {"authorization": f"Bearer {key}"}
        name = f"LiteLLM {LITELLM}"
        yield Endpoint(name=name, url=f"{url}/v1/chat/completions", model="support-bot", headers=headers), pid


@contextlib.contextmanager
def portkey(upstream: str) -> Generator[tuple[Endpoint, int]]:
    """As `litellm`."""
    node, program = _portkey()
    port = _free_port()
    words, folder = [node, str(program), f"--port={port}", "--headless"], CACHE / f"portkey-{PORTKEY}"
    with _process(words, folder, {"NODE_ENV": "production"}) as pid:
        url = f"http://127.0.0.1:{port}"
        _wait(url)
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream}/v1",
            "authorization": "Bearer none",
        }
        name = f"Portkey {PORTKEY}"
        yield Endpoint(name=name, url=f"{url}/v1/chat/completions", model="upstream", headers=headers), pid


def _litellm() -> Path:
    folder = CACHE / f"litellm-{LITELLM}"
    if not (folder / DONE).exists():
        venv.create(folder, with_pip=True, clear=True)
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"litellm[proxy]=={LITELLM}"])
        (folder / DONE).touch()
    return folder / "bin" / "litellm"


def _portkey() -> tuple[str, Path]:
    """Node, and the program that it runs."""
    folder = CACHE / f"portkey-{PORTKEY}"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise OSError("node and npm are not installed (Debian: apt install nodejs npm)")
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"dependencies": {"@portkey-ai/gateway": PORTKEY}, "overrides": {"@hono/node-server": HONO}}
        (folder / "package.json").write_text(json.dumps({"private": True, **wanted}))
        _run([npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder)])
        (folder / DONE).touch()
    return node, folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


RIVALS = (litellm, portkey)


def _run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, stdout=sys.stderr, timeout=INSTALL_S_MAX)


@contextlib.contextmanager
def _process(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Generator[int]:
    whole = {**os.environ, **environment}
    with (
        (folder / "log.txt").open("w") as log,
        subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, env=whole) as process,
    ):
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


def main() -> None:
    print(_litellm())
    print(_portkey()[1])


if __name__ == "__main__":
    main()

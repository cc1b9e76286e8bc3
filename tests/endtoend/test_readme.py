"""The README, pasted: its commands, its curl and its Python, in its order, on a new home with a tiny model."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.endtoend.conftest import Shell
from tests.tiny_model import make_tiny_model

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PORT = "8321"
SECONDS_MAX = 280
FAULTY_ROW = 4711
ROWS_KEPT = 16

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")]


@dataclass(frozen=True, slots=True)
class Said:
    """A command as it is printed, and what the README prints below it."""

    command: str
    output: str


def commands(text: str) -> list[Said]:
    """Those of every `console` block."""
    found: list[Said] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            match = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL)
            assert match is not None
            found.append(Said(match[1], match[2]))
    return found


def python(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Terminal:
    folder: Path
    home: Path
    port: str

    def paste(self, text: str, *, seconds: float = SECONDS_MAX) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", text.replace(PORT, self.port)],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "TENURE_HOME": str(self.home), "TENURE_ACTOR": "user:ana"}

    def run_python(self, text: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", text.replace(PORT, self.port)],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @contextmanager
    def serving(self, command: str) -> Generator[None]:
        """`tenure serve &`, as the README has it, and stopped as a terminal does that is closed."""
        with subprocess.Popen(
            [*command.removesuffix("&").split(), "--port", self.port],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            executable=str(Path(sys.executable).with_name("tenure")),
        ) as server:  # fmt: skip
            try:
                assert server.stdout is not None
                assert server.stdout.readline().startswith("Tenure serves http://")
                yield
            finally:
                server.terminate()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    home = tmp_path / "home"
    make_tiny_model(home / "models" / "smollm2-135m-instruct")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name, elsewhere in (("train.csv", "train.csv"), ("validation.csv", "val.csv")):
        file = tmp_path / "examples" / "support-tickets" / name
        few = file.read_text("utf-8").splitlines(keepends=True)[:ROWS_KEPT]
        file.write_text("".join(few), "utf-8")
        shutil.copy(file, tmp_path / elsewhere)
    rows = [f"question {row},{'' if row == FAULTY_ROW else f'answer {row}'}" for row in range(1, FAULTY_ROW + 10)]
    (tmp_path / "tickets.csv").write_text("\n".join(["prompt,completion", *rows]) + "\n", "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    try:
        yield Terminal(tmp_path, home, port)
    finally:
        Shell(home).clean_up()


def expects(said: Said, done: subprocess.CompletedProcess[str]) -> None:
    """What is printed as an error ends so; anything else goes well."""
    refused = said.output.startswith("error:")
    assert (done.returncode != 0) is refused, f"{said.command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if refused:
        assert done.stderr.startswith("error:")


@pytest.mark.timeout(600)
def test_what_the_readme_prints_works_as_it_is_printed(terminal: Terminal) -> None:
    before, after = README.split("## As a server")
    ran: list[str] = []
    for said in commands(before):
        expects(said, terminal.paste(said.command))
        ran.append(said.command.split()[1])
    assert {"apply", "fine-tune", "activate", "chat", "history", "deployments", "cancel"} <= set(ran)
    assert "is retired" in README, "the refusal that is shown is of a version that the demo has retired"

    embedded = next(one for one in python(before) if "registry.open()" in one)
    loads = (
        "from transformers import AutoModelForCausalLM\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(terminal.home / 'models/smollm2-135m-instruct')!r})\n"
    )
    terminal.run_python(loads + embedded)

    openai = next(one for one in python(before) if "OpenAI(" in one)
    serve, *asked = commands(after.split("## The pages")[0])
    assert serve.command == "tenure serve &"
    with terminal.serving(serve.command):
        for said in asked:
            stream = "-sN" in said.command
            done = terminal.paste(f"timeout 5 {said.command}" if stream else f"{said.command} --fail-with-body")
            assert done.returncode == (124 if stream else 0), f"{said.command}\n{done.stdout}"
            assert "id: 1\n" in done.stdout if stream else json.loads(done.stdout)
        terminal.run_python(openai + "assert isinstance(answer.choices[0].message.content, str)\n")
        connect = python(after)[0].replace("https://tenure.example.org", f"http://127.0.0.1:{PORT}")
        connect = connect.replace("token=...", "token=None")
        terminal.run_python("import registry\n" + connect + "assert tenure.models()[0].model == 'support-bot'\n")

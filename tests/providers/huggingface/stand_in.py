"""An interpreter that stands in for one with torch: the same command lines, the same files and HTTP, in milliseconds.

As a trainer it obeys `training.contract` and does what the first row of its training set says; as a server it speaks
OpenAI's chat API and does what `behaviour.txt` in its model folder says. Only the standard library and the contract.
"""

# ruff: noqa: T201 - a program that prints is what it stands in for

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HAS = {"torch": "2.13.0", "transformers": True, "trl": True, "vllm": False, "cuda": False}


def train(spec_path: Path, out: Path) -> None:
    import psutil

    from training.contract import (
        MODEL_FOLDER,
        ProgressPoint,
        RunStatus,
        manifest_of,
        read_manifest,
        read_spec,
        write_json,
    )

    spec = read_spec(spec_path)
    if read_manifest(out):
        return
    behaviour = json.loads(Path(spec.train).read_text("utf-8").splitlines()[0]).get("behaviour", "succeed")
    with (out / "starts.txt").open("a") as starts:
        starts.write(f"{os.getpid()} {sorted(os.environ)}\n")
    number = len((out / "starts.txt").read_text().splitlines())
    print(f"start {number}", flush=True)

    def status(state: str, step: int = 0, error: str | None = None) -> None:
        created = psutil.Process().create_time()
        value = RunStatus(
            state=state,  # pyright: ignore[reportArgumentType]
            pid=os.getpid(), pid_started_at=created, heartbeat_at=time.time(), step=step, steps_total=3, error=error,
        )  # fmt: skip
        write_json(out / "status.json", value)

    def cancelled(*_: object) -> None:
        status("cancelled")
        sys.exit(3)

    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif behaviour != "die-on-term":
        signal.signal(signal.SIGTERM, cancelled)
    if behaviour == "no-torch":
        print("ModuleNotFoundError: No module named 'torch'", flush=True)
        sys.exit(1)
    if behaviour == "fail":
        status("failed", error="the loss is not a number")
        sys.exit(1)
    if behaviour == "killed-at-once":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "with-child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    status("running")
    for step in (1, 2, 3):
        with (out / "progress.jsonl").open("a") as file:
            for metrics in ({"train_loss": 3.0 - step}, {"valid_loss": 4.0 - step}):
                point = ProgressPoint(step=step, epoch=step / 3, at=1e9 + step, metrics=metrics)
                file.write(json.dumps({"step": step, "epoch": point.epoch, "at": point.at, "metrics": metrics}) + "\n")
        status("running", step)
        if step == 2 and (
            behaviour in {"hang", "deaf", "die-on-term", "with-child"} or (behaviour == "die-once" and number == 1)
        ):
            if behaviour == "die-once":
                os.kill(os.getpid(), signal.SIGKILL)
            while not (out / "go-on").exists():
                time.sleep(0.01)
    model = out / MODEL_FOLDER
    make_model(model)
    write_json(out / "manifest.json", manifest_of(model))
    status("succeeded", 3)


def make_model(folder: Path) -> None:
    """What the checks of an artifact accept, in 100 bytes of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)


class Chat(BaseHTTPRequestHandler):
    model = ""
    behaviour = ""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] != self.model:
            self.answer(400, {"detail": f"Server is pinned to {self.model!r}"})
        elif isinstance(body.get("temperature"), str):
            self.answer(422, {"detail": "temperature must be a number"})
        elif self.behaviour == "broken" or body["messages"][0]["content"] == "break":
            print("TemplateSyntaxError: unknown tag", flush=True)
            self.answer(500, "Internal Server Error")
        elif body["messages"][0]["content"] == "hang up":
            self.close_connection = True
        elif body["messages"][0]["content"] == "be slow":
            time.sleep(3)
        elif body["messages"][0]["content"] == "echo":
            message = {"role": "assistant", "content": json.dumps(body)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer(200, {"object": "chat.completion", "model": self.model, "choices": [choice]})
        elif body.get("stream"):
            self.stream(fault=body["messages"][0]["content"] == "break in the middle")
        else:
            message = {"role": "assistant", "content": body["messages"][-1]["content"].upper()}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer(200, {"object": "chat.completion", "model": self.model, "choices": [choice]})

    def stream(self, *, fault: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": a comment\n\n")
        for word in ("one", "two"):
            delta = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            self.event(json.dumps({"object": "chat.completion.chunk", "model": self.model, "choices": [delta]}))
        self.event('{"error": "it broke"}' if fault else "[DONE]")
        self.event('{"after": "the end"}')

    def event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def answer(self, status: int, body: object) -> None:
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(folder: Path, model: str, port: int) -> None:
    behaviour = folder / "behaviour.txt"
    Chat.model = model
    Chat.behaviour = behaviour.read_text() if behaviour.exists() else ""
    if Chat.behaviour == "die":
        print("RuntimeError: out of memory", flush=True)
        sys.exit(1)
    while Chat.behaviour == "load for ever":
        time.sleep(0.01)
    if Chat.behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ThreadingHTTPServer(("127.0.0.1", port), Chat).serve_forever()


def main(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        print(json.dumps(HAS | json.loads(os.environ.get("CUDA_STAND_IN", "{}"))))
    elif arguments[1] == "training":
        train(Path(arguments[2]), Path(arguments[3]))
    else:
        options = dict(zip(arguments[2::2], arguments[3::2], strict=False))
        if arguments[1].startswith("vllm"):
            serve(Path(options["--model"]), options["--served-model-name"], int(options["--port"]))
        options = dict(zip(arguments[4::2], arguments[5::2], strict=False))
        serve(Path(arguments[3].partition("@")[0]), arguments[3], int(options["--port"]))


if __name__ == "__main__":
    main(sys.argv[1:])

"""A stream of Bedrock's that falls silent, and a caller that does not wait for it any longer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

from providers.optional import Interruptible
from providers.ports import Artifact, ServingTarget
from providers.rehearsal.eventstream import frame
from tests.providers.cloud_harness import CloudHarness

WAIT_S_MAX = 20.0
SILENCE_S = 120.0
TARGET = ServingTarget(
    artifact=Artifact(id="amazon.nova-micro-v1:0:128k"), deployment_id=None, deployment_name=None, endpoint=None
)
ASK = {"messages": [{"role": "user", "content": "Where is my order?"}]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = frame("contentBlockDelta", {"delta": {"text": "Your"}, "contentBlockIndex": 0})


class Silent:
    """Answers with a head, once it may, and one piece; and says nothing more until the connection is closed."""

    def __init__(self) -> None:
        self.asked, self.may_begin, self.left = threading.Event(), threading.Event(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        caller, _ = self._socket.accept()
        with caller, self._socket:
            caller.settimeout(SILENCE_S)
            caller.recv(1 << 16)
            self.asked.set()
            assert self.may_begin.wait(WAIT_S_MAX)
            caller.sendall(HEAD + b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
            while caller.recv(1 << 16):
                pass
            self.left.set()


@contextmanager
def reading(harness: CloudHarness, silent: Silent, told: list[object]) -> Generator[Interruptible]:
    """Somebody who reads the stream in a thread, which has ended at the end of the block."""
    harness.set(runtime_endpoint_url=silent.url)
    pieces = harness.connect().chat.stream(TARGET, ASK, timeout_s=SILENCE_S)

    def read() -> None:
        try:
            told.extend(pieces)
        except Exception as error:  # noqa: BLE001 - whatever a connection's end looks like there
            told.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield cast("Interruptible", pieces)
    thread.join(WAIT_S_MAX)
    assert not thread.is_alive()


def test_a_stream_ends_at_bedrock_while_its_next_piece_is_waited_for(harness: CloudHarness) -> None:
    silent, told = Silent(), list[object]()
    silent.may_begin.set()
    with reading(harness, silent, told) as pieces:
        for _ in range(int(WAIT_S_MAX / 0.01)):
            if told:
                break
            silent.left.wait(0.01)
        assert told, "the first piece came"
        pieces.interrupt()
        assert silent.left.wait(WAIT_S_MAX)


def test_a_stream_that_has_not_begun_ends_when_it_does(harness: CloudHarness) -> None:
    silent, told = Silent(), list[object]()
    with reading(harness, silent, told) as pieces:
        assert silent.asked.wait(WAIT_S_MAX)
        pieces.interrupt()
        silent.may_begin.set()
        assert silent.left.wait(WAIT_S_MAX)


def test_a_stream_that_was_read_to_its_end_has_nothing_to_interrupt(harness: CloudHarness) -> None:
    pieces = harness.connect().chat.stream(TARGET, ASK, timeout_s=WAIT_S_MAX)
    assert isinstance(pieces, Interruptible)
    assert list(pieces)
    pieces.interrupt()

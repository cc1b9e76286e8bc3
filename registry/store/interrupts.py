"""Ctrl-C in the midst of a query.

DuckDB looks for signals while a query runs in the main thread, and may wait for ever for its other threads when a
handler raises there (seen with 2.0.0 in every second try). So ours asks the query to end, and the interruption follows.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

import duckdb

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    """Raises KeyboardInterrupt at its end when a signal that means one came meanwhile; its query is ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def stop(number: int, _: object) -> None:
        came.append(number)
        connection.interrupt()

    replaced = [one for one in ENDINGS if signal.getsignal(one) is signal.default_int_handler]
    for one in replaced:
        signal.signal(one, stop)
    try:
        yield
    except duckdb.InterruptException as exc:
        if came:
            raise KeyboardInterrupt from exc
        raise
    finally:
        for one in replaced:
            signal.signal(one, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt

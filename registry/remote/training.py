"""`new_version` on a registry elsewhere: trained in a folder here, which is sent when it is done."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry.application.views import VersionView
from registry.domain.errors import BadInputError, RefusedError, TenureError
from registry.embedded import NewVersion
from registry.embedded.training import check_trained
from registry.remote.http import Http
from registry.remote.parse import parse

HEARTBEAT_S = 60.0


@contextmanager
def own_training(http: Http, begun: VersionView, path: str, reason: str | None) -> Generator[NewVersion]:
    """The block's folder is here, and goes when the server has what is in it.

    Raises what `Tenure.new_version` raises, and UnavailableError when it could not be sent: the error says where the
    model was kept, to be mended or imported.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"tenure-{begun.model}-{begun.version}-"))
    with _heard(http, path):
        try:
            yield NewVersion(begun.ref, begun.version, folder)
        except BaseException as error:
            with suppress(TenureError):
                http.post(f"{path}/finish", {"error": f"{type(error).__name__} in the training code", "reason": reason})
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            _check_links(http, path, begun.ref, folder, reason)
            _send(http, path, folder)
            _finish(http, path, reason)
        except TenureError as error:
            if folder.is_dir() and any(folder.iterdir()):
                error.hint = "; ".join(filter(None, (error.hint, f"the model is kept in {folder}")))
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(folder, ignore_errors=True)


def _check_links(http: Http, path: str, ref: str, folder: Path, reason: str | None) -> None:
    """What a link leads to is sent in its place: nothing from outside the folder is. Raises BadInputError."""
    inside = folder.resolve()
    for link in sorted(one for one in folder.rglob("*") if one.is_symlink()):
        if not link.resolve().is_relative_to(inside):
            fault = f"its folder: {link.relative_to(folder)}: leads outside the folder"
            http.post(f"{path}/finish", {"error": fault, "reason": reason})
            raise BadInputError(f"{ref} has failed: {fault}", field="directory")


def _send(http: Http, path: str, folder: Path) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            http.send_file(f"{path}/files", file, file.relative_to(folder).as_posix())


def _finish(http: Http, path: str, reason: str | None) -> None:
    try:
        ended = parse(VersionView, http.post(f"{path}/finish", {"reason": reason}))
    except RefusedError as refusal:
        # The answer to the first try was lost: the server says that it is over already.
        if refusal.state != "trained":
            raise
        return
    check_trained(ended)


@contextmanager
def _heard(http: Http, path: str) -> Generator[None]:
    """Says to the server, now and then, that training goes on."""
    stopped = threading.Event()

    def say() -> None:
        while not stopped.wait(HEARTBEAT_S):
            with suppress(TenureError):
                http.post(f"{path}/heartbeat", None)

    thread = threading.Thread(target=say, name="tenure-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()

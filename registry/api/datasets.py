"""Training data that are sent here: streamed to disk, checked, and named by an id that a new version can use."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile

from registry.api.answers import Key, Once, as_problem, documented
from registry.application.ports import DataSource
from registry.domain.errors import BadInputError
from registry.transport.services import Services, check_somewhere
from registry.transport.uploads import Uploads

NAME_BYTES_MAX = 200
CHUNK_BYTES = 1 << 20
_UNSAFE = re.compile(r"[^\w.()+ -]+")

DATASET: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name", "bytes", "sha256", "passed", "rows", "tokens", "faults", "warnings"],
    "properties": {
        "id": {"type": "string", "description": "For `train`, `validation` or `code` of a new version"},
        "name": {"type": "string"},
        "bytes": {"type": "integer"},
        "sha256": {"type": "string"},
        "passed": {"type": ["boolean", "null"], "description": "null where no checks were asked for"},
        "rows": {"type": ["integer", "null"]},
        "tokens": {"type": ["integer", "null"]},
        "faults": {"type": "array", "items": {"type": "string"}},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
    "example": {
        "id": "ds_0123456789abcdef01234567",
        "name": "train.csv",
        "bytes": 51200,
        "sha256": "…",
        "passed": True,
        "rows": 800,
        "tokens": 51234,
        "faults": [],
        "warnings": ["train.csv: rows 12 and 40 are the same"],
    },
}
_FILE = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file, as a form's `file` or as the whole body with `?name=`",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}},
            },
            "application/octet-stream": {"schema": _FILE},
        },
    }
}
ColumnName = Annotated[str, Query(min_length=1, max_length=200)]


class Datasets:
    def __init__(self, services: Services, once: Once, uploads: Uploads) -> None:
        self._data = services.registry.data
        self._once = once
        self._uploads = uploads

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(
            "/datasets",
            self.upload,
            methods=["POST"],
            status_code=201,
            responses=documented(201, DATASET),
            openapi_extra=BODY,
        )

    async def upload(
        self,
        request: Request,
        key: Key = None,
        name: Annotated[str | None, Query(description="Of a file that is the whole body", max_length=200)] = None,
        checked: Annotated[bool, Query(alias="check", description="false: only keep it, as for a script")] = True,
        prompt_column: ColumnName = "prompt",
        completion_column: ColumnName = "completion",
        system_column: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    ) -> Response:
        """Send training data (CSV, JSON Lines, Parquet) and have them checked. 201 also where they have faults."""
        check_somewhere(request, "develop")
        dataset, path, size, sha256 = await self._receive(request, name)
        source = DataSource(train=path, prompt=prompt_column, completion=completion_column, system=system_column)

        def act(_: str | None) -> Response:
            checks = self._checked(source) if checked else {**_NO_CHECKS, "passed": None}
            document = {"id": dataset, "name": path.name, "bytes": size, "sha256": sha256, **checks}
            return JSONResponse(document, status_code=201)

        def answered() -> Response:
            self._uploads.forget_old()
            return self._once(request, key, [sha256, path.name], act)

        return await to_thread.run_sync(answered)

    async def _receive(self, request: Request, name: str | None) -> tuple[str, Path, int, str]:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_files=1, max_fields=1) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise BadInputError("the form has no file in its field `file`", field="file")
                return await self._uploads.receive(_chunks(file), _safe(name or file.filename or ""))
        return await self._uploads.receive(request.stream(), _safe(name or ""))

    def _checked(self, source: DataSource) -> dict[str, object]:
        try:
            found = self._data.prepare(source, rows_min=1)
        except BadInputError as error:
            as_problem(error, f"{source.train.parent}/", "")
            return {**_NO_CHECKS, "passed": False, "faults": list(error.faults) or [error.message]}
        return {
            **_NO_CHECKS,
            "passed": True,
            "rows": found.train.rows,
            "tokens": found.train.tokens,
            "warnings": [one.replace(f"{source.train.parent}/", "") for one in found.warnings],
        }


_NO_CHECKS: dict[str, object] = {"rows": None, "tokens": None, "faults": [], "warnings": []}


def _safe(name: str) -> str:
    """A file's name without folders or surprises; its suffix says how it is read."""
    plain = _UNSAFE.sub("_", Path(name).name).encode()[-NAME_BYTES_MAX:].decode(errors="ignore").lstrip(". ")
    return plain or "data.jsonl"


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk

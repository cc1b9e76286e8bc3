"""A first look at a file's bytes: is it there, what is it, how large, which digest, is it text at all."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from registry.store.datasets.model import FileFaultError

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
CHUNK_BYTES = 1 << 20
HEAD_BYTES = 1 << 16
NUL_SHARE_BINARY = 0.1
"""A text in UTF-16 is half NULs; a text with a stray NUL is not near this."""
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive: save it as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save it as CSV (UTF-8)"),
    (b"PAR1", "a Parquet file: name it .parquet"),
    (b"\x1f\x8b", "compressed with gzip: name it .csv.gz or .jsonl.gz"),
    (b"%PDF", "a PDF"),
    (b"\xff\xfe", "in UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "in UTF-16: save it as UTF-8"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the bytes say. `clean`: UTF-8 without a NUL, so that a strict reader need not care about encodings.

    `text_bytes` is the size once uncompressed, `head` the first bytes of that.
    """

    path: Path
    format: Format
    compressed: bool
    sha256: str
    size_bytes: int
    text_bytes: int
    clean: bool
    head: bytes

    @property
    def begins_blank(self) -> bool:
        """An empty first line, which DuckDB takes for the header."""
        return self.head.removeprefix(codecs.BOM_UTF8)[:1] in (b"\r", b"\n")

    def refuse(self, *, size_bytes_max: int | None) -> None:
        """Raises FileFaultError for what is too large, empty, or not what its name says."""
        if size_bytes_max is not None and self.text_bytes > size_bytes_max:
            message = f"holds {self.text_bytes:,} bytes; at most {size_bytes_max:,} are taken"
            raise FileFaultError.because("too-large", message)
        if not self.head.removeprefix(codecs.BOM_UTF8).strip():
            raise FileFaultError.because("empty-file", "is empty")
        if self.format == "parquet":
            return
        for signature, what in SIGNATURES:
            if self.head.startswith(signature):
                raise FileFaultError.because("binary", f"is not a text file but {what}")
        nuls = self.head.count(b"\0")
        broken = not _decodes(codecs.getincrementaldecoder("utf-8")(), self.head)
        if nuls > NUL_SHARE_BINARY * len(self.head) or (nuls and broken):
            raise FileFaultError.because("binary", "is not a text file: it holds binary data")
        if self.format == "jsonl" and self.head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
            message = "is one JSON list: write one object a line (jq -c '.[]' does that)"
            raise FileFaultError.because("format", message)


class _Digesting:
    """A binary file that digests what is read through it, so that a gzip file is read once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        self.size_bytes += len(data)
        return data

    def finish(self) -> str:
        while self.read(CHUNK_BYTES):
            pass
        return self._sha256.hexdigest()


def format_of(path: Path) -> tuple[Format, bool]:
    """The format that the name says, and whether it is compressed. Raises FileFaultError."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    found = FORMATS.get(suffix)
    if found is None or (found == "parquet" and compressed):
        raise FileFaultError.because("format", "is not named .csv, .jsonl, .ndjson, .json or .parquet (or .csv.gz, .jsonl.gz)")
    return found, compressed


def look(path: Path) -> Look:
    """Read the file once, for its digest and its kind. Raises FileFaultError where that cannot be done."""
    if not path.exists():
        raise FileFaultError.because("file", "there is no such file")
    if not path.is_file():
        raise FileFaultError.because("file", "is a folder, not a file" if path.is_dir() else "is not a regular file")
    format, compressed = format_of(path)  # noqa: A001 - the field's name
    try:
        with path.open("rb") as file:
            return _read(path, file, format, compressed=compressed)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FileFaultError.because("corrupt", "is not a whole gzip file") from error
    except OSError as error:
        raise FileFaultError.because("file", f"cannot be read: {error.strerror}") from error


def _read(path: Path, file: IO[bytes], format: Format, *, compressed: bool) -> Look:
    digesting = _Digesting(file)
    source = gzip.GzipFile(fileobj=cast("IO[bytes]", digesting)) if compressed else digesting
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, text_bytes, clean = b"", 0, format != "parquet"
    while chunk := source.read(CHUNK_BYTES):
        head = head or chunk[:HEAD_BYTES]
        text_bytes += len(chunk)
        clean = clean and b"\0" not in chunk and _decodes(decoder, chunk)
    clean = clean and _decodes(decoder, b"", final=True)
    return Look(
        path=path,
        format=format,
        compressed=compressed,
        sha256=digesting.finish(),
        size_bytes=digesting.size_bytes,
        text_bytes=text_bytes,
        clean=clean,
        head=head,
    )


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True

"""The journal: what was acknowledged since the database's last checkpoint, in fsynced, checksummed, chained records.

A folder of segments, each named after the number of the batch that it begins with:

    segment = base record*
    base    = "TENURE-J" | batch u64 | position u64 | hash 64 bytes | link 16 | crc32 u32
    record  = "TR" | format u16 | batch u64 | length u32 | crc32 of these u32 | payload | link 16

`link` is BLAKE2b over the link before and the record, so a record cannot be lost, changed or moved unnoticed. A header
has a checksum of its own, so a damaged length is not mistaken for the torn end of a file: what is torn was cut by a
crash in mid-write, was never acknowledged, and is cut off; what is damaged stops the opening.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from registry.domain.errors import CorruptLogError
from registry.store.migrations import sync_folder

_BASE = struct.Struct("<8sQQ64s16s")
_HEAD = struct.Struct("<2sHQI")
_CRC = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")
_LINK_BYTES = 16
_BASE_BYTES = _BASE.size + _CRC.size
_HEAD_BYTES = _HEAD.size + _CRC.size
_PIECE_BYTES = 2_047
_MAGIC = b"TENURE-J"
_RECORD = b"TR"
_FORMAT = 1
WITNESS = "acknowledged"

HINT = (
    "nothing was changed. Copy the home away first. Then put back the damaged file from a copy, or restore the "
    "newest `tenure log backup`. The database alone holds everything but the last moments before the damage: to go on "
    "with it, move the folder `journal` out of the home and put an empty file named `journal-is-lost` in its place"
)


@dataclass(frozen=True, slots=True)
class Tip:
    """How far a log goes: the last batch, the last event's position and hash, and the last record's link."""

    batch: int
    position: int
    hash: str
    link: bytes = b"\0" * _LINK_BYTES


@dataclass(frozen=True, slots=True)
class Record:
    batch: int
    payload: bytes
    link: bytes
    end: int
    """Where it ends in its segment, in bytes."""


class Segment:
    """One file that is being appended to. Used by one thread, the writer's."""

    def __init__(self, path: Path, *, length: int, link: bytes) -> None:
        self.path = path
        self.length = length
        self._link = link
        # With O_DSYNC a write and its sync are one call: in between, the writer would queue for the interpreter's lock
        # behind every client, and only then begin to sync.
        self._fd = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
        self._dirty = False

    @classmethod
    def begin(cls, folder: Path, tip: Tip) -> Segment:
        """A new file after `tip`; it has its name only when its base is durable."""
        path = folder / f"{tip.batch + 1:020}"
        base = _BASE.pack(_MAGIC, tip.batch, tip.position, tip.hash.encode(), tip.link)
        new = path.with_suffix(".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, base + _CRC.pack(zlib.crc32(base)), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(path)
        sync_folder(folder)
        return cls(path, length=_BASE_BYTES, link=tip.link)

    @property
    def link(self) -> bytes:
        return self._link

    @property
    def is_empty(self) -> bool:
        return self.length == _BASE_BYTES

    def append(self, batch: int, payload: bytes) -> None:
        """Returns when the record is durable. Raises OSError, and then nothing of it is left: it may be tried again."""
        if self._dirty:
            self._cut()
        head = _HEAD.pack(_RECORD, _FORMAT, batch, len(payload))
        record = head + _CRC.pack(zlib.crc32(head)) + payload
        link = _link_of(self._link, record)
        try:
            self._dirty = True
            _write(self._fd, record + link, self.length)
        except OSError:
            self._cut()
            raise
        self._dirty = False
        self.length += len(record) + _LINK_BYTES
        self._link = link

    def _cut(self) -> None:
        os.ftruncate(self._fd, self.length)
        os.fsync(self._fd)
        self._dirty = False

    def close(self) -> None:
        os.close(self._fd)


def _link_of(previous: bytes, record: bytes) -> bytes:
    """Fed in pieces for which hashlib keeps the interpreter's lock (see `O_DSYNC` above)."""
    link = blake2b(previous, digest_size=_LINK_BYTES)
    for start in range(0, len(record), _PIECE_BYTES):
        link.update(record[start : start + _PIECE_BYTES])
    return link.digest()


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class Witness:
    """A file beside the segments with the number of the last acknowledged batch.

    It is not synced, so after a power cut it may be behind, but never ahead: a journal that ends before it has lost
    something that was acknowledged, which its own bytes cannot tell from the torn end of a crash.
    """

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / WITNESS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def saw(self, batch: int) -> None:
        number = _NUMBER.pack(batch)
        os.pwrite(self._fd, number + _CRC.pack(zlib.crc32(number)), 0)

    def close(self) -> None:
        os.close(self._fd)


def witnessed(folder: Path) -> int:
    """The last batch that is known to have been acknowledged; 0 when nothing is known."""
    try:
        data = (folder / WITNESS).read_bytes()
    except FileNotFoundError:
        return 0
    if len(data) != _NUMBER.size + _CRC.size or _CRC.unpack_from(data, _NUMBER.size) != (zlib.crc32(data[:8]),):
        return 0
    return _NUMBER.unpack_from(data)[0]


@dataclass(frozen=True, slots=True)
class Found:
    """A segment as it was read. `torn`: its end was cut by a crash in mid-write and is to be cut off at `length`."""

    path: Path
    base: Tip
    records: tuple[Record, ...]
    length: int
    torn: bool

    @property
    def last(self) -> int:
        return self.records[-1].batch if self.records else self.base.batch

    @property
    def link(self) -> bytes:
        return self.records[-1].link if self.records else self.base.link


def segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def read_segment(path: Path, *, newest: bool, until: int | None = None) -> Found:
    """Its records, to the batch `until`. Raises CorruptLogError for anything that is not what was written; only the
    newest segment may be torn.
    """
    data = path.read_bytes()
    base = _read_base(path, data)
    records = tuple(_records(path, data, base, until))
    length = records[-1].end if records else _BASE_BYTES
    torn = length < len(data)
    if torn and not newest:
        raise damaged(path, length, "is cut short, though newer ones follow it")
    return Found(path, base, records, length, torn)


def _read_base(path: Path, data: bytes) -> Tip:
    if len(data) < _BASE_BYTES or _CRC.unpack_from(data, _BASE.size) != (zlib.crc32(data[: _BASE.size]),):
        raise damaged(path, 0, "has a damaged beginning")
    magic, batch, position, hash_, link = _BASE.unpack_from(data)
    if magic != _MAGIC or path.name != f"{batch + 1:020}":
        raise damaged(path, 0, "is not the segment that its name says")
    return Tip(batch, position, hash_.decode(), link)


def _records(path: Path, data: bytes, base: Tip, until: int | None) -> Iterator[Record]:
    start, link, batch = _BASE_BYTES, base.link, base.batch
    while start < len(data) and (until is None or batch < until):
        if data[start] == 0 and not any(data[start:]):
            return  # a file system that grew the file before its contents were on the disk
        if len(data) - start < _HEAD_BYTES:
            return
        head = data[start : start + _HEAD.size]
        if _CRC.unpack_from(data, start + _HEAD.size) != (zlib.crc32(head),):
            raise damaged(path, start, f"has a damaged header after batch {batch}")
        magic, format_, number, length = _HEAD.unpack(head)
        if magic != _RECORD or format_ != _FORMAT or number != batch + 1:
            raise damaged(path, start, f"holds something else than batch {batch + 1}")
        payload_end = start + _HEAD_BYTES + length
        end = payload_end + _LINK_BYTES
        if end > len(data) or not any(data[payload_end:end]):
            return
        link = _link_of(link, data[start:payload_end])
        if link != data[payload_end:end]:
            raise damaged(path, start, f"has a damaged record, batch {number}")
        batch = number
        yield Record(number, data[start + _HEAD_BYTES : payload_end], link, end)
        start = end


def damaged(path: Path, offset: int, what: str) -> CorruptLogError:
    return CorruptLogError(f"the journal is damaged: {path} {what} (byte {offset})", hint=HINT)

"""Safetensors files, checked without loading a tensor: the header, and that the values are numbers.

The layout: 8 bytes little-endian header length N, N bytes of JSON `{name: {dtype, shape, data_offsets}}`, then the
tensors' bytes, which the offsets must cover without a hole or an overlap.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Final, cast

HEADER_BYTES_MAX: Final = 100_000_000
"""The format's own cap, as the safetensors library enforces it."""

_BITS: Final = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}

_CHUNK_BYTES: Final = 16 * 1024 * 1024
_FULL_BYTES: Final = bytes((0x7F, 0xFF))
_FULL_EXPONENTS_OF_5_BITS: Final = bytes(byte for byte in range(256) if byte & 0x7C == 0x7C)  # noqa: PLR2004 - 5 bits
_NO_NUMBERS: Final = {
    "F64": (8, _FULL_BYTES, 0xF0),
    "F32": (4, _FULL_BYTES, 0x80),
    "BF16": (2, _FULL_BYTES, 0x80),
    "F16": (2, _FULL_EXPONENTS_OF_5_BITS, 0),
    "F8_E5M2": (1, _FULL_EXPONENTS_OF_5_BITS, 0),
    "F8_E4M3": (1, _FULL_BYTES, 0),
}
"""Bytes of a value, what its last byte is where it is NaN or infinite, and the bits of the byte before that are then
set: all bits of the exponent (IEEE 754; FP8: https://arxiv.org/abs/2209.05433)."""


class WeightsError(Exception):
    """A safetensors file is damaged. The message says how, without the file's name."""


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors of a whole, well-formed file. Raises WeightsError, or OSError when it cannot be read."""
    header, data_bytes = _header(path)
    spans = _spans(header)
    end = 0
    for begin, stop, name in spans:
        if begin != end:
            raise WeightsError(f"the tensor {name} starts at byte {begin} of the data where {end} is due")
        end = stop
    if end > data_bytes:
        raise WeightsError(f"is truncated: its tensors need {end} bytes and it has {data_bytes}")
    if end < data_bytes:
        raise WeightsError(f"has {data_bytes - end} bytes that belong to no tensor")
    if not spans:
        raise WeightsError("holds no tensor")
    return {name for _, _, name in spans}


def check_numbers(path: Path) -> None:
    """Raises WeightsError for a tensor with NaN or infinity in it, which a training that diverged leaves.

    Reads all of a well-formed file in bounded memory, about as fast as it is hashed.
    """
    header, data_bytes = _header(path)
    start = path.stat().st_size - data_bytes
    with path.open("rb") as file:
        for begin, end, name in _spans(header):
            kind = _NO_NUMBERS.get(str(cast("dict[str, object]", header[name])["dtype"]))
            if kind is None:
                continue
            file.seek(start + begin)
            while (left := start + end - file.tell()) > 0:
                if _has_no_number(file.read(min(left, _CHUNK_BYTES)), *kind):
                    raise WeightsError(
                        f"the tensor {name} holds NaN or infinity, so the training has diverged; a lower learning rate "
                        "usually helps"
                    )


def _has_no_number(chunk: bytes, width: int, last: bytes, mask: int) -> bool:
    """The last bytes of a model's values are hardly ever full: the slower look is for where they are."""
    ends = chunk[width - 1 :: width]
    if len(ends.translate(None, delete=last)) == len(ends):
        return False
    return mask == 0 or any(
        end in last and before & mask == mask for end, before in zip(ends, chunk[width - 2 :: width], strict=True)
    )


def _header(path: Path) -> tuple[dict[str, object], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:  # noqa: PLR2004 - the length's own length
            raise WeightsError(f"is truncated: {size} bytes are not a safetensors file")
        length = int.from_bytes(prefix, "little")
        if length > HEADER_BYTES_MAX:
            raise WeightsError(
                f"its header claims {length} bytes, more than the {HEADER_BYTES_MAX} that the format allows"
            )
        if 8 + length > size:
            raise WeightsError(f"is truncated: its header claims {length} bytes and the file has {size}")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as exc:
        raise WeightsError(f"its header is not JSON ({exc})") from exc
    if not isinstance(header, dict):
        raise WeightsError("its header is not a JSON object")
    return cast("dict[str, object]", header), size - 8 - length


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands twice")
    return values


def _spans(header: dict[str, object]) -> list[tuple[int, int, str]]:
    return sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")


def _span(name: str, entry: object) -> tuple[int, int, str]:
    fields = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
    bits = _BITS.get(str(fields.get("dtype")))
    shape = _whole_numbers(fields.get("shape"))
    offsets = _whole_numbers(fields.get("data_offsets"))
    if bits is None or shape is None or offsets is None or len(offsets) != 2:  # noqa: PLR2004 - begin and end
        raise WeightsError(f"the tensor {name} has no valid dtype, shape and data_offsets")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * bits:
        raise WeightsError(f"the tensor {name} has {end - begin} bytes, which its dtype and shape contradict")
    return begin, end, name


def _whole_numbers(raw: object) -> list[int] | None:
    if not isinstance(raw, list):
        return None
    items = cast("list[object]", raw)
    if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in items):
        return None
    return cast("list[int]", items)

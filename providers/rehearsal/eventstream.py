"""AWS's binary event stream, as `ConverseStream` answers in it.

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream describes the frame:
total length, headers' length, CRC of those, headers, payload, CRC of everything before.
"""

from __future__ import annotations

import json
import struct
import zlib

from providers.rehearsal.truth import Json

_STRING = 7


def frame(event: str, payload: Json, *, kind: str = "event") -> bytes:
    """One message. `kind`: event | exception (then `event` is the exception's name)."""
    named = {f":{kind}-type": event, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(_header(name, value) for name, value in named.items())
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    head = prelude + struct.pack("!I", zlib.crc32(prelude))
    message = head + headers + body
    return message + struct.pack("!I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text

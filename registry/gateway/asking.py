"""A chat request as it came: which model it names, and its bytes with another name in that place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from registry.gateway.refusal import RefusalError


@dataclass(frozen=True, slots=True)
class Ask:
    """`raw` is the body, `parsed` what it says. `who` asks; None: somebody whose concurrent work is not bounded."""

    raw: bytes
    parsed: dict[str, object]
    model: str
    who: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a chunk that counts tokens."""
        options = self.parsed.get("stream_options")
        return isinstance(options, dict) and bool(cast("dict[str, object]", options).get("include_usage"))

    def naming(self, model: str) -> bytes:
        """The same request for another model. Every other byte stays as it is, unless the name stands there in a form
        in which another reader might see another name: twice, or escaped. Then it is written anew.
        """
        raw = self.raw
        if raw.count(b'"model"') == 1 and b"\\u00" not in raw:
            renamed, count = _value_of_model(self.model).subn(_replacement(model), raw)
            if count == 1:
                return renamed
        return json.dumps({**self.parsed, "model": model}, ensure_ascii=False, separators=(",", ":")).encode()


def parse(raw: bytes, who: str | None = None) -> Ask:
    """Raises RefusalError (400)."""
    try:
        parsed: object = json.loads(raw)
    except (ValueError, RecursionError):
        raise RefusalError(400, "invalid_json", "the body is not JSON", again=False) from None
    if not isinstance(parsed, dict):
        raise RefusalError(400, "invalid_json", "the body is not a JSON object", again=False)
    fields = cast("dict[str, object]", parsed)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        message = "you must provide a model: support-bot, or one version of it, support-bot@2"
        raise RefusalError(400, "missing_model", message, param="model", again=False)
    return Ask(raw, fields, model, who)


@lru_cache(maxsize=1024)
def _value_of_model(model: str) -> re.Pattern[bytes]:
    return re.compile(rb'("model"\s*:\s*)' + re.escape(json.dumps(model, ensure_ascii=False).encode()))


@lru_cache(maxsize=1024)
def _replacement(model: str) -> bytes:
    return rb"\1" + json.dumps(model, ensure_ascii=False).encode().replace(b"\\", rb"\\")

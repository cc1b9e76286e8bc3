"""A provider's own words, made fit to be kept: in events, log lines, errors and pages.

They say what is wrong, and may quote what they were sent: a training row, a prompt, a URL with a signature, the
credential itself. What explains is kept (the sentence, the code, the id of the request); what may be somebody's data
is cut out, since the event already says which version, deployment or connection it is about:

- credentials, by their values where this process has resolved them, and by their shapes;
- quotations and JSON, except for names of parameters, numbers and ids of known kinds;
- words that mix letters and digits and are no ids of known kinds;
- what is longer than `LENGTH_MAX`.

Prose that is quoted without quotation marks cannot be told from the provider's own.
"""

from __future__ import annotations

import re
from urllib.parse import quote

LENGTH_MAX = 1_000
"""Characters of one message."""
READ_MAX = 8_000
"""Characters that are looked at; the rest is left away."""
CUT = "…"
SECRET = "[secret]"  # noqa: S105 - what stands in its place
SECRET_MIN = 6
"""Shorter values would be found in ordinary words."""
MIXED_MIN = 8
"""Shorter words are units and ordinals: 512MB, 30s, 2nd."""
WORD_MAX = 80
PARAMETER_MAX = 60
FIELD = re.compile(r"[\w.:-]{1,120}", re.ASCII)

_secrets: set[str] = set()
"""Process-wide, because an error may quote a credential of any connection, and come up on any thread."""

_SHAPES = re.compile(
    r"""
    -----BEGIN[^"'`]*
    | \b(?:bearer|basic)\s+[\w.~+/=*-]{6,}
    | \b(?:sk|pk|rk)-[\w*-]{6,}                         # OpenAI; it shows its own keys with asterisks
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}\b | \bhf_\w{8,} | \bgh[opsu]_\w{8,} | \btenure_\w+_[\w-]{16,}
    | \beyJ[\w-]{6,}\.[\w.-]*                           # a JSON Web Token
    | (?<=://)[^/\s@]+@                                 # the user of a URL
    | (?:authorization|(?:[\w-]*(?:api|access|account|secret|subscription)[_-]?)key(?:[_-]?id)?|[\w-]*token
       |[\w-]*secret|password|passwd|pwd|signature|sig|x-amz-[\w-]+|credential)
      (?P<is>["']?\s*[=:]\s*["']?)(?:(?:bearer|basic|aws4-hmac-sha256)\s+)?[^\s"',;&(){}\[\]]{6,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_QUERY = re.compile(r"(https?://[^\s?\"'`<>]+)\?[^\s\"'`<>]*")
_JSON = re.compile(r"[{\[](?=[^{}\[\]]*[\"'])[\s\S]*[}\]]")
_QUOTED = re.compile(
    r"""(?<![\w"'])"(?P<a>[^"]*)(?:"|\Z) | (?<![\w"'])'(?P<b>(?:[^']|(?<=\w)'(?=\w))*)(?:'|\Z)
    | `(?P<c>[^`]*)(?:`|\Z) | “(?P<d>[^”]*)(?:”|\Z) | «(?P<e>[^»]*)(?:»|\Z)""",
    re.VERBOSE,
)
_WORD = re.compile(r"[^\s,;=()\[\]{}<>|\"'`“”«»]+")
_RUN = re.compile(rf"{CUT}(?:[\s,;:.\"'`-]*{CUT})+")
_NAME = r"[A-Za-z][A-Za-z_]{0,24}"
_PARAMETER = re.compile(rf"{_NAME}(?:\[\d*\])*(?:\.(?:{_NAME}|\d+)(?:\[\d*\])*)*", re.ASCII)
_KNOWN = re.compile(
    r"""
    [+-]?[\d.,:/%T+Z-]+                                                 # numbers, dates, times
    | https?://[\w.:\[\]-]+(?:/[\w./~:%@+-]*)?(?:\?…)?                  # addresses, their query cut off
    | Microsoft\.[\w./-]+ | s3://[\w./-]+ | [~.]*/[\w./@+:-]*                                 # paths
    | arn:aws[\w-]*:[\w:/.*-]+
    | (?:ft:|file-|ftjob-|ftckpt-|req[_-]|tenure-|dep_)[\w.:-]+        # ids of the providers, names of ours
    | (?:gpt|o\d|davinci|babbage|text|computer|amazon|anthropic|meta|mistral|cohere|qwen|smollm)[\w.]*[.:-][\w.:-]*
    | [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}
    | [\w-]{1,60}(?:\.[\w-]{1,60})*\.(?:safetensors|json|jsonl|bin|pt|pth|pkl|gguf|jinja|txt|py)   # files of a model
    | [a-z][a-z0-9.-]{0,62}@\d{1,9}                                     # support-bot@3
    | [a-z]{2}(?:-[a-z]+){1,3}-\d | [A-Za-z]+(?:Exception|Error)
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)


def hide(secret: str) -> str:
    """The same; from now on nothing that goes through here shows it."""
    if len(secret) >= SECRET_MIN:
        _secrets.update({secret, quote(secret, safe="")})
    return secret


def redacted(words: object, *, code: str | None = None, request_id: str | None = None) -> str:
    """A provider's words as they may be kept, with its code and the id of the request, which its support asks for."""
    text = " ".join(without_secrets(_beginning(str(words), READ_MAX)).split())
    text = _QUERY.sub(rf"\1?{CUT}", text)
    text = _QUOTED.sub(_quotation, _JSON.sub(CUT, text))
    text = _RUN.sub(CUT, _WORD.sub(_word, text)).strip()
    text = _beginning(text, LENGTH_MAX)
    told = [code] if code and FIELD.fullmatch(code) and code not in text else []
    told += [f"request {request_id}"] if request_id and FIELD.fullmatch(request_id) else []
    if not told:
        return text or "no reason is given"
    return f"{text or 'no reason is given'} ({', '.join(told)})"


def without_secrets(text: str) -> str:
    """Credentials cut out, and nothing else."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, SECRET)
    return _SHAPES.sub(_secret, text)


def _beginning(text: str, length: int) -> str:
    """Cut between two words."""
    return text if len(text) <= length else f"{text[:length].rpartition(' ')[0]} {CUT}"


def _secret(found: re.Match[str]) -> str:
    between = found["is"]
    if between is None:
        return f"{SECRET}@" if found[0].endswith("@") else SECRET
    return f"{found[0].partition(between)[0]}{between}{SECRET}"


def _quotation(found: re.Match[str]) -> str:
    inside = next((one for one in found.groups() if one is not None), "")
    is_parameter = len(inside) <= PARAMETER_MAX and _PARAMETER.fullmatch(inside) is not None
    kept = inside == SECRET or is_parameter or _is_known(inside)
    return found[0] if kept else f"{found[0][0]}{CUT}{found[0][-1] if len(found[0]) > 1 else ''}"


def _word(found: re.Match[str]) -> str:
    word = found[0].rstrip(".:!?")
    mixed = any(one.isdigit() for one in word) and any(one.isalpha() for one in word)
    if len(word) < MIXED_MIN or (not mixed and "@" not in word and len(word) <= WORD_MAX) or _is_known(word):
        return found[0]
    return CUT + found[0][len(word) :]


def _is_known(word: str) -> bool:
    return _KNOWN.fullmatch(word) is not None

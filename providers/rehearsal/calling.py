"""What an emulated model does with tools and schemas: calls those that the question names, with inputs that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from providers.rehearsal.truth import Json, table

_WORDS: Mapping[str, object] = {"string": "rehearsal", "integer": 1, "number": 0.5, "boolean": True, "null": None}
_DEPTH_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    id: str
    name: str
    input: object


def calls(tools: Mapping[str, Json], question: str, *, must: bool, answered: bool, id: str) -> list[ToolCall]:
    """`tools`: schemas by name. Those that the question names are called, all of them; the first one if one `must` be.

    `answered`: the question holds what a tool said, so that nothing is left to call.
    """
    named = [] if answered else [name for name in tools if name in question]
    if not named and must:
        named = list(tools)[:1]
    return [ToolCall(id=f"{id}-{at}", name=name, input=example(tools[name])) for at, name in enumerate(named)]


def example(schema: Json, *, definitions: Json | None = None, depth: int = 0) -> object:  # noqa: PLR0911 - a table
    """A value that a JSON Schema allows, as far as schemas of answers and tools go."""
    defined = table(schema.get("$defs")) if definitions is None else definitions
    if depth > _DEPTH_MAX:
        return None

    def inner(value: object) -> object:
        return example(table(value), definitions=defined, depth=depth + 1)

    match schema:
        case {"$ref": str(name)}:
            return inner(defined.get(name.rpartition("/")[2]))
        case {"const": value}:
            return value
        case {"enum": [first, *_]} | {"anyOf": [{"const": first}, *_]}:
            return cast("object", first)
        case {"anyOf": [first, *_]}:
            return inner(first)
        case {"type": "array"}:
            return [inner(schema.get("items"))]
        case {"type": str(kind)} if kind in _WORDS:
            return _WORDS[kind]
        case _:
            return {name: inner(one) for name, one in table(schema.get("properties")).items()}

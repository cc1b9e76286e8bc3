"""What an emulated model does with tools and schemas."""

from __future__ import annotations

from typing import Any

import pytest

from providers.rehearsal.calling import calls, example


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "rehearsal"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"enum": ["sent", "lost"]}, "sent"),
        ({"const": 7}, 7),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"anyOf": [{"const": "a"}, {"const": "b"}]}, "a"),
        ({"type": "object", "properties": {"ok": {"type": "boolean"}}}, {"ok": True}),
        ({"properties": {"x": {"$ref": "#/$defs/X"}}, "$defs": {"X": {"type": "number"}}}, {"x": 0.5}),
        ({}, {}),
    ],
)
def test_a_value_that_fits_a_schema(schema: dict[str, Any], value: object) -> None:
    assert example(schema) == value


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    endless = {"$ref": "#/$defs/Node", "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}}
    assert "next" in str(example(endless))


def test_tools_that_the_question_names_are_called_unless_they_have_been() -> None:
    tools: dict[str, Any] = {"look_up": {}, "ping": {}}

    def names(question: str, *, must: bool = False, answered: bool = False) -> list[str]:
        return [one.name for one in calls(tools, question, must=must, answered=answered, id="c")]

    assert names("ping, then look_up") == ["look_up", "ping"]
    assert names("hello") == []
    assert names("hello", must=True) == ["look_up"]
    assert names("ping said so", answered=True) == []

"""A source's rows as chats, in SQL: (row, flags, messages, line), the same whatever the format was.

`messages` is a list of {role, content}, system text first, the assistant's last; NULL where the row is at fault or blank.
`flags` are bits that say why; `line` is the JSON line of a row that is left to `explain_line`, NULL otherwise.
"""

from __future__ import annotations

import json

from registry.store.datasets.engine import literal
from registry.store.datasets.explain import BLANKS, ROLES
from registry.store.datasets.model import Columns
from registry.store.datasets.sources import Source

PROMPT_MISSING, PROMPT_EMPTY, COMPLETION_MISSING, COMPLETION_EMPTY = 1, 2, 4, 8
EXPLAIN, BLANK_LINE, EXAMPLE = 16, 32, 64
"""EXAMPLE: a JSON object that holds no messages, so that it must have the named columns."""
NO_PROMPT, NO_COMPLETION, NO_SYSTEM = 128, 256, 512
"""Bits of an EXAMPLE that lacks a name altogether."""
FAULTY = PROMPT_MISSING | PROMPT_EMPTY | COMPLETION_MISSING | COMPLETION_EMPTY | EXPLAIN

VISIBLE = ((0x21, 0x7E), (0xA1, 0x1FFF), (0x3001, 0xFEFE))
"""Ranges of characters without any of BLANKS. (An IN with many values would be planned as a join, and rows lose their order.)"""
_BLANKS = " || ".join(f"chr({ord(character)})" for character in BLANKS)
_CHAT = "STRUCT(role VARCHAR, content VARCHAR)[]"


def chats(source: Source, columns: Columns) -> str:
    """A SELECT of the relation. Nothing is read before it is run."""
    return _table(source.sql, source.names, columns) if source.names is not None else _lines(source.sql, columns)


def _table(rows: str, names: dict[str, str], columns: Columns) -> str:
    prompt, completion = names[columns.prompt], names[columns.completion]
    system = _system(names.get(columns.system_column or ""), columns)
    flags = (
        f"(CASE WHEN {prompt} IS NULL THEN {PROMPT_MISSING} WHEN {_empty(prompt)} THEN {PROMPT_EMPTY} ELSE 0 END"
        f" + CASE WHEN {completion} IS NULL THEN {COMPLETION_MISSING} WHEN {_empty(completion)} THEN {COMPLETION_EMPTY}"
        " ELSE 0 END)::USMALLINT"
    )
    return (
        f"SELECT row, flags, CASE WHEN flags = 0 THEN {_chat('system', 'prompt', 'completion')} END AS messages,"  # noqa: S608 - names and literals of ours
        f" NULL::VARCHAR AS line FROM (SELECT row, {flags} AS flags, {prompt} AS prompt, {completion} AS completion,"
        f" {system} AS system FROM ({rows}))"
    )


def _lines(rows: str, columns: Columns) -> str:
    """Each line is parsed twice: into texts, and into raw JSON, whose first character tells a text from a number."""
    names = [columns.prompt, columns.completion]
    names += [columns.system_column] if columns.system_column is not None else []
    texts = json.dumps({**dict.fromkeys(names, "VARCHAR"), "messages": [{"role": "VARCHAR", "content": "VARCHAR"}]})
    raw = texts.replace('"VARCHAR"', '"JSON"')
    parsed = (
        f"SELECT row, line, blank, valid, CASE WHEN valid THEN from_json(line, {literal(texts)}) END AS texts,"  # noqa: S608 - see above
        f" CASE WHEN valid THEN from_json(line, {literal(raw)}) END AS raw FROM (SELECT row, line,"
        f" line IS NULL OR trim(line) = '' AS blank, json_valid(line) AS valid FROM ({rows}))"
    )
    built = (
        "SELECT row, line, blank, valid, CASE"  # noqa: S608 - see above
        f" WHEN {_field('raw', columns.prompt)} IS NULL AND raw.messages IS NOT NULL THEN {_checked_chat(columns)}"
        f" ELSE {_checked_example(columns)} END AS messages FROM ({parsed})"
    )
    return (
        f"SELECT row, (CASE WHEN blank THEN {BLANK_LINE} WHEN messages IS NULL THEN {EXPLAIN} + {_absence(columns)}"  # noqa: S608 - see above
        f" ELSE 0 END)::USMALLINT AS flags, messages, CASE WHEN messages IS NULL THEN line END AS line FROM ({built})"
    )


def _checked_example(columns: Columns) -> str:
    """The chat of a line's named texts; NULL unless all of it is as `explain_line` wants it."""
    told = columns.system_column
    conditions = [f"starts_with({_field('raw', name)}, '\"')" for name in (columns.prompt, columns.completion)]
    conditions += [f"NOT {_empty(_field('texts', name))}" for name in (columns.prompt, columns.completion)]
    if told is not None:
        conditions.append(f"coalesce(starts_with({_field('raw', told)}, '\"'), true)")
    system = _system(None if told is None else _field("texts", told), columns)
    chat = _chat(system, _field("texts", columns.prompt), _field("texts", columns.completion))
    return f"CASE WHEN {' AND '.join(conditions)} THEN {chat} END"


def _checked_chat(columns: Columns) -> str:
    """The chat that a line holds; NULL unless all of it is as `explain_line` wants it."""
    known = " OR ".join(f"one.role = '\"{role}\"'" for role in ROLES)
    conditions = [
        _every("raw.messages", f"({known}) AND starts_with(one.content, '\"')"),
        _every("texts.messages", f"NOT {_empty('one.content')} AND (one.role <> 'system' OR place = 1)"),
        "list_bool_or(list_transform(texts.messages, lambda one: one.role = 'user'))",
        "texts.messages[-1].role = 'assistant'",
    ]
    chat = "texts.messages"
    if columns.system_text is not None:
        told = f"[{{'role': 'system', 'content': {literal(columns.system_text)}}}]::{_CHAT}"
        chat = f"CASE WHEN {chat}[1].role = 'system' THEN {chat} ELSE {told} || {chat} END"
    return f"CASE WHEN {' AND '.join(conditions)} THEN {chat} END"


def _every(messages: str, condition: str) -> str:
    """NULLs count as false, which list_bool_and would pass over."""
    return f"list_bool_and(list_transform({messages}, lambda one, place: coalesce({condition}, false)))"


def _absence(columns: Columns) -> str:
    """The bits of an object without messages that lacks a name. Slow, and only run for lines that are at fault."""
    looked_for = [(NO_PROMPT, columns.prompt), (NO_COMPLETION, columns.completion)]
    looked_for += [(NO_SYSTEM, columns.system)] if columns.system is not None else []
    bits = " + ".join(f"CASE WHEN {_has(name)} THEN 0 ELSE {bit} END" for bit, name in looked_for)
    example = f"json_type(line) = 'OBJECT' AND NOT {_has('messages')}"
    return f"CASE WHEN valid THEN CASE WHEN {example} THEN {EXAMPLE} + {bits} ELSE 0 END ELSE 0 END"


def _has(name: str) -> str:
    return f"json_exists(line, {literal('/' + name.replace('~', '~0').replace('/', '~1'))})"


def _field(struct: str, name: str) -> str:
    return f"struct_extract({struct}, {literal(name)})"


def _chat(system: str, prompt: str, completion: str) -> str:
    turns = f"{{'role': 'user', 'content': {prompt}}}, {{'role': 'assistant', 'content': {completion}}}"
    told = f"{{'role': 'system', 'content': {system}}}"
    return f"(CASE WHEN {_empty(system)} THEN [{turns}] ELSE [{told}, {turns}] END)::{_CHAT}"


def _system(column: str | None, columns: Columns) -> str:
    if columns.system_text is not None:
        return literal(columns.system_text)
    return column or "NULL::VARCHAR"


def _empty(text: str) -> str:
    """True for NULL too. A text that begins with something visible is not trimmed: that costs seconds a million rows."""
    visible = " OR ".join(f"ascii({text}) BETWEEN {first} AND {last}" for first, last in VISIBLE)
    return f"(CASE WHEN {visible} THEN false ELSE coalesce(trim({text}, {_BLANKS}), '') = '' END)"

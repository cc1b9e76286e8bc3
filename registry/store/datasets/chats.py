"""A source's rows as chats, in SQL: (row, flags, messages, line), the same whatever the format was.

`messages` is a list of {role, content}, system text first, the assistant's last; NULL where the row is at fault or blank.
`flags` are bits that say why; `line` is the JSON line of a row that is left to `explain_line`, NULL otherwise.
"""

from __future__ import annotations

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

_BLANKS = " || ".join(f"chr({ord(character)})" for character in BLANKS)
_ROLES = ", ".join(literal(role) for role in ROLES)
_CHAT = "STRUCT(role VARCHAR, content VARCHAR)[]"
_RAW_CHAT = """'[{"role": "JSON", "content": "JSON"}]'"""


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
    names = [columns.prompt, columns.completion, columns.system_column or "system", "messages"]
    pointers = ", ".join(literal("/" + name.replace("~", "~0").replace("/", "~1")) for name in names)
    taken = "NULL" if columns.system_column is None else "found[3]"
    parsed = (
        "SELECT row, line, line IS NULL OR trim(line, chr(32) || chr(9) || chr(13)) = '' AS blank,"  # noqa: S608 - see above
        " CASE WHEN json_valid(line) THEN CASE WHEN json_type(line) = 'OBJECT'"
        f" THEN json_extract(line, [{pointers}]) END END AS found FROM ({rows})"
    )
    values = (
        "SELECT row, line, blank, found, found[1] IS NULL AND found[4] IS NOT NULL AS chat,"  # noqa: S608 - see above
        f" {_string('found[1]')} AS prompt, {_string('found[2]')} AS completion, {_string(taken)} AS own_system,"
        f" {taken} IS NULL OR json_type({taken}) IN ('VARCHAR', 'NULL') AS system_fits,"
        f" CASE WHEN chat THEN from_json(found[4], {_RAW_CHAT}) END AS raw FROM ({parsed})"
    )
    example = _chat(_system("own_system", columns), "prompt", "completion")
    built = (
        f"SELECT row, line, blank, found, chat, CASE WHEN blank OR found IS NULL THEN NULL"  # noqa: S608 - see above
        f" WHEN chat THEN {_checked_chat(columns)}"
        f" WHEN NOT {_empty('prompt')} AND NOT {_empty('completion')} AND system_fits THEN {example}"
        f" END AS messages FROM ({values})"
    )
    no_system = NO_SYSTEM if columns.system is not None else 0
    flags = (
        f"(CASE WHEN blank THEN {BLANK_LINE} WHEN messages IS NULL THEN {EXPLAIN} ELSE 0 END"
        f" + CASE WHEN found IS NULL OR chat THEN 0 ELSE {EXAMPLE}"
        f" + CASE WHEN found[1] IS NULL THEN {NO_PROMPT} ELSE 0 END"
        f" + CASE WHEN found[2] IS NULL THEN {NO_COMPLETION} ELSE 0 END"
        f" + CASE WHEN found[3] IS NULL THEN {no_system} ELSE 0 END END)::USMALLINT"
    )
    return f"SELECT row, {flags} AS flags, messages, CASE WHEN messages IS NULL THEN line END AS line FROM ({built})"  # noqa: S608 - see above


def _checked_chat(columns: Columns) -> str:
    """The chat in `raw` with its texts taken out; NULL unless all of it is as `explain_line` wants it."""
    texts = f"list_transform(raw, lambda one: {{'role': {_string('one.role')}, 'content': {_string('one.content')}}})"
    sound = (
        f"list_bool_and(list_transform({texts}, lambda one, place: coalesce(one.role IN ({_ROLES})"
        f" AND NOT {_empty('one.content')} AND (one.role <> 'system' OR place = 1), false)))"
    )
    ended = f"coalesce(({texts})[-1].role = 'assistant' AND list_contains(list_transform({texts}, lambda one: one.role), 'user'), false)"
    chat = f"({texts})::{_CHAT}"
    if columns.system_text is not None:
        told = f"[{{'role': 'system', 'content': {literal(columns.system_text)}}}]::{_CHAT}"
        chat = f"CASE WHEN ({texts})[1].role = 'system' THEN {chat} ELSE {told} || {chat} END"
    return f"CASE WHEN {ended} AND {sound} THEN {chat} END"


def _chat(system: str, prompt: str, completion: str) -> str:
    turns = f"{{'role': 'user', 'content': {prompt}}}, {{'role': 'assistant', 'content': {completion}}}"
    told = f"{{'role': 'system', 'content': {system}}}"
    return f"(CASE WHEN {_empty(system)} THEN [{turns}] ELSE [{told}, {turns}] END)::{_CHAT}"


def _system(column: str | None, columns: Columns) -> str:
    if columns.system_text is not None:
        return literal(columns.system_text)
    return column or "NULL::VARCHAR"


def _string(json: str) -> str:
    """The text of a JSON string; NULL for anything else."""
    return f"CASE WHEN json_type({json}) = 'VARCHAR' THEN {json} ->> '$' END"


def _empty(text: str) -> str:
    """True for NULL too."""
    return f"(coalesce(trim({text}, {_BLANKS}), '') = '')"

"""How many tokens a data set has: counted where a tokenizer is given and the set is small, estimated otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from registry.domain.errors import BadInputError
from registry.store.datasets.engine import Engine

CountTokens = Callable[[Sequence[str]], int]

BYTES_PER_TOKEN = 4
"""English with the vocabularies in use; other languages and code take more tokens, which is why it is an estimate."""
COUNTED_BYTES_MAX = 4_000_000
"""A set with more text than this is counted on some rows of about this much, and scaled: a second or two."""
BATCH_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    total: int
    estimated: bool


class _Encoding(Protocol):
    def __len__(self) -> int: ...


class _Tokenizer(Protocol):
    def encode_batch_fast(self, input: Sequence[str], *, add_special_tokens: bool) -> Sequence[_Encoding]: ...


def counter_of(tokenizer: Path) -> CountTokens:
    """A counter that reads a `tokenizer.json`. Raises BadInputError where that or the library is not there."""
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise BadInputError(
            "Counting with a tokenizer needs the `tokenizers` package.", field="tokenizer", hint="Install tenure[local]."
        ) from error
    try:
        loaded = cast("_Tokenizer", Tokenizer.from_file(str(tokenizer)))
    except Exception as error:  # the library raises plain Exception for everything
        raise BadInputError(f"{tokenizer} is not a readable tokenizer.json.", field="tokenizer") from error
    return lambda texts: sum(map(len, loaded.encode_batch_fast(texts, add_special_tokens=False)))


def estimate(text_bytes: int) -> int:
    return -(-text_bytes // BYTES_PER_TOKEN)


def count(engine: Engine, chats: str, *, text_bytes: int, counter: CountTokens | None) -> Tokens:
    """The tokens of all texts of a relation of chats that holds `text_bytes` of text."""
    if counter is None or text_bytes == 0:
        return Tokens(total=estimate(text_bytes), estimated=text_bytes > 0)
    every = -(-text_bytes // COUNTED_BYTES_MAX)
    seen_bytes, total = 0, 0
    for texts in _batches(engine, chats, every=every):
        seen_bytes += sum(len(text.encode()) for text in texts)
        total += counter(texts)
    if every == 1:
        return Tokens(total=total, estimated=False)
    scaled = round(total * text_bytes / seen_bytes) if seen_bytes else estimate(text_bytes)
    return Tokens(total=scaled, estimated=True)


def _batches(engine: Engine, chats: str, *, every: int) -> Iterator[list[str]]:
    """Texts of one row in `every`, up to the bound: rows of very uneven size must not add up to more."""
    texts: list[str] = []
    left = COUNTED_BYTES_MAX
    sql = (
        "SELECT unnest(messages).content FROM"  # noqa: S608 - SQL of ours and a number
        f" ({chats}) WHERE messages IS NOT NULL AND hash(messages) % {every} = 0"
    )
    for (content,) in engine.stream(sql):
        text = cast("str", content)
        left -= len(text.encode())
        texts.append(text)
        if left < 0 and every > 1:
            break
        if len(texts) >= BATCH_ROWS:
            yield texts
            texts = []
    if texts:
        yield texts

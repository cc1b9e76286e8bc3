"""What is said of a base model that a provider does not have, so that the next try is right."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

SHOWN_MAX = 12


def unlisted(name: str, known: Sequence[str]) -> str:
    """Names those that are most like it: what begins with it, else what is spelt like it, else the first."""
    longer = [one for one in known if one.startswith(name)]
    like = longer or get_close_matches(name, known, n=3, cutoff=0.6)
    told = f"base model {name!r} is not one that can be tuned here"
    if like:
        return f"{told}; did you mean {' or '.join(like)}?"
    shown = ", ".join(known[:SHOWN_MAX]) or "none"
    return f"{told}; there are: {shown}" + (f" and {len(known) - SHOWN_MAX} more" if len(known) > SHOWN_MAX else "")

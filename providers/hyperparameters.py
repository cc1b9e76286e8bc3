"""Hyperparameters that are numbers, checked before anything is sent: what makes no sense is cheaper to refuse here."""

from __future__ import annotations

import math


def fault_of(name: str, value: object, *, whole: bool, from_zero: bool = False) -> list[str]:
    """What is wrong with a number, or nothing. Whole ones are from 1, others above 0; with `from_zero` from 0."""
    kind = "a whole number" if whole else "a number"
    bound = "from 0" if from_zero else "from 1" if whole else "above 0"
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    enough = number >= 0 if from_zero else number > 0
    if math.isfinite(number) and enough and (not whole or number == int(number)):
        return []
    return [f"{name} = {value!r} is not {kind} {bound}"]

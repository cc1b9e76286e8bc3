"""x"""

from __future__ import annotations


def demo() -> None:
    """The whole life of a version on this machine, narrated.

    Example: tenure demo
    """

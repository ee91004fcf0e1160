"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def agreeing(count: int, one: str, several: str) -> str:
    """The words that go with a number: ``is`` of 1, ``are`` of 2."""
    return one if count == 1 else several

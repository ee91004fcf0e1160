"""Slurm's way to write down which elements of an array wait."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def parse_tasks(text: str) -> list[int]:
    """The indices in ``0-2,5``, ``0-14:2`` (every second) or ``0-9%2`` (at most two at once).

    :raises ValueError: the text has another form, such as the ``1,3,7,...`` of a list that Slurm has cut short
    """
    indices: list[int] = []
    for part in text.partition("%")[0].split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{text!r} is not a whole list of array tasks such as 0-2,5 or 0-14:2")
        low, high, step = match.groups()
        indices.extend(range(int(low), int(high or low) + 1, int(step or 1)))
    return indices

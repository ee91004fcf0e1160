"""How Slurm writes elements of a job array: ``369_[0,2-4]``, ``0-14:2``, ``--array=0-15%4``. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from hpcorch.model.ids import format_ranges

_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def parse_tasks(text: str) -> list[int]:
    """The indices in ``0-2,5``, ``0-14:2`` (every second) or ``0-9%2`` (at most two at once).

    :raises ValueError: the text has another form, such as the ``1,3,7,...`` of a list that Slurm has cut short
    """
    indices: list[int] = []
    for part in text.partition("%")[0].split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{text!r} is not a whole list of array elements such as 0-2,5 or 0-14:2")
        low, high, step = match.groups()
        indices.extend(range(int(low), int(high or low) + 1, int(step or 1)))
    return indices


# As slurmctld reads it, with C's strtol: a number that is missing is 0, and only the first limit counts.
_ARRAY_PART = re.compile(
    r"\[?\s*(?!-)(?P<first>\+?\d{1,7})?\]?"
    r"(?P<to>-\s*(?P<last>\+?\d{1,7})?\]?(?P<by>:\s*(?P<step>\+?\d{1,7})?\]?)?)?(?:%.*)?",
    re.ASCII | re.DOTALL,
)
_ARRAY_LIMIT = re.compile(r"^[^%]*%\s*\+?(\d{1,9})", re.ASCII)


def array_indices(spec: str) -> tuple[list[int], int | None] | None:
    """The indices of ``--array`` (``0-15:4``, ``1,3-5%2``), ascending, and how many may run at once.

    None for what sbatch will refuse.
    """
    found: set[int] = set()
    for part in filter(None, spec.split(",")):
        match = _ARRAY_PART.fullmatch(part)
        if match is None:
            return None
        first = int(match["first"] or 0)
        last = int(match["last"] or 0) if match["to"] else first
        step = int(match["step"] or 0) if match["by"] else 1
        if last < first or step < 1:
            return None
        found.update(range(first, last + 1, step))
    limit = _ARRAY_LIMIT.search(spec)
    return (sorted(found), int(limit[1]) or None if limit else None) if found else None


def elements_of(job_id: str, indices: Collection[int]) -> str:
    """Elements of one array in one word: ``369_3``, ``369_[0,2-4]``."""
    text = format_ranges(sorted(indices))
    return f"{job_id}_{text}" if len(indices) == 1 else f"{job_id}_[{text}]"

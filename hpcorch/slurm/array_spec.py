"""Reading ``--array``. Pure."""

from __future__ import annotations

import re

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

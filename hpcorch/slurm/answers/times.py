"""Times as Slurm prints them under ``TZ=UTC`` and ``SLURM_TIME_FORMAT=standard``."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_TIME_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


def parse_utc(text: str) -> datetime | None:
    """An aware time, or ``None`` for ``Unknown``, ``N/A``, ``None`` and whatever else is no time."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def seconds_left(text: str) -> int | None:
    """Read squeue's TIME_LEFT, ``1-02:03:04`` or ``03:04``; None for a word such as UNLIMITED."""
    found = _TIME_LEFT.fullmatch(text.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

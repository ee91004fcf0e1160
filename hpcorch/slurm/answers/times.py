"""Times as Slurm prints them under ``TZ=UTC`` and ``SLURM_TIME_FORMAT=standard``."""

from __future__ import annotations

from datetime import datetime, timezone


def parse_utc(text: str) -> datetime | None:
    """An aware time, or ``None`` for ``Unknown``, ``N/A``, ``None`` and whatever else is no time."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None

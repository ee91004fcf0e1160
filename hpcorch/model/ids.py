"""Names that stay: sweep ids, submission tokens, attempt names, index ranges, UTC times."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

# No vowels and no look-alikes: an id is read aloud and typed from paper.
_SUFFIX_ALPHABET = "23456789bcdfghjkmnpqrstvwxz"
_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*")
_MOST_INDICES = 4_000_001  # what MaxArraySize may be at most (slurm.conf(5)); a few bytes must not fill the memory
_ATTEMPT_NAME = re.compile(r"(\d{1,9})\.s(\d{1,9})\.r(\d{1,9})")


def utc_now() -> str:
    """The current time as this project writes it: ISO 8601, UTC, microseconds, ``Z``."""
    return format_time(datetime.now(timezone.utc))


def format_time(moment: datetime) -> str:
    """Write an aware datetime as ISO 8601 in UTC with microseconds and ``Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read a time that :func:`format_time` wrote.

    :raises ValueError: the text has another form
    """
    if text[10:11] != "T" or text[-1:] != "Z":
        raise ValueError(f"{text!r} is not a time of the form 2026-11-23T14:30:00.000000Z")
    return datetime.fromisoformat(f"{text[:-1]}+00:00")  # a tenth of what strptime takes


def is_time(text: str) -> bool:
    """Whether :func:`format_time` may have written it, in this millennium."""
    try:
        parse_time(text)
    except ValueError:
        return False
    return text.startswith("2")  # the first and the last years cannot be written in every zone


def new_sweep_id() -> str:
    """A new sweep id, such as ``20261123-044501-k7fw``: sorts by time, and two in one second differ."""
    import secrets  # jobs do without

    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(4))
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{suffix}"


def new_token() -> str:
    """A token that marks one submission for ever: 128 random bits in hexadecimal."""
    return os.urandom(16).hex()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AttemptId:
    """One execution of a run. Ordered by (submission, restart) among the attempts of one run.

    :param submission: number of the submission within the sweep, from 0
    :param restart: Slurm's restart count, 0 at the first start
    """

    run: int
    submission: int
    restart: int

    def __str__(self) -> str:
        return f"{self.run}.s{self.submission}.r{self.restart}"

    @classmethod
    def parse(cls, text: str) -> AttemptId:
        """Read what ``str`` wrote.

        :raises ValueError: the text has another form
        """
        match = _ATTEMPT_NAME.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not an attempt name of the form RUN.sSUBMISSION.rRESTART")
        run, submission, restart = map(int, match.groups())
        return cls(run=run, submission=submission, restart=restart)

    def next_restart(self) -> AttemptId:
        """The attempt that follows when Slurm requeues this one."""
        return replace(self, restart=self.restart + 1)

    def previous_restart(self) -> AttemptId:
        """The attempt of the same array element before this one."""
        return replace(self, restart=self.restart - 1)


def format_ranges(indices: Iterable[int]) -> str:
    """Write indices in order as Slurm writes array indices: ``0-2,5``."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def named_runs(runs: Sequence[int]) -> str:
    """Runs as a sentence has them: ``run 3``, ``runs 0-2,5``."""
    return f"{'run' if len(runs) == 1 else 'runs'} {format_ranges(runs)}"


def parse_ranges(text: str) -> Sequence[int]:
    """Read what :func:`format_ranges` wrote, in its order.

    :raises ValueError: the text has another form, or stands for more indices than there can be
    """
    return [index for span in _spans(text) for index in span]


def are_ranges(text: str) -> bool:
    """Whether :func:`parse_ranges` reads it."""
    try:
        _spans(text)
    except ValueError:
        return False
    return True


def _spans(text: str) -> list[range]:
    if _RANGES.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a list of indices such as 0-2,5")
    ends = (part.partition("-") for part in text.split(","))
    spans = [range(int(low), int(high or low) + 1) for low, _, high in ends]
    if sum(map(len, spans)) > _MOST_INDICES:
        raise ValueError(f"{text!r} stands for more than {_MOST_INDICES:,} indices")
    return spans

"""What ``--licenses`` asks for, against the licences that the cluster has. Pure.

Forms (sbatch(1)): ``name``, ``name:count``, ``name@server:count``, several with commas for all of them, or with
``|`` for any one of them, which Slurm takes from 26.05 on (measured: 22.05 and 24.11 reject it, and all three
reject both at once).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from hpcorch.errors import UsageError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.answers.scontrol import License

_FIRST_WITH_ALTERNATIVES = (26, 5)
_ASKED = re.compile(r"(?P<name>[^\s:,;|()]+)(?::(?P<count>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseFit:
    """How a request for one licence fits the cluster.

    :param count: what one run takes
    :param at_once: runs that can hold it at once, if nobody else does
    :param now: runs that could start now
    """

    name: str
    count: int
    total: int
    free: int
    at_once: int
    now: int


def parse_asked(asked: Mapping[str, int] | str | None) -> tuple[dict[str, int], bool]:
    """Licence names with counts, and whether they are alternatives.

    :raises UsageError: the text has no form that Slurm takes
    """
    if not isinstance(asked, str):
        return dict(asked or {}), False
    if "|" in asked and re.search("[,;]", asked):
        raise UsageError(f"licenses={asked!r} mixes `|` with `,`, which Slurm does not take: use one of them.")
    found: dict[str, int] = {}
    for part in re.split(r"[,;|]", asked):
        match = _ASKED.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"licenses={asked!r} cannot be read: write name:count, several with commas between.")
        found[match["name"]] = found.get(match["name"], 0) + int(match["count"] or 1)
    return found, "|" in asked


def check_licenses(
    asked: Mapping[str, int] | str | None, licenses: Sequence[License], version: str
) -> tuple[LicenseFit, ...]:
    """Check that runs with these licences can ever start here; of alternatives, return those that can be had.

    :param licenses: what ``scontrol show licenses`` says
    :param version: Slurm's release, such as ``22.05.8``
    :raises UsageError: a licence does not exist, there are fewer of it than one run takes, or this release does
        not take alternatives
    """
    counts, alternatives = parse_asked(asked)
    if not alternatives:
        return tuple(_fit(name, count, licenses) for name, count in counts.items())
    if _release(version) < _FIRST_WITH_ALTERNATIVES:
        raise UsageError(
            f"licenses={asked!r} offers alternatives, which Slurm takes from release 26.05 on, and this cluster has"
            f" {version}: name one licence."
        )
    fits, problems = [], []
    for name, count in counts.items():
        try:
            fits.append(_fit(name, count, licenses))
        except UsageError as problem:
            problems.append(problem)
    if not fits:
        raise problems[0]
    return tuple(fits)


def runs_at_once(fits: Iterable[LicenseFit], *, alternatives: bool = False) -> int | None:
    """How many runs the licences allow at once if nobody else holds any; None if none is requested."""
    numbers = [fit.at_once for fit in fits]
    if not numbers:
        return None
    return sum(numbers) if alternatives else min(numbers)


def _fit(name: str, count: int, licenses: Sequence[License]) -> LicenseFit:
    row = next((one for one in licenses if one.name == name), None)
    if row is None:
        raise UsageError(f"The cluster has no licence {name!r}{_hint(name, [one.name for one in licenses])}")
    most = row.total - row.reserved
    if count > row.total:
        raise UsageError(
            f"A run asks for {count} of the licence {name}, of which the cluster has {row.total}: no run could ever"
            " start."
        )
    free = max(0, min(row.free, most))
    return LicenseFit(
        name=name, count=count, total=row.total, free=row.free, at_once=max(0, most) // count, now=free // count
    )


def _hint(name: str, known: Sequence[str]) -> str:
    remote = [one for one in known if one.partition("@")[0] == name]
    close = remote or difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; it has {', '.join(known)}" if known else " or any other (scontrol show licenses)"


def _release(version: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)

"""What ``doctor`` says about one thing: a row with a verdict, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from hpcorch.errors import HpcorchError
from hpcorch.quick_dataclasses import dataclass


class Verdict(Enum):
    """How it stands."""

    OK = "ok"
    LIMITED = (
        "limited"  # sweeps work; the site does not give all that it could, and what that means is worth knowing
    )
    NOT_OK = "not ok"
    UNKNOWN = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was looked at. ``found`` and ``cure`` are phrases without a full stop.

    :param check: what was looked at, in a word or three
    :param cure: what to do; empty where no action is needed
    """

    check: str
    verdict: Verdict
    found: str
    cure: str = ""

    def as_plain(self) -> dict[str, str]:
        """For JSON."""
        return {"check": self.check, "verdict": self.verdict.value, "found": self.found, "cure": self.cure}


def ok(check: str, found: str) -> Row:
    return Row(check=check, verdict=Verdict.OK, found=found)


def limited(check: str, found: str, cure: str) -> Row:
    return Row(check=check, verdict=Verdict.LIMITED, found=found, cure=cure)


def not_ok(check: str, found: str, cure: str) -> Row:
    return Row(check=check, verdict=Verdict.NOT_OK, found=found, cure=cure)


def unknown(check: str, found: str, cure: str = "") -> Row:
    return Row(check=check, verdict=Verdict.UNKNOWN, found=found, cure=cure)


def of_error(check: str, error: HpcorchError) -> Row:
    """A row that is not ok: what an error's sentence has before its colon was found, the rest is the cure."""
    found, _, cure = str(error).partition(": ")
    return not_ok(check, found, cure)


def with_verdict(rows: Iterable[Row], verdict: Verdict) -> list[Row]:
    """Those that stand like this."""
    return [row for row in rows if row.verdict is verdict]

"""What the ledger can tell about sweeps and runs, as values for a front end to render."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from hpcorch.ledger import Ledger, SweepSummary
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.states import RunState
from hpcorch.services import plain
from hpcorch.services.refresh import UNSETTLED, Look, bring_up_to_date
from hpcorch.services.select import Selector, select_runs

# Looking at a sweep lists a directory, perhaps on a busy network file system; older sweeps show their age.
MOST_LOOKED_AT = 50

NOT_FINE = frozenset(state for state in RunState if state.is_final and state is not RunState.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """A sweep and the age of what is known about it.

    :param looked_at: when its journals were last read (UTC)
    :param now: the moment of the report
    """

    summary: SweepSummary
    looked_at: str | None
    now: datetime

    @property
    def age_s(self) -> float | None:
        """Seconds since the journals were last read."""
        return plain.seconds_between(self.looked_at, self.now)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return plain.sweep_as_plain(self.summary, looked_at=self.looked_at, now=self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run with its attempts, the earliest first.

    :param distinct: the overrides in which it differs from other runs of the report
    """

    run: Run
    attempts: Sequence[Attempt]
    distinct: Sequence[str]
    now: datetime

    @property
    def elapsed_s(self) -> float | None:
        """Seconds that it took, or has taken so far; None if it has not started."""
        return plain.elapsed_s(self.run.started_at, self.run.ended_at, self.now)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return plain.run_as_plain(self.run, self.attempts, now=self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepList:
    """Sweeps, the latest first.

    :param more: whether there are others that were left out for the limit
    """

    sweeps: Sequence[SweepReport]
    more: bool
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Where a sweep and the selected ones of its runs stand."""

    sweep: SweepReport
    runs: Sequence[RunReport]
    look: Look

    @property
    def exit_code(self) -> int:
        """3 if Slurm was asked and did not answer, 1 if a selected run did not end well, else 0."""
        if self.look.exit_code:
            return self.look.exit_code
        return int(any(report.run.state in NOT_FINE for report in self.runs))

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            **self.sweep.as_plain(),
            "notices": list(self.look.notices),
            "runs": [run.as_plain() for run in self.runs],
        }


def list_sweeps(
    ledger: Ledger,
    *,
    limit: int | None = None,
    since: str | None = None,
    states: Collection[RunState] | None = None,
    name: str | None = None,
    tags: Collection[str] = (),
    refresh: bool = False,
) -> SweepList:
    """Sweeps that match, the latest first, those that are not over brought up to date.

    The parameters are those of :meth:`hpcorch.ledger.store.Ledger.sweeps`.

    :param refresh: ask Slurm about those that are not over
    """
    unsettled = ledger.sweeps(limit=MOST_LOOKED_AT, since=since, states=UNSETTLED, name=name, tags=tags)
    look = bring_up_to_date(ledger, unsettled, refresh=refresh)
    asked = None if limit is None else limit + 1
    found = ledger.sweeps(limit=asked, since=since, states=states, name=name, tags=tags)
    more = limit is not None and len(found) > limit
    return SweepList(sweeps=[_sweep_report(summary, look) for summary in found[:limit]], more=more, look=look)


def report_status(ledger: Ledger, selector: Selector, *, refresh: bool = False) -> StatusReport:
    """Where the selected runs stand.

    :param refresh: ask Slurm about runs that are not over
    :raises NotFoundError: no sweep or run is selected
    """
    known = ledger.sweep(selector.sweep)
    look = bring_up_to_date(ledger, [known], refresh=refresh)
    sweep = _sweep_report(ledger.sweep(known.sweep.id), look)
    runs = select_runs(ledger, known.sweep.id, selector)
    attempts = _attempts(ledger, known.sweep.id, runs)
    common = _common_overrides(runs)
    reports = [
        RunReport(
            run=run,
            attempts=attempts.get(run.run, ()),
            distinct=[override for override in run.overrides if override not in common],
            now=sweep.now,
        )
        for run in runs
    ]
    return StatusReport(sweep=sweep, runs=reports, look=look)


def _sweep_report(summary: SweepSummary, look: Look) -> SweepReport:
    looked_at = look.times.get(summary.sweep.id, summary.looked_at)
    return SweepReport(summary=summary, looked_at=looked_at, now=datetime.now(timezone.utc))


def _attempts(ledger: Ledger, sweep: str, runs: Sequence[Run]) -> dict[int, list[Attempt]]:
    found: dict[int, list[Attempt]] = {}
    for attempt in ledger.attempts(sweep, runs[0].run if len(runs) == 1 else None):
        found.setdefault(attempt.run, []).append(attempt)
    return found


def _common_overrides(runs: Sequence[Run]) -> frozenset[str]:
    """What all of several runs have: it tells none from another."""
    if len(runs) == 1:  # alone, it is told by all it has
        return frozenset()
    return frozenset.intersection(*(frozenset(run.overrides) for run in runs)) if runs else frozenset()

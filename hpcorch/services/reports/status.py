"""What the ledger can tell about sweeps and runs, as values for a front end to render."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from hpcorch import tunables
from hpcorch.ledger import Ledger, SweepSummary
from hpcorch.model.entities import SBATCH, Attempt, Run, Sweep
from hpcorch.model.events import RerunPlanned
from hpcorch.model.ids import format_ranges, named_runs
from hpcorch.model.states import NOT_FINE, UNSETTLED, Backend, RunState
from hpcorch.model.value_text import agreeing, counted
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services import json_values as plain
from hpcorch.services.logs.paths import LOG_KEY, with_log, with_logs, with_unclaimed_logs
from hpcorch.services.reports.reruns import rerun_as_plain, rerun_of
from hpcorch.services.reports.whereabouts import Whereabouts, missing_text, whereabouts
from hpcorch.services.selection.conditions import Condition, all_hold, check_keys
from hpcorch.services.selection.selectors import Selector, count_selected, select_runs
from hpcorch.services.tending.refresh import RefreshResult, bring_up_to_date
from hpcorch.services.tending.unsubmitted import (
    CURE,
    Refusal,
    left_runs,
    left_text,
    refusal_of,
    retries_to_come,
)

if TYPE_CHECKING:
    from hpcorch.services.tending.due import PlannedRetry


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """A sweep and the age of what is known about it.

    :param looked_at: when its journals were last read, or of a script's sweep Slurm was asked (UTC); None if never
    :param now: the moment of the report
    :param files: where they are
    :param refusal: what Slurm refused of it, if nobody submits that again
    :param rerun: what it reruns, if it is a rerun
    :param left: what to do about runs whose launch did not come to submitting them
    """

    summary: SweepSummary
    looked_at: str | None
    now: datetime
    files: Whereabouts
    refusal: Refusal | None = None
    rerun: RerunPlanned | None = None
    left: str | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since then; None if never."""
        return plain.seconds_between(self.looked_at, self.now)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        refused = None if self.refusal is None else asdict(self.refusal)
        return {
            **plain.sweep_as_plain(self.summary, looked_at=self.looked_at, now=self.now),
            "directory": str(self.files.layout.directory),
            "gone": self.files.gone,
            "refused": refused,
            "left": self.left,
            "rerun": rerun_as_plain(self.rerun),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run with its attempts, the earliest first.

    :param distinct: the overrides in which it differs from other runs of the report
    :param retry: its next try, if it only looks over
    """

    run: Run
    attempts: Sequence[Attempt]
    distinct: Sequence[str]
    now: datetime
    retry: PlannedRetry | None = None

    @property
    def elapsed_s(self) -> float | None:
        """Seconds that it took, or has taken so far; None if it has not started."""
        return plain.elapsed_s(self.run.started_at, self.run.ended_at, self.now)

    @property
    def step(self) -> int | None:
        """The last step that metrics or checkpoints tell of; None if neither does."""
        return plain.last_step(self.run, self.attempts)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        retry = None if self.retry is None else self.retry.as_plain()
        return {**plain.run_as_plain(self.run, self.attempts, now=self.now), "retry": retry}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepList:
    """Sweeps, the latest first.

    :param more: whether there are others that were left out for the limit
    :param missing: that others may be missing, and what to do; None if there is no sign of that
    """

    sweeps: Sequence[SweepReport]
    more: bool
    refresh: RefreshResult
    missing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Where a sweep and the selected ones of its runs stand.

    :param selected: how many of the selected runs are in which state
    :param runs: the selected runs in order of their index, or of very many some
    :param retried: how many of the selected runs did not end well and will be run again
    """

    sweep: SweepReport
    selected: Mapping[RunState, int]
    runs: Sequence[RunReport]
    refresh: RefreshResult
    retried: int = 0

    @property
    def refused(self) -> bool:
        """Whether Slurm refused a selected run, and nobody submits it again."""
        return self.sweep.refusal is not None and bool(self.selected.get(RunState.PLANNED))

    @property
    def left_out(self) -> int:
        """How many of the selected runs are not in ``runs``."""
        return sum(self.selected.values()) - len(self.runs)

    @property
    def exit_code(self) -> int:
        """3 if Slurm was asked and did not answer, 1 if a selected run did not end well or was refused, else 0.

        A run that will be run again has not ended.
        """
        if self.refresh.exit_code:
            return self.refresh.exit_code
        failed = sum(runs for state, runs in self.selected.items() if state in NOT_FINE)
        return int(failed > self.retried or self.refused)

    @property
    def lingering(self) -> str | None:
        """That runs are over whose processes are not, and what ends those; None if there is none."""
        runs = [report.run.run for report in self.runs if report.run.lingers]
        if not runs:
            return None
        sweep = self.sweep.summary.sweep
        one, many = ("process", "processes") if sweep.backend is Backend.LOCAL else ("job", "jobs")
        stays = f"is over, and its {one} still runs" if len(runs) == 1 else f"are over, and their {many} still run"
        return f"{named_runs(runs)} {stays}: `hpcorch cancel {sweep.id}/{format_ranges(runs)}` ends what is left"

    @property
    def advice(self) -> str | None:
        """What to do about runs that Slurm refused, or whose state nobody can tell from the journals alone."""
        if self.refused and self.sweep.refusal is not None:
            refusal = self.sweep.refusal
            stay = agreeing(refusal.runs, "stays", "stay")
            return f"Slurm refused {refusal.runs} of its runs, which {stay} PLANNED: {CURE}. {refusal.reason}"
        if self.sweep.summary.sweep.backend is not Backend.SLURM:
            return None
        ask = f"`hpcorch status {self.sweep.summary.sweep.id} --refresh` asks now"
        if uncertain := self.selected.get(RunState.UNCERTAIN, 0):
            many = f"{counted(uncertain, 'run')} {agreeing(uncertain, 'is', 'are')}"
            return (
                f"{many} UNCERTAIN, because a submission was interrupted, or a run was stopped and Slurm has not"
                f" been asked why: {ask}"
            )
        if self.selected.get(RunState.CANCELLING):
            return f"Slurm says when runs that are CANCELLING have ended: {ask}"
        return None

    @property
    def advices(self) -> list[str]:
        """Sentences on what is not as it should be, and what to do."""
        left = None if self.sweep.files.gone else self.sweep.left
        return list(filter(None, (self.sweep.files.gone, left, self.advice, self.lingering)))

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            **self.sweep.as_plain(),
            "notices": list(self.refresh.notices),
            "left_out": self.left_out,
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
    conditions: Sequence[Condition] = (),
    refused: bool = False,
    refresh: bool = False,
) -> SweepList:
    """Sweeps that match, the latest first, those that are not over brought up to date.

    The parameters are those of :meth:`hpcorch.ledger.store.Ledger.sweeps`.

    :param conditions: only sweeps with a run of which all of these hold
    :param refresh: ask Slurm about those that are not over
    :raises UsageError: no run has what a condition is on
    """
    unsettled = ledger.sweeps(limit=tunables.REFRESHED_SWEEPS, since=since, states=UNSETTLED, name=name, tags=tags)
    done = bring_up_to_date(ledger, unsettled, refresh=refresh)
    asked = None if limit is None else limit + 1
    if conditions:
        every = ledger.sweeps(since=since, states=states, name=name, tags=tags, refused=refused)
        found = list(islice((summary for summary in every if _has_run(ledger, summary, conditions)), asked))
        if not found:
            check_keys(conditions, (run for summary in every for run in ledger.runs(summary.sweep.id)))
    else:
        found = ledger.sweeps(limit=asked, since=since, states=states, name=name, tags=tags, refused=refused)
    more = limit is not None and len(found) > limit
    reports = [_sweep_report(ledger, summary, done, refusal_of(ledger, summary)) for summary in found[:limit]]
    return SweepList(sweeps=reports, more=more, refresh=done, missing=missing_text(ledger))


def _has_run(ledger: Ledger, summary: SweepSummary, conditions: Sequence[Condition]) -> bool:
    return any(all_hold(conditions, run) for run in ledger.runs(summary.sweep.id))


def report_status(
    ledger: Ledger, selector: Selector, *, refresh: bool = False, limit: int | None = None
) -> StatusReport:
    """Where the selected runs stand.

    :param refresh: ask Slurm about runs that are not over
    :param limit: at most so many runs, first of all those that are over and did not end well
    :raises NotFoundError: no sweep or run is selected
    """
    known = ledger.sweep(selector.sweep)
    done = bring_up_to_date(ledger, [known], refresh=refresh)
    return report_known(ledger, known.sweep.id, selector, done, limit=limit)


def report_known(
    ledger: Ledger, known: str, selector: Selector, refresh: RefreshResult, *, limit: int | None = None
) -> StatusReport:
    """Where the selected runs stand by what the ledger has.

    :param known: the sweep's id
    :param refresh: what came of bringing the ledger up to date, just before
    :raises NotFoundError: no run is selected
    """
    summary = ledger.sweep(known)
    retries = retries_to_come(ledger, known)
    sweep = _sweep_report(ledger, summary, refresh, refusal_of(ledger, summary, retries))
    runs = _shown(ledger, known, selector, limit)
    attempts = {
        run: list(map(sweep.files.present_attempt, tries))
        for run, tries in _attempts(ledger, sweep.summary.sweep, runs).items()
    }
    common = _common_overrides(runs, lambda: _ends_of(ledger, summary))
    reports = [
        RunReport(
            run=with_log(sweep.files.present(run), attempts.get(run.run, ())),
            attempts=attempts.get(run.run, ()),
            distinct=[override for override in run.overrides if override not in common],
            now=sweep.now,
            retry=retries.get(run.run),
        )
        for run in runs
    ]
    selected = count_selected(ledger, known, selector)
    failed = replace(selector, states=NOT_FINE if selector.states is None else selector.states & NOT_FINE)
    retried = sum(run.run in retries for run in select_runs(ledger, known, failed)) if retries else 0
    return StatusReport(sweep=sweep, selected=selected, runs=reports, refresh=refresh, retried=retried)


def _shown(ledger: Ledger, sweep: str, selector: Selector, limit: int | None) -> list[Run]:
    if limit is None:
        return select_runs(ledger, sweep, selector)
    wanted = selector.states if selector.states is not None else frozenset(RunState)
    first = select_runs(ledger, sweep, replace(selector, states=wanted & NOT_FINE), limit=limit)
    others = replace(selector, states=wanted - NOT_FINE)
    return sorted([*first, *select_runs(ledger, sweep, others, limit=limit - len(first))], key=lambda run: run.run)


def _ends_of(ledger: Ledger, summary: SweepSummary) -> list[Run]:
    """The first and the last run of a sweep, which differ in all that its grid varies, whatever of it is shown."""
    return ledger.runs(summary.sweep.id, indices=sorted({0, summary.runs - 1}))


def _sweep_report(
    ledger: Ledger, summary: SweepSummary, refresh: RefreshResult, refusal: Refusal | None
) -> SweepReport:
    # Not below: if its file system does not answer, no writer waits for that.
    files = whereabouts(ledger, summary.sweep)
    with ledger.at_one_moment():
        return SweepReport(
            summary=summary,
            looked_at=refresh.times.get(summary.sweep.id, summary.looked_at),
            now=datetime.now(timezone.utc),
            files=files,
            refusal=refusal,
            rerun=rerun_of(ledger, summary.sweep.id),
            left=left_text(summary, left_runs(ledger, summary)),
        )


def _attempts(ledger: Ledger, sweep: Sweep, runs: Sequence[Run]) -> dict[int, list[Attempt]]:
    found: dict[int, list[Attempt]] = {}
    known = ledger.attempts(sweep.id, runs=[run.run for run in runs])
    for attempt in with_unclaimed_logs(ledger, sweep, known):
        found.setdefault(attempt.run, []).append(attempt)
    if sweep.sweeper == SBATCH:
        pattern = next((str(launch.options.get(LOG_KEY, "")) for launch in ledger.launches(sweep.id)), "")
        return {run.run: with_logs(sweep, pattern, run, found.get(run.run, ())) for run in runs}
    return found


def _common_overrides(runs: Sequence[Run], others: Callable[[], Sequence[Run]]) -> frozenset[str]:
    """What all of several runs have: it tells none from another.

    :param others: runs of the sweep that are compared as well
    """
    if len(runs) < 2:  # alone, it is described by all that it has
        return frozenset()
    return frozenset.intersection(*(frozenset(run.overrides) for run in (*runs, *others())))

"""The input of a decision about a sweep: one value, read at one moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hpcorch.journal.control import ControlHistory, ControlJournal
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Attempt, Launch, Run, Submission, Sweep
from hpcorch.model.events import CONTROL_SOURCE
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.model.job_states import LET_GO, JobState
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import NOT_FINE, WITH_SLURM, AttemptState, Backend, RunState, SubmissionState
from hpcorch.services.local.processes import pool_is_gone


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepState:
    """A sweep, and those of its runs that somebody may have to do something about.

    :param keys: launch -> its keys
    :param runs: those that are PLANNED, and those that did not end well where their launch has a budget
    :param ends: run -> the last end on record of each of its submissions, by number
    :param let_go: (run, submission) that Slurm does not have any more, although no attempt was the last, and why:
        NOT_REQUEUED or LEFT_OVER
    :param abandoned: submissions to local pools that are gone
    :param unkept: submissions without a keeper that may need one -> their runs that are not over
    :param now: the moment (UTC)
    :param is_with_slurm: whether Slurm has any run of the sweep, or may have
    :param begins: whether runs are to be submitted whose launch ended before it came to that
    """

    sweep: Sweep
    keys: Mapping[int, LaunchKeys]
    history: ControlHistory
    runs: Sequence[Run]
    ends: Mapping[int, Mapping[int, Attempt]]
    now: str
    let_go: Mapping[tuple[int, int], JobState] = field(default_factory=dict)
    abandoned: frozenset[int] = frozenset()
    unkept: Mapping[int, Sequence[int]] = field(default_factory=dict)
    is_with_slurm: bool = False
    begins: bool = False

    def keys_of(self, submission: Submission) -> LaunchKeys:
        """What runs of a submission asked for."""
        return self.keys[submission.launch].changed(self.history.changed.get(submission.submission, {}))


def read_state(
    ledger: Ledger,
    journal: ControlJournal,
    *,
    keepers_for: Callable[[Iterable[Launch], ControlHistory], Collection[int]] | None = None,
    begins: bool = False,
) -> SweepState:
    """The state of a sweep by what the ledger and the control journal have.

    :param keepers_for: which launches are to have keepers; asked only while Slurm has runs of the sweep
    :param begins: as in :class:`SweepState`
    :raises OSError: the control journal cannot be read
    """
    # No more of the journal than the ledger has, or a run that was submitted again just now would look over.
    sweep = journal.sweep
    history = journal.history(until=ledger.offset(sweep, CONTROL_SOURCE))
    launches = ledger.launches(sweep)
    keys = {launch.first_run: LaunchKeys.recorded(launch.options) for launch in launches}
    counts = ledger.counts(sweep)
    is_with_slurm = not WITH_SLURM.isdisjoint(counts)
    kept = keepers_for(launches, history) if keepers_for is not None and is_with_slurm else ()
    wanted = {RunState.PLANNED}
    if any(not one.max_retries.is_empty for one in keys.values()):
        wanted |= NOT_FINE
    runs = ledger.runs(sweep, states=wanted) if not wanted.isdisjoint(counts) else []
    attempts = ledger.attempts(sweep, runs=[run.run for run in runs]) if runs else []
    return SweepState(
        sweep=ledger.sweep(sweep).sweep,
        keys=keys,
        history=history,
        runs=runs,
        ends=last_ends(attempts, history, {run.run for run in runs}),
        now=utc_now(),
        let_go={
            (attempt.run, attempt.submission): said.job_state
            for attempt, said in history.observed.items()
            if said.job_state in LET_GO
        },
        abandoned=frozenset(number for number, one in history.submissions.items() if _is_abandoned(one)),
        unkept=_unkept(ledger, sweep, history, kept),
        is_with_slurm=is_with_slurm,
        begins=begins,
    )


def _is_abandoned(submission: Submission) -> bool:
    return submission.backend is Backend.LOCAL and submission.job_id is not None and pool_is_gone(submission.job_id)


def _unkept(ledger: Ledger, sweep: str, history: ControlHistory, launches: Collection[int]) -> dict[int, list[int]]:
    unkept: dict[int, list[int]] = {
        number: []
        for number, submission in history.submissions.items()
        if submission.state is SubmissionState.RELEASED
        and submission.keeper is None
        and submission.launch in launches
    }
    if unkept:  # all runs that are not over are read only where a keeper is missing
        for run in ledger.runs(sweep, states=WITH_SLURM):
            if run.submission in unkept:
                unkept[run.submission].append(run.run)
    return {number: runs for number, runs in unkept.items() if runs}


def last_ends(
    attempts: Iterable[Attempt], history: ControlHistory, runs: Collection[int]
) -> dict[int, dict[int, Attempt]]:
    """Run -> submission -> the attempt after which that submission's element did not start again.

    Of an element that died before its task could claim the run only the scheduler tells: that counts, too.
    """
    last: dict[int, dict[int, Attempt]] = {}
    for attempt in attempts:
        _keep_later(last, attempt)
    for place, said in history.observed.items():
        state = _ENDS.get(said.job_state)
        if place.run in runs and state is not None:
            _keep_later(last, _unclaimed(place, state, history.submissions.get(place.submission), said.end))
    return last


# How an attempt ended of which the scheduler alone tells.
_ENDS: Mapping[JobState, AttemptState] = {
    JobState.COMPLETED: AttemptState.LOST,  # for a task that recorded nothing, this means that its end is unknown
    JobState.FAILED: AttemptState.FAILED,
    JobState.TIMEOUT: AttemptState.TIMEOUT,
    JobState.OUT_OF_MEMORY: AttemptState.OUT_OF_MEMORY,
    JobState.CANCELLED: AttemptState.CANCELLED,
    JobState.NODE_FAIL: AttemptState.NODE_FAIL,
    JobState.BOOT_FAIL: AttemptState.BOOT_FAIL,
    JobState.DEADLINE: AttemptState.DEADLINE,
    JobState.PREEMPTED: AttemptState.PREEMPTED,
    JobState.REQUEUED: AttemptState.REQUEUED,
    JobState.LOST: AttemptState.LOST,
}


def _keep_later(last: dict[int, dict[int, Attempt]], attempt: Attempt) -> None:
    known = last.setdefault(attempt.run, {}).get(attempt.submission)
    if known is None or known.restart < attempt.restart:
        last[attempt.run][attempt.submission] = attempt


def _unclaimed(place: AttemptId, state: AttemptState, submission: Submission | None, end: str | None) -> Attempt:
    sweep = submission.sweep if submission is not None else ""
    return Attempt(
        sweep=sweep,
        run=place.run,
        submission=place.submission,
        restart=place.restart,
        state=state,
        ended_at=end,
    )

"""Logs of attempts that ended before Python started: found by what their batch script says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from hpcorch.errors import RecordError
from hpcorch.journal.files import read_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger, find_record
from hpcorch.model.entities import Attempt, Run, Submission, Sweep
from hpcorch.model.states import AttemptState, Backend
from hpcorch.services.logs.paths import LOG_KEY, log_file
from hpcorch.slurm.sbatch.quoting import directives

_EXECUTED_NOTHING = (AttemptState.SKIPPED, AttemptState.SUPERSEDED)


def with_unclaimed_logs(ledger: Ledger, sweep: Sweep, attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts, in their order, those that never took their run with the file that Slurm wrote for them.

    Without one, as after a cancellation in the queue, an attempt stays as it is. Nothing is read where every
    attempt says where its log is.
    """
    found = list(attempts)
    if sweep.backend is not Backend.SLURM or sweep.is_wrapped or not any(map(_never_claimed, found)):
        return found
    with suppress(RecordError, OSError):  # the sweep directory is gone
        places = _Places(find_record(ledger, sweep), sweep, ledger.submissions(sweep.id))
        return [places.filled(one, found) if _never_claimed(one) else one for one in found]
    return found


def with_log(run: Run, attempts: Sequence[Attempt]) -> Run:
    """The run with the log of its latest attempt that has one, if the record names none."""
    if run.log is not None:
        return run
    return replace(run, log=next((one.log for one in reversed(attempts) if one.log is not None), None))


def _never_claimed(attempt: Attempt) -> bool:
    return attempt.log is None and attempt.pid is None and attempt.state not in _EXECUTED_NOTHING


def output_file(ledger: Ledger, layout: SweepLayout, sweep: Sweep, number: int, run: int) -> str:
    """The file that Slurm was told to write a run's output to, or its pattern where that does not tell which.

    :param number: of the submission
    """
    submissions = {one.submission: one for one in ledger.submissions(sweep.id)}
    submission = submissions[number]
    if submission.ends_by_slurm:
        options = {launch.first_run: launch.options for launch in ledger.launches(sweep.id)}
        pattern = str(options[submission.launch].get(LOG_KEY, ""))
    else:
        pattern = _read_pattern(layout, submission.script)
    return log_file(pattern, submission.element(run) or "", name=sweep.name, user=sweep.user) or pattern


class _Places:
    """Where the tasks of a sweep's submissions write."""

    def __init__(self, layout: SweepLayout, sweep: Sweep, submissions: Iterable[Submission]) -> None:
        self._layout = layout
        self._sweep = sweep
        self._submissions = {one.submission: one for one in submissions}
        self._pattern = lru_cache(maxsize=None)(partial(_read_pattern, layout))

    def filled(self, attempt: Attempt, others: Iterable[Attempt]) -> Attempt:
        """The attempt with its log, if that is there; it begins where an earlier attempt ended in the same file."""
        log = self._log(attempt)
        if log is None or not self._layout.present(Path(log)).is_file():
            return attempt
        ends = (
            one.log_end or 0
            for one in others
            if one.log == log and (one.submission, one.restart) < (attempt.submission, attempt.restart)
        )
        return replace(attempt, log=log, log_start=max(ends, default=0))

    def _log(self, attempt: Attempt) -> str | None:
        submission = self._submissions.get(attempt.submission)
        element = None if submission is None else submission.element(attempt.run)
        if submission is None or element is None:
            return None
        pattern = self._pattern(submission.script)
        return log_file(pattern, element, name=self._sweep.name, user=self._sweep.user) if pattern else None


def _read_pattern(layout: SweepLayout, script: str) -> str:
    """Where a batch script of ours says that its output goes; empty if the script is gone."""
    path = layout.present(layout.directory / script)
    try:
        text = read_regular(path).decode("utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return directives(text).get("output", "")

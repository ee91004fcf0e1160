"""Where the output of tasks goes: beside the journals, in ``submitit_folder``, or by sbatch's filename pattern.

In ``submitit_folder`` the files are named as submitit names them, and ``%j`` is the job's id. An attempt that ended
before Python started names no log: its batch script says where that is.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from hpcorch.errors import RecordError
from hpcorch.journal.access import access_in, make_folder
from hpcorch.journal.files import read_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger, find_record
from hpcorch.model.entities import Attempt, Run, Submission, Sweep
from hpcorch.model.states import AttemptState, Backend
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.sbatch.quoting import directives, literal_path

_JOB = "%j"

LOG_KEY = "log"  # among the options of a script's launch: the pattern of its output
_Logged = TypeVar("_Logged", Run, Attempt)
_MARK = re.compile(r"%(\d*)(.)")
_EXECUTED_NOTHING = (AttemptState.SKIPPED, AttemptState.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """The logs of one submission.

    :param folder: ``submitit_folder``, relative to the working directory if it is relative; None for our own
    """

    layout: SweepLayout
    submission: int
    folder: str | None

    def slurm_patterns(self) -> tuple[str, str]:
        """sbatch's filename patterns for standard output and standard error (sbatch(1), FILENAME PATTERN)."""
        if self.folder is None:
            stem = f"{literal_path(str(self.layout.logs))}/s{self.submission}_%a"
            return f"{stem}.log", f"{stem}.err"
        before, *rest = (literal_path(part) for part in str(Path(self.folder).absolute()).split(_JOB))
        stem = "/".join(["%A_%a".join([before, *rest]), "%A_%a_0_log"])
        return f"{stem}.out", f"{stem}.err"

    def local(self, index: int | str) -> tuple[Path, Path]:
        """The files of one task of a local pool, their folder made."""
        if self.folder is None:
            output = self.layout.log(self.submission, index)
            return output, output.with_suffix(".err")
        job = f"s{self.submission}_{index}"
        folder = Path(self.folder.replace(_JOB, job)).absolute()
        make_folder(folder, access=access_in(self.layout.state))
        return folder / f"{job}_0_log.out", folder / f"{job}_0_log.err"

    def make_slurm_folders(self, job_id: str, count: int) -> None:
        """Make the folders that the patterns name: Slurm makes none. Called while the array is still held."""
        if self.folder is None:
            return
        names = {self.folder.replace(_JOB, f"{job_id}_{index}") for index in range(count)}
        for name in sorted(names):
            make_folder(Path(name).absolute(), access=access_in(self.layout.state))


def with_logs(sweep: Sweep, pattern: str, run: Run, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts, each with the file that its output went to where no journal tells.

    Of a script that has begun to write and keeps no journal there is an attempt, too: Slurm tells of it later.

    :param pattern: as sbatch was given it (sbatch(1), FILENAME PATTERN)
    """
    found = log_file(pattern, run.job_id or "", name=sweep.name, user=sweep.user)
    if not attempts and run.submission is not None and found is not None and Path(found).exists():
        attempts = [
            Attempt(
                sweep=sweep.id,
                run=run.run,
                submission=run.submission,
                restart=0,
                state=AttemptState.RUNNING,
                job_id=run.job_id,
                node=run.node,
            )
        ]
    return [replace(one, log=found) if one.log is None else one for one in attempts]


def with_present_log(item: _Logged, layout: SweepLayout) -> _Logged:
    """A run or attempt with the place where its log is now."""
    return item if item.log is None else replace(item, log=str(layout.present(Path(item.log))))


def log_file(pattern: str, job_id: str, *, name: str, user: str) -> str | None:
    """The file that a pattern stands for; None if the record does not tell which.

    :param job_id: ``369``, or ``369_3`` for an element, whose own id is not known
    """
    array, is_element, index = job_id.partition("_")
    known = {"A": array, "a": index, "x": name, "u": user, "%": "%"}
    if not is_element:
        known["j"] = known["J"] = array
    marks = _MARK.findall(pattern)
    if all(letter in known for _, letter in marks):
        return _MARK.sub(lambda mark: known[mark[2]].zfill(int(mark[1] or 0)), pattern)
    looked_for = "".join(_parts(pattern, known))
    matches = glob.glob(looked_for)  # noqa: PTH207 - a pattern of a whole path
    return matches[0] if len(matches) == 1 else None


def _parts(pattern: str, known: dict[str, str]) -> list[str]:
    """The pattern for :mod:`glob`, with ``*`` for what is not known."""
    parts: list[str] = []
    end = 0
    for mark in _MARK.finditer(pattern):
        parts.append(glob.escape(pattern[end : mark.start()]))
        parts.append(glob.escape(known[mark[2]].zfill(int(mark[1] or 0))) if mark[2] in known else "*")
        end = mark.end()
    return [*parts, glob.escape(pattern[end:])]


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
    if submission.is_packed:  # nobody knows which of its tasks would have executed the run
        return pattern
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
        if log is None:
            return attempt
        ends = (
            one.log_end or 0
            for one in others
            if one.log == log and (one.submission, one.restart) < (attempt.submission, attempt.restart)
        )
        return replace(attempt, log=log, log_start=max(ends, default=0))

    def _log(self, attempt: Attempt) -> str | None:
        submission = self._submissions.get(attempt.submission)
        pattern = "" if submission is None else self._pattern(submission.script)
        if submission is None or not pattern:
            return None
        files = (
            log_file(pattern, element, name=self._sweep.name, user=self._sweep.user)
            for element in _elements(submission, attempt.run)
        )
        return next((one for one in files if one and self._layout.present(Path(one)).is_file()), None)


def _elements(submission: Submission, run: int) -> list[str]:
    """The elements that may have begun a run which none has claimed; of a packed array all ended alike."""
    element = submission.element(run)
    if element is None or not submission.is_packed:
        return [] if element is None else [element]
    return [f"{submission.job_id}_{index}" for index in submission.elements]


def _read_pattern(layout: SweepLayout, script: str) -> str:
    """Where a batch script of ours says that its output goes; empty if the script is gone."""
    path = layout.present(layout.directory / script)
    try:
        text = read_regular(path).decode("utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return directives(text).get("output", "")

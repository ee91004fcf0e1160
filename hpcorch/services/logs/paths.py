"""Where the output of tasks goes: beside the journals, in ``submitit_folder``, or by sbatch's filename pattern.

In ``submitit_folder`` the files are named as submitit names them, and ``%j`` is the job's id.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hpcorch.journal.access import access_in, make_folder
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Attempt, Run, Sweep
from hpcorch.model.states import AttemptState
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.sbatch.quoting import literal_path

_JOB = "%j"


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

    def local(self, index: int) -> tuple[Path, Path]:
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


LOG_KEY = "log"  # among the options of a script's launch: the pattern of its output
_Logged = TypeVar("_Logged", Run, Attempt)
_MARK = re.compile(r"%(\d*)(.)")


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

"""Where everything lies on disk. Names are part of the format; nothing else spells them.

::

    <project>/.hpcorch/ledger.db            the ledger; the project is where it is found, walking up
    <project>/.hpcorch/site.yaml            the site profile of the project, where it has one of its own
    <project>/.hpcorch/snapshots/<digest>   one archive per code state, shared by sweeps
    <project>/.hpcorch/digests-<uid>.json   digests of files that need not be read again; may be removed
    <project>/.hpcorch/scripts/<sweep>      the directory of a sweep that is a script or a command of the user's
    <project>/.hpcorch/inbox/<sweep>        names a sweep directory that the ledger has not taken over yet
    <sweep dir>/.hpcorch/
        control.jsonl                       control journal; written under control.lock.<number>
        launch-<first run>/manifest.jsonl    one per launch, immutable
        launch-<first run>/task.pkl          the task function of that launch
        submissions/s<number>-<token>.sbatch  what was handed to sbatch
        journal/<run>.s<submission>.r<restart>.jsonl
        logs/s<submission>_<array index>.log
        results/<attempt>.pkl               results too large for the journal
        checkpoints/<run>/                  checkpoints of one run, of all its attempts
        variables.json                      the environment variables of the launch, for what is submitted later
        tend.lock.<number>, tend.dirty      who looks after the sweep; that there is something to look after
        steps/<attempt>/lock.<number>       of the journal of a script's attempt, whose commands share it
        tasks/s<submission>_<array index>   what a packed task has begun to execute, a line each: place and restart
        asked/<run>.s<submission>           that this run is to end at its next start; see SweepLayout.asked
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from hpcorch.model.ids import AttemptId

STATE_DIR = ".hpcorch"
LEDGER_NAME = "ledger.db"
SITE_NAME = "site.yaml"
LEDGER_VARIABLE = "HPCORCH_LEDGER"
SITE_VARIABLE = "HPCORCH_SITE"

SUBMISSIONS = "submissions"
# Folders that were moved, one after the other: where each was, and where it was then.
Moves: TypeAlias = "tuple[tuple[Path, Path], ...]"

_JOURNAL = ".jsonl"


@dataclass(frozen=True, slots=True)
class SweepLayout:
    """Paths below one sweep directory.

    :param directory: absolute path of the sweep directory
    :param aside: folder below ``.hpcorch`` that the record was set aside in, when another sweep took the directory
    :param moves: folders that were moved since the sweep was recorded: where each was, and where it is
    """

    directory: Path
    aside: str | None = None
    moves: Moves = ()

    @property
    def state(self) -> Path:
        state = self.directory / STATE_DIR
        return state if self.aside is None else state / self.aside

    @property
    def control(self) -> Path:
        return self.state / "control.jsonl"

    @property
    def lock(self) -> Path:
        return self.state / "control.lock"

    @property
    def environment(self) -> Path:
        return self.state / "variables.json"

    @property
    def tend_lock(self) -> Path:
        return self.state / "tend.lock"

    @property
    def tend_mark(self) -> Path:
        return self.state / "tend.dirty"

    @property
    def journals(self) -> Path:
        return self.state / "journal"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def results(self) -> Path:
        return self.state / "results"

    def asked(self, run: int, submission: int) -> Path:
        """The mark of a running element that was asked to save a checkpoint and end.

        The request itself is in the control journal. An element that Slurm starts again looks for its mark, since
        reading that journal would cost each of thousands of restarts megabytes.
        """
        return self.state / "asked" / f"{run}.s{submission}"

    def task_list(self, submission: int, array_index: int) -> Path:
        """The runs that a packed task has begun to execute."""
        return self.state / "tasks" / f"s{submission}_{array_index}"

    def checkpoints(self, run: int) -> Path:
        return self.state / "checkpoints" / str(run)

    def launch(self, first_run: int) -> Path:
        return self.state / f"launch-{first_run:06d}"

    def manifest(self, first_run: int) -> Path:
        return self.launch(first_run) / "manifest.jsonl"

    def task(self, first_run: int) -> Path:
        return self.launch(first_run) / "task.pkl"

    def script(self, submission: int, token: str) -> Path:
        """What is handed to sbatch. Slurm shows its path, and so the token, also at sites that rewrite comments."""
        return self.state / SUBMISSIONS / f"s{submission}-{token}.sbatch"

    def keeper_script(self, submission: int) -> Path:
        return self.state / SUBMISSIONS / f"s{submission}-keeper.sbatch"

    def journal(self, attempt: AttemptId) -> Path:
        return self.journals / f"{attempt}{_JOURNAL}"

    def steps_lock(self, attempt: AttemptId) -> Path:
        """In a folder of its own, since whoever takes a lock lists its folder."""
        return self.state / "steps" / str(attempt) / "lock"

    def attempts(self) -> list[AttemptId]:
        """The attempts that have a journal, in order.

        :raises OSError: the folder cannot be read
        """
        return sorted(attempt for path in self.journals.iterdir() if (attempt := _attempt_of(path)) is not None)

    def log(self, submission: int, array_index: int | str) -> Path:
        return self.logs / f"s{submission}_{array_index}.log"

    def set_aside_records(self) -> list[SweepLayout]:
        """The records of earlier sweeps in the same directory, the latest first."""
        folders = sorted((self.directory / STATE_DIR).glob("earlier-*"), reverse=True)
        return [replace(self, aside=folder.name) for folder in folders]

    def present(self, recorded: Path) -> Path:
        """Where a file is now, whose path was recorded before it was moved, or the record set aside."""
        recorded = moved(recorded, self.moves)
        home = replace(self, aside=None).state
        return self.state / recorded.relative_to(home) if recorded.is_relative_to(home) else recorded

    @property
    def words(self) -> list[str]:
        """What names it on the command line of a job."""
        return [str(self.directory), *(word for old, new in self.moves for word in ("--moved", str(old), str(new)))]

    def relative(self, path: Path) -> str:
        """A path as events store it: relative to the sweep directory."""
        return os.path.relpath(path, self.directory)


def moved(recorded: Path, moves: Moves) -> Path:
    """Where a path leads that was recorded before folders were moved."""
    for old, new in moves:
        is_there = new.is_relative_to(old) and recorded.is_relative_to(new)
        if recorded.is_relative_to(old) and not is_there:
            recorded = new / recorded.relative_to(old)
    return recorded


def _attempt_of(path: Path) -> AttemptId | None:
    """The attempt whose journal has this path; None if it is no journal's."""
    try:
        return AttemptId.parse(path.stem) if path.suffix == _JOURNAL else None
    except ValueError:
        return None


def inbox_folder(ledger: Path) -> Path:
    """Where sweeps are announced that a ledger has not taken over yet."""
    return ledger.parent / "inbox"


def scripts_folder(ledger: Path) -> Path:
    """Where the sweeps lie that are scripts or commands of the user's, each in a directory of its own."""
    return ledger.parent / "scripts"


def snapshots_folder(state: Path) -> Path:
    """Where snapshots of code lie in a folder of hpcorch's, each under its digest."""
    return state / "snapshots"


def digest_cache(state: Path) -> Path:
    """The file in the same folder that remembers digests of the code's files, for one user: nobody relies on
    another's."""
    return state / f"digests-{os.geteuid()}.json"

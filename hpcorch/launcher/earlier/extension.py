"""A sweep that a launch adds runs to, as ``hpcorch extend`` asks for, and what of a grid it has already."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcorch.errors import DriftError, UnavailableError, UsageError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.launcher.composing.composition import Composition
from hpcorch.launcher.earlier.reuse_report import changes_of_code
from hpcorch.ledger.store import Ledger
from hpcorch.model.counts import counted
from hpcorch.model.drift import Aspect, Policy
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import CodeFrozen
from hpcorch.model.keys.kinds import USUAL_POLICIES
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import EXTENDS_VARIABLE
from hpcorch.model.states import Backend
from hpcorch.services.recording.freeze import FrozenProgram
from hpcorch.services.tending.ownership import is_own
from hpcorch.services.tending.reconcile import Reconciler

log = logging.getLogger(__name__)


_asked: list[str] = []  # what this process was called for


def asked_for(function: str, ordinal: int) -> str | None:
    """The id of the sweep that this process is to add runs to; the processes that it starts are not told.

    :param function: the name of the task function that a sweep is launched of
    :param ordinal: which of this process's sweeps of that function it is, from 0
    :raises UsageError: the process is to extend another sweep
    """
    if (asked := os.environ.pop(EXTENDS_VARIABLE, None)) is not None:
        _asked.append(asked)
    if not _asked:
        return None
    sweep, _, wanted = _asked[-1].partition(" ")
    if (function, ordinal) != (wanted, 0):
        raise UsageError(
            f"runs are to be added to sweep {sweep}, and the program launches another one of {function}: launch"
            " what you want to add as a sweep of its own"
        )
    return sweep


@dataclass(slots=True, kw_only=True)
class Present:
    """The runs that a sweep has, each of which stands for one combination of a grid.

    A combination is there if a run has the configuration that it gives; or the same overrides, since what a
    configuration has of the run's number or of the time differs each time.

    :param runs: of the sweep, from the first
    """

    runs: Sequence[Run]
    _by_digest: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _by_overrides: dict[frozenset[str], list[int]] = field(default_factory=lambda: defaultdict(list))
    _found: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for run in reversed(self.runs):
            self._by_digest[run.config_digest].append(run.run)
            self._by_overrides[frozenset(run.overrides)].append(run.run)

    @property
    def found(self) -> int:
        """How many runs have stood for a combination so far."""
        return len(self._found)

    def has(self, composition: Composition) -> bool:
        """Whether a run stands for it that has stood for no other."""
        candidates = (
            self._by_digest.get(composition.config_digest, []),
            self._by_overrides.get(frozenset(composition.task_overrides), []),
        )
        for indices in candidates:
            while indices:
                if (index := indices.pop()) not in self._found:
                    self._found.add(index)
                    return True
        return False


@dataclass(slots=True, kw_only=True)
class ExtendedSweep:
    """A sweep that runs are added to.

    :param code: of its latest launch; None if none was recorded
    :ivar next_run: the index of the next run that is added
    """

    sweep: Sweep
    present: Present
    code: CodeFrozen | None
    next_run: int

    @classmethod
    def find(
        cls, sweep: str, layout: SweepLayout, ledger_path: Path, *, backend: Backend, seed: int | None
    ) -> ExtendedSweep:
        """The sweep as it is on record now.

        :param layout: of the directory that the launch would write to
        :param backend: of the launch
        :param seed: the root seed that it asks for, if any
        :raises UsageError: runs cannot be added to it
        :raises NotFoundError: the ledger does not know it
        """
        if owner(layout) != sweep:
            raise UsageError(
                f"{layout.directory} does not hold the record of sweep {sweep}, so none is added to it"
            )
        with Ledger.open(ledger_path, write=True) as ledger:
            Reconciler(ledger, ControlJournal(layout, sweep)).ingest()
            known = ledger.sweep(sweep).sweep
            codes = [fact for fact in ledger.facts(sweep, CodeFrozen) if isinstance(fact, CodeFrozen)]
            present = Present(runs=ledger.runs(sweep))
            next_run = _next_run(ledger, sweep)
        if not is_own(known, layout):
            raise UsageError(f"sweep {sweep} is {known.user}'s: launch a sweep of your own")
        if backend is not known.backend:
            raise UsageError(f"sweep {sweep} is of the launcher hpcorch_{known.backend.value}, and keeps it")
        if seed not in (None, known.root_seed):
            raise UsageError(
                f"hydra.launcher.seed={seed} is not the root seed of sweep {sweep}, which is {known.root_seed}:"
                " leave it out"
            )
        return cls(sweep=known, present=present, code=codes[-1] if codes else None, next_run=next_run)

    @property
    def occurrences(self) -> Counter[str]:
        """Digest of a configuration -> how many runs have it."""
        return Counter(run.config_digest for run in self.present.runs)

    def told(self, lacking: int) -> str:
        """What is to be said of a grid of which so many runs are lacking."""
        found = self.present.found
        there = f"sweep {self.sweep.id} has {found} of the {counted(found + lacking, 'run')} of this grid"
        return f"{there}; nothing is added" if not lacking else f"{there}; {counted(lacking, 'run')} to add"

    def check_code(self, frozen: FrozenProgram, keys: LaunchKeys) -> None:
        """Runs of one sweep are to be compared, so that they have other code is treated as drift of code is.

        :raises DriftError: the policy is to refuse it
        """
        if self.code is None or self.code.digest == frozen.code.digest:
            return
        policy = Policy(keys.drift.get(Aspect.CODE.value, USUAL_POLICIES[Aspect.CODE.value]))
        told = (
            f"the code is not that of the runs that sweep {self.sweep.id} has:"
            f" {changes_of_code(self.code, frozen.snapshot)}"
        )
        if policy is Policy.REFUSE:
            raise DriftError(
                f"{told}. Put it back, launch a sweep of its own, or add hydra.launcher.drift.code=warn to mix both"
            )
        if policy is Policy.WARN:
            log.warning("%s", told[0].upper() + told[1:])

    def check_directories(self, directories: Iterable[str]) -> None:
        """Two runs do not share a directory.

        :raises UsageError: a run of the sweep has one of them
        """
        theirs = {run.directory: run.run for run in self.present.runs}
        for directory in directories:
            if directory in theirs:
                raise UsageError(
                    f"{directory} is the directory of run {theirs[directory]} of sweep {self.sweep.id}, which has"
                    " another configuration: give hydra.sweep.subdir a name that all runs have to themselves"
                )

    def check_alone(self, ledger: Ledger) -> None:
        """Within the sweep's lock: nobody else has added runs since it was looked at.

        :raises UnavailableError: somebody has
        """
        if _next_run(ledger, self.sweep.id) != self.next_run:
            raise UnavailableError(
                f"another process has added runs to sweep {self.sweep.id} meanwhile: none was added here, try again"
            )

    def added(self, count: int) -> None:
        """Runs were put on record."""
        self.next_run += count


def _next_run(ledger: Ledger, sweep: str) -> int:
    return max((launch.first_run + launch.count for launch in ledger.launches(sweep)), default=0)

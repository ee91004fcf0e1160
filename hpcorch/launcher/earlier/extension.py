"""A sweep that a launch adds runs to, as ``hpcorch extend`` asks for, and what of a grid it has already."""

from __future__ import annotations

import atexit
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hpcorch.errors import DriftError, UnavailableError, UsageError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.launcher.composing.composition import Composition
from hpcorch.launcher.earlier.reuse_report import changes_of_code
from hpcorch.ledger.store import Ledger
from hpcorch.model.drift import Aspect, Policy
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import CodeFrozen
from hpcorch.model.ids import named_runs
from hpcorch.model.keys.kinds import USUAL_POLICIES
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import NOT_FINE, Backend, RunState
from hpcorch.model.value_text import counted, quoted, shortened
from hpcorch.model.values import patched, same
from hpcorch.services.recording.freeze import FrozenProgram
from hpcorch.services.tending.ownership import is_own
from hpcorch.services.tending.reconcile import Reconciler

log = logging.getLogger(__name__)

_NAMED: Final = 3  # keys
_WIDEST: Final = 40  # characters of a value


def keep_multirun(sweep_dir: Path) -> Callable[[], None]:
    """Keep the ``multirun.yaml`` that Hydra writes at each call: it tells of the call that began the sweep.

    :return: puts it back; it is put back when this process ends, too
    """
    file = sweep_dir / "multirun.yaml"
    try:
        content = file.read_bytes()
    except OSError:
        return lambda: None

    def put_back() -> None:
        with suppress(OSError):
            if file.read_bytes() != content:
                file.write_bytes(content)

    atexit.register(put_back)
    return put_back


@dataclass(slots=True, kw_only=True)
class Present:
    """The runs that a sweep has, each of which stands for one combination of a grid.

    :param runs: of the sweep, from the first
    :ivar found: those that have stood for a combination so far
    :ivar other: those of them that have the same overrides, and another configuration than that gives now
    """

    runs: Sequence[Run]
    found: dict[int, Run] = field(default_factory=dict)
    other: list[tuple[Run, Composition]] = field(default_factory=list)
    _by_digest: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    _by_overrides: dict[frozenset[str], list[Run]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for run in reversed(self.runs):
            self._by_digest[run.config_digest].append(run)
            self._by_overrides[frozenset(run.overrides)].append(run)

    def has(self, composition: Composition) -> bool:
        """Whether a run stands for it that has stood for no other."""
        if self._takes(self._by_digest.get(composition.config_digest)) is not None:
            return True
        alike = self._takes(self._by_overrides.get(frozenset(composition.task_overrides)))
        if alike is not None:
            self.other.append((alike, composition))
        return alike is not None

    def _takes(self, runs: list[Run] | None) -> Run | None:
        while runs:
            if (run := runs.pop()).run not in self.found:
                self.found[run.run] = run
                return run
        return None


@dataclass(slots=True, kw_only=True)
class ExtendedSweep:
    """A sweep that runs are added to.

    :param codes: of its launches
    :param next_run: the index of the next run that is added
    """

    sweep: Sweep
    present: Present
    codes: Sequence[CodeFrozen]
    next_run: int
    _added: int = 0

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
            after = next_run(ledger, sweep)  # first: what is added from now on is then found by check_alone
            present = Present(runs=ledger.runs(sweep))
        if not is_own(known, layout):
            raise UsageError(f"sweep {sweep} is {known.user}'s: launch a sweep of your own")
        if backend is not known.backend:
            raise UsageError(f"sweep {sweep} is of the launcher hpcorch_{known.backend.value}, and keeps it")
        if seed not in (None, known.root_seed):
            raise UsageError(
                f"hydra.launcher.seed={seed} is not the root seed of sweep {sweep}, which is {known.root_seed}:"
                " leave it out"
            )
        return cls(sweep=known, present=present, codes=codes, next_run=after)

    @property
    def occurrences(self) -> Counter[str]:
        """Digest of a configuration -> how many runs have it."""
        return Counter(run.config_digest for run in self.present.runs)

    def told(self, lacking: int) -> str:
        """What is to be said of a grid of which so many runs are lacking."""
        found = self.present.found.values()
        total = counted(len(found) + self._added + lacking, "run")
        what = f"{counted(lacking, 'run')} to add" if lacking else "nothing is added"
        told = f"sweep {self.sweep.id} had {len(found)} of the {total} of this grid; {what}"
        if failed := [run.run for run in found if run.state in NOT_FINE or run.state is RunState.PLANNED]:
            told += f". {named_runs(failed).capitalize()} did not complete: `hpcorch retry {self.sweep.id}`"
        return told

    def check_code(self, frozen: FrozenProgram, keys: LaunchKeys) -> None:
        """Runs of one sweep are to be compared, so that they have other code is treated as drift of code is.

        :raises DriftError: the policy is to refuse it
        """
        other = next((code for code in self.codes if code.digest != frozen.code.digest), None)
        if other is not None:
            _found(
                Aspect.CODE,
                f"the code is not what run {other.launch} of sweep {self.sweep.id} has:"
                f" {changes_of_code(other, frozen.snapshot)}",
                keys,
            )

    def check_configurations(self, ledger: Ledger, keys: LaunchKeys) -> None:
        """So is a configuration that the same overrides do not give any more.

        :raises DriftError: the policy is to refuse it
        """
        if not self.present.other:
            return
        from hpcorch.services.audit.diff import leaves  # seldom

        run, composition = self.present.other[0]
        was = leaves(ledger.config(run.sweep, run.run))
        now = leaves(patched(composition.base.config, composition.changes))
        keys_changed = [key for key in {**was, **now} if not same(was.get(key), now.get(key))]
        named = ", ".join(f"{key} was {_shown(was, key)}, now {_shown(now, key)}" for key in keys_changed[:_NAMED])
        _found(
            Aspect.CONFIGURATION,
            f"run {run.run} of sweep {self.sweep.id} has the overrides of a run of this grid, and another"
            f" configuration: {named}",
            keys,
        )

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
        if next_run(ledger, self.sweep.id) != self.next_run:
            raise UnavailableError(
                f"another process has added runs to sweep {self.sweep.id} meanwhile: none was added here, try again"
            )

    def added(self, count: int) -> None:
        """Runs were put on record."""
        self.next_run += count
        self._added += count


def next_run(ledger: Ledger, sweep: str) -> int:
    """The index that the next run of a sweep gets."""
    return max((launch.first_run + launch.count for launch in ledger.launches(sweep)), default=0)


def _found(aspect: Aspect, told: str, keys: LaunchKeys) -> None:
    """Drift was found: do about it what the launch says.

    :raises DriftError: that is to refuse it
    """
    policy = Policy(keys.drift.get(aspect.value, USUAL_POLICIES[aspect.value]))
    if policy is Policy.REFUSE:
        raise DriftError(
            f"{told}. Put it back, launch a sweep of its own, or add hydra.launcher.drift.{aspect.value}=warn to"
            " mix both"
        )
    if policy is Policy.WARN:
        log.warning("%s", told[0].upper() + told[1:])


def _shown(values: Mapping[str, Any], key: str) -> str:
    return shortened(quoted(values[key]), _WIDEST) if key in values else "not there"

"""A process that stands still while it holds a lock, and goes on after another has taken it over.

It stands still before each line in turn of what journals, locks, the ledger and the throttles do. Whatever it does
afterwards, what the others have stored meanwhile stays, and what it says that it has stored is there.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lock import LockLostError, leave_behind
from hpcorch.journal.reader import read_segment
from hpcorch.ledger import Ledger
from hpcorch.ledger.file import LedgerFile
from hpcorch.ledger.schema.connection import lock_of
from hpcorch.ledger.writing.ingest import record
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.resources.throttle_files import ThrottleFiles
from hpcorch.services.exec import journals
from hpcorch.services.exec.journals import StepJournal
from hpcorch.services.throttling.state import Entry, read_state
from hpcorch.services.throttling.throttles import Throttles
from tests.support import processes, standing_still
from tests.support.events import small_sweep
from tests.support.memory_slurm import MemorySlurm
from tests.support.sweeps import SWEEP
from tests.support.tuning import Tune

STEP = 1 if "HPCORCH_EXAMPLES" in os.environ else 13
AT_ONCE = 12
PARTS = ("hpcorch/journal/", "hpcorch/ledger/file", "hpcorch/ledger/schema/connection", "services/throttling/")
LOST = 3
ATTEMPT = AttemptId(run=0, submission=0, restart=0)


@pytest.fixture(autouse=True)
def quick(tune: Tune) -> None:
    tune(LOCK_LEASE_S=0.6, LOCK_WATCH_S=0.2, LOCK_AGE_POLL_S=0.05, LOCK_DECIDED_S=0.1, LOCK_WAIT_S=60)


@dataclass(frozen=True)
class Record(ABC):
    """Something that two processes write under a lock."""

    folder: Path

    @abstractmethod
    def prepare(self) -> None:
        """What was there before."""

    @property
    @abstractmethod
    def lock(self) -> Path:
        """The lock that it is written under."""

    @abstractmethod
    def note(self, *names: str, pause: Callable[[], None] = lambda: None) -> None:
        """Store some names.

        :param pause: called in the middle
        """

    @abstractmethod
    def noted(self) -> list[str]:
        """The names that are stored, in any order; raises if the record is damaged."""


def _refuse(said: str) -> None:
    raise LockLostError(said)


def _noted_in(journal: Path) -> list[str]:
    segment = read_segment(journal, sweep="", source="", offset=0)
    assert segment.rest == 0
    assert [event.seq for event in segment.events] == list(range(len(segment.events)))
    facts = [event.fact for event in segment.events]
    return [fact.user for fact in facts if isinstance(fact, ev.ControlRequested)] + [
        fact.argv[0] for fact in facts if isinstance(fact, ev.CommandStarted)
    ]


class ControlRecord(Record):
    """A sweep's control journal."""

    @property
    def _journal(self) -> ControlJournal:
        return ControlJournal(SweepLayout(self.folder), SWEEP)

    def prepare(self) -> None:
        self._journal.layout.state.mkdir(parents=True)
        self.note("before")

    @property
    def lock(self) -> Path:
        return self._journal.layout.lock

    def note(self, *names: str, pause: Callable[[], None] = lambda: None) -> None:
        journal = self._journal
        with journal.locked():
            for name in names:
                fact = ev.ControlRequested(submission=0, action="hold", runs="0", user=name, uid=0, host="here")
                journal.append(fact, durable=True)
                pause()

    def noted(self) -> list[str]:
        return _noted_in(self._journal.layout.control)


class StepsRecord(Record):
    """The journal of a script's attempt, which several commands write."""

    @property
    def _layout(self) -> SweepLayout:
        return SweepLayout(self.folder)

    def prepare(self) -> None:
        self._layout.journals.mkdir(parents=True)
        self.lock.parent.mkdir(parents=True)

    @property
    def lock(self) -> Path:
        return self._layout.steps_lock(ATTEMPT)

    def note(self, *names: str, pause: Callable[[], None] = lambda: None) -> None:
        journals.say = _refuse  # a command goes on without its record, and says so
        journal = StepJournal(self._layout, ATTEMPT, lambda: ev.AttemptClaimed(host="here", pid=1), ranks=1)

        def started(step: int, name: str) -> ev.CommandStarted:
            pause()
            return ev.CommandStarted(step=step, argv=[name], cwd="/", host="here", pid=1)

        for name in names:
            journal.start(partial(started, name=name))

    def noted(self) -> list[str]:
        return _noted_in(self._layout.journal(ATTEMPT))


class LedgerRecord(Record):
    """A ledger."""

    @property
    def _path(self) -> Path:
        return self.folder / "ledger.db"

    def prepare(self) -> None:
        self.folder.mkdir()
        with Ledger.open(self._path, write=True, create=True) as ledger:
            small_sweep(ledger)

    @property
    def lock(self) -> Path:
        return lock_of(self._path)

    def note(self, *names: str, pause: Callable[[], None] = lambda: None) -> None:
        with LedgerFile(self._path, write=True).opened() as connection:
            for name in names:
                fact = ev.DirectoryRemoved(directory="/sweep", files=0, size=0, user=name, uid=0, host="here")
                record(connection, SWEEP, [fact])
                pause()

    def noted(self) -> list[str]:
        with Ledger.open(self._path) as ledger:
            assert ledger.check(deep=True) == []
            rows = ledger.query("SELECT json_extract(body, '$.user') FROM events WHERE kind = 'directory-removed'")
        return [str(name) for (name,) in rows.rows]


class ThrottlesRecord(Record):
    """What is known of a user's throttled arrays."""

    @property
    def _throttles(self) -> Throttles:
        return Throttles(self.folder, "lab", MemorySlurm())

    def prepare(self) -> None:
        (self.folder / "lab").mkdir(parents=True)

    @property
    def lock(self) -> Path:
        return ThrottleFiles(self.folder / "lab").lock

    def note(self, *names: str, pause: Callable[[], None] = lambda: None) -> None:
        entry = partial(Entry, sweep="", directory="/sweep", submission=0, units={"disk": 1})
        for name in names:
            self._throttles.admit(entry(job_id=name, token=f"{name:0>32}"))
            pause()

    def noted(self) -> list[str]:
        return list(read_state(ThrottleFiles(self.folder / "lab").state).entries)


RECORDS = [ControlRecord, StepsRecord, LedgerRecord, ThrottlesRecord]
OTHERS = ("101", "102", "103")


@dataclass(frozen=True)
class Trial:
    """One record, one place to stand still at, and how the one ended who stood there."""

    record: Record
    place: int
    pid: int

    @classmethod
    def begin(cls, record: Record, place: int, *, after_a_dead_one: bool) -> Trial:
        record.prepare()
        if after_a_dead_one:
            for file in record.lock.parent.glob(f"{record.lock.name}.*"):
                file.unlink()
            leave_behind(record.lock)

        def work() -> None:
            try:
                standing_still.stopping_at(place, PARTS, lambda: record.note("7"))
            except LockLostError:
                os._exit(LOST)

        return cls(record=record, place=place, pid=processes.in_another_process(work))

    def follow(self) -> None:
        """Take the lock over and store names; after the first of them the other goes on."""
        paused = False

        def pause() -> None:
            nonlocal paused
            if not paused:
                paused = True
                standing_still.go_on(self.pid, for_s=0.3)

        self.record.note(*OTHERS, pause=pause)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("after_a_dead_one", [False, True], ids=["free", "after a dead one"])
@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_who_stood_still_and_goes_on_destroys_nothing(
    kind: type[Record], after_a_dead_one: bool, tmp_path: Path
) -> None:
    lost = stood = 0
    places = standing_still.places(1, STEP)
    while True:
        trials = [
            Trial.begin(kind(tmp_path / str(place)), place, after_a_dead_one=after_a_dead_one)
            for place in islice(places, AT_ONCE)
        ]
        stopped = [trial for trial in trials if standing_still.has_stopped(trial.pid)]
        followers = [processes.in_another_process(trial.follow) for trial in stopped]
        for trial, follower in zip(stopped, followers, strict=True):
            assert processes.exit_code(follower) == 0
            code = processes.exit_code(trial.pid)
            where = f"stood still at place {trial.place}, exit code {code}"
            assert code in (0, LOST), where
            noted = trial.record.noted()
            assert set(OTHERS) <= set(noted), where
            assert len(noted) == len(set(noted)), where
            assert code == LOST or "7" in noted, where
            lost += code == LOST
        stood += len(stopped)
        if len(stopped) < len(trials):
            break
    assert stood > 0
    assert lost > 0, "it never had the lock when it stood still"

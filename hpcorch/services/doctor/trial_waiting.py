"""Waiting for what the trial jobs of ``doctor`` find: for their files often, for Slurm seldom."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from hpcorch import tunables
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.doctor import trial as task
from hpcorch.services.doctor.locks import KINDS, LockFight, counted, refresh
from hpcorch.services.doctor.trial import NodeFacts
from hpcorch.services.site.user_limits import tried
from hpcorch.services.tending.wait import Pauses
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.protocol import SlurmClient


@dataclass(slots=True, kw_only=True)
class Trial:
    """What became of one job.

    :param started: the node that its script began on, before Python; None if it did not
    :param facts: what Python found there; None if it did not get so far
    :param ahead_s: seconds by which the node's clock is ahead of this host's
    :param within_s: how exactly that is known
    :param locks: how it fared with the kinds of locks; None if it did not come to that
    :param row: the job as Slurm showed it last; None if that was not asked, or Slurm does not know it any more
    :param log: the end of what it wrote
    """

    name: str
    job_id: str
    token: str
    started: str | None = None
    facts: NodeFacts | None = None
    ahead_s: float | None = None
    within_s: float = 0.0
    locks: Mapping[str, LockFight] | None = None
    row: QueueRow | None = None
    log: str = ""
    is_done: bool = False
    over_since: float | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will come of it."""
        return self.is_done or (
            self.over_since is not None and time.monotonic() > self.over_since + tunables.TRIAL_LATE_S
        )


@dataclass(slots=True, kw_only=True)
class Trials:
    """What became of all of them.

    :param hello: what the login side wrote for them to read
    :param refused: why Slurm did not take one
    :param numbers: kind of lock -> the number that was reached while two fought for it
    """

    hello: str
    trials: list[Trial] = field(default_factory=list)
    refused: str | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)


class Waiting:
    """Fills in what became of the jobs.

    :param folder: where they write
    :param deadline: by the monotonic clock
    """

    def __init__(self, trials: Trials, client: SlurmClient, folder: Path, deadline: float) -> None:
        self._trials = trials
        self._client = client
        self._folder = folder
        self._deadline = deadline
        self._pauses = Pauses(first_s=tunables.TRIAL_SLURM_PAUSES_S[0], limit_s=tunables.TRIAL_SLURM_PAUSES_S[1])
        self._next_look = time.monotonic() + self._pauses.take()

    def run(self) -> None:
        """Until all has come that will come, or the time is over."""
        trials = self._trials.trials
        self._wait_for_facts(trials)
        if any(trial.facts is None and trial.row is None for trial in trials):
            self._ask_slurm()  # why nothing came of it in the time that there was
        present = [trial for trial in trials if trial.facts is not None]
        if present:
            self._let_go(present)
        for trial in trials:
            trial.log = _tail(self._folder / f"{trial.name}.log")
        self._trials.numbers = {kind: counted(self._folder, kind) for kind in KINDS}

    def _wait_for_facts(self, trials: Sequence[Trial]) -> None:
        """Wait for the first one's, then for the others' only as long as the first one waits for the word."""
        self._look(self._read_facts, trials, self._deadline, until=_any_has_facts)
        # Before the task gives up waiting for it: it gets the word though the other one has not started.
        patience = min(self._deadline, time.monotonic() + tunables.TRIAL_WAIT_S - 15.0)
        self._look(self._read_facts, trials, patience, until=_all(_has_facts))

    def _let_go(self, present: Sequence[Trial]) -> None:
        said = time.time()
        task.write_json(self._folder / task.GO, [trial.name for trial in present])
        self._look(lambda trial: self._read_time(trial, said), present, self._deadline, until=_all(_has_time))
        if len(present) > 1:
            self._look(self._read_locks, present, self._deadline, until=_all(_has_fought))
        for trial in present:
            trial.is_done = trial.locks is not None or (len(present) == 1 and trial.ahead_s is not None)

    def _read_facts(self, trial: Trial) -> None:
        trial.started = trial.started or _tail(self._folder / f"{trial.name}.started") or None
        if trial.facts is None and (plain := task.read_json(task.facts_file(self._folder, trial.name))):
            trial.facts = NodeFacts.from_plain(plain)

    def _read_time(self, trial: Trial, said: float) -> None:
        if trial.ahead_s is None:
            node = task.read_json(task.clock_file(self._folder, trial.name))
            if node is not None:
                heard = time.time()
                trial.ahead_s, trial.within_s = float(node) - (said + heard) / 2, (heard - said) / 2

    def _read_locks(self, trial: Trial) -> None:
        if trial.locks is None:
            trial.locks = task.read_locks(self._folder, trial.name)

    def _look(
        self,
        read: Callable[[Trial], None],
        trials: Sequence[Trial],
        deadline: float,
        *,
        until: Callable[[Sequence[Trial]], bool],
    ) -> None:
        """Read what each trial has written, again and again, until that is enough or the time is over."""
        pauses = Pauses(
            first_s=tunables.TRIAL_FILE_PAUSES_S[0], limit_s=tunables.TRIAL_FILE_PAUSES_S[1], factor=1.1
        )
        while True:
            for trial in trials:
                read(trial)
            if until(trials) or time.monotonic() >= deadline:
                return
            time.sleep(pauses.take())
            refresh(self._folder, "login")
            if time.monotonic() >= self._next_look:
                self._ask_slurm()
                self._next_look = time.monotonic() + self._pauses.take()

    def _ask_slurm(self) -> None:
        rows = tried(lambda: self._client.queue([trial.job_id for trial in self._trials.trials]))
        if rows is None:  # Slurm does not answer now
            return
        known = {row.job_id: row for row in rows}
        for trial in self._trials.trials:
            trial.row = known.get(trial.job_id, trial.row)
            over = trial.job_id not in known or (trial.row is not None and trial.row.state.is_final)
            if over and trial.over_since is None:
                trial.over_since = time.monotonic()


def _has_facts(trial: Trial) -> bool:
    return trial.facts is not None


def _has_time(trial: Trial) -> bool:
    return trial.ahead_s is not None


def _has_fought(trial: Trial) -> bool:
    return trial.locks is not None


def _any_has_facts(trials: Sequence[Trial]) -> bool:
    return any(map(_has_facts, trials)) or all(trial.is_over for trial in trials)


def _all(has: Callable[[Trial], bool]) -> Callable[[Sequence[Trial]], bool]:
    """Whether all have it, or will never have."""
    return lambda trials: all(has(trial) or trial.is_over for trial in trials)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - tunables.LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""

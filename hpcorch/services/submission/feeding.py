"""Submitting the runs of a launch as Slurm accepts them, within the limits of the user and of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpcorch import tunables
from hpcorch.errors import SubmitLimitError
from hpcorch.journal.control import ControlHistory, ControlJournal
from hpcorch.model.events import FeedingPlanned
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.site.user_limits import user_limits
from hpcorch.services.submission.arrays import KEEPERS, ArrayPlan, Portions, SubmitRoom, portions
from hpcorch.services.submission.request import Request
from hpcorch.services.submission.submit import SubmittedRuns, submit_array
from hpcorch.slurm import commands
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedResult:
    """What was submitted, and how many runs wait until Slurm takes them."""

    arrays: tuple[SubmittedRuns, ...]
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """Submits runs of one launch.

    :param keys: of the launch
    :param request: makes the request for an array
    """

    journal: ControlJournal
    launch: int
    client: SlurmClient
    profile: Profile
    keys: LaunchKeys
    request: Callable[[ArrayPlan], Request]

    def feed(self, runs: Mapping[int, LaunchKeys], *, alone: bool) -> FeedResult:
        """Submit what fits. The rest is recorded as waiting before anything is submitted.

        The runs of several arrays wait, too: whoever comes next goes on if this process dies between two of them,
        or if Slurm refuses one. Nobody else submits meanwhile; runs that somebody else has submitted or given up
        before are left out.

        :param runs: run -> what it asks for
        :param alone: no array of the sweep is with Slurm
        :raises SubmissionRejectedError: Slurm refused a portion for another reason than a limit
        :raises UnavailableError: Slurm does not answer, or it could not be recorded
        """
        with self.journal.locked():
            return self._feed(runs, alone=alone)

    def _feed(self, runs: Mapping[int, LaunchKeys], *, alone: bool) -> FeedResult:
        history = self.journal.history()
        left = history.untouched(runs)  # of a launch that seemed dead others may have seen to some
        runs = {run: keys for run, keys in runs.items() if run in left}
        arrays: list[SubmittedRuns] = []
        if self.launch in history.feeding and history.feeding[self.launch] is None and not alone:
            return FeedResult(
                arrays=(), waiting=len(runs)
            )  # how much is free is unknown: one array after the other
        limit = self._first_limit(history, len(runs))
        room = self._room(limit, history, most=self._most(history))
        while runs:
            chosen, waiting = portions(runs, room, alone=alone)
            if waiting or len(chosen) > 1:
                history = self._plan_feeding(limit, history)
            refused = self._submit(chosen, arrays)
            done = {run for array in arrays for run in array.runs}
            runs = {run: keys for run, keys in runs.items() if run not in done}
            if not refused:
                break
            limit = self._limit_that_refused(refused)
            history = self._plan_feeding(limit, history)
            if arrays or not alone or refused == 1:
                break  # continued when an array is over
            # What is free may be less than the limit says: others submit, too, and group limits are shared.
            room = self._room(limit, history, most=refused // 2)
        return FeedResult(arrays=tuple(arrays), waiting=len(runs))

    def plan(self, runs: Mapping[int, LaunchKeys]) -> Portions:
        """What a first feeding would submit now. Nothing is done.

        :raises SlurmUnavailableError: Slurm does not answer
        """
        known = self.journal.layout.control.exists()  # of a dry run nothing is on disk
        history = self.journal.history() if known else None
        return portions(runs, self._room(self._limit(), history), alone=True)

    def _submit(self, chosen: Sequence[ArrayPlan], arrays: list[SubmittedRuns]) -> int:
        """Submit portions until one meets a limit; the size of that one, 0 if there was none."""
        for portion in chosen:
            try:
                arrays.append(submit_array(self.journal, self.request(portion), self.client))
            except SubmitLimitError:
                return len(portion.runs)
        return 0

    def _first_limit(self, history: ControlHistory, runs: int) -> int | None:
        if self.launch in history.feeding:
            return history.feeding[self.launch]
        return self._limit() if runs > tunables.CERTAINLY_FITS_RUNS or self._limit_of_pool is not None else None

    def _most(self, history: ControlHistory) -> int | None:
        """Of an array, where a limit that this user cannot see has refused some; None where none has."""
        if self.launch not in history.feeding or history.feeding[self.launch] is not None:
            return None
        refused = [len(history.submissions[number].runs) for number in history.limited]
        return min(refused) // 2 if refused else None

    def _room(self, limit: int | None, history: ControlHistory | None, *, most: int | None = None) -> SubmitRoom:
        """What there is under a limit, or if none is known under that of the pool.

        :param history: None if nothing of the sweep is on disk
        :param most: elements that an array may have, if it is less than what the cluster allows
        """
        limit = self._limit_of_pool if limit is None else limit
        size = self.client.config().array_tasks
        return SubmitRoom(
            array_tasks=size if most is None else max(1, min(size, most)),
            max_submit=limit,
            submitted=self._submitted_beside_keepers(history) if limit is not None else 0,
            headroom=self.profile.headroom,
        )

    def _submitted(self) -> list[str]:
        """Ids of the jobs and array elements that the user has with Slurm."""
        return self.client.ask(commands.squeue_own()).split()

    def _submitted_beside_keepers(self, history: ControlHistory | None) -> int:
        """How many, without as many keepers of this sweep as room is set aside for."""
        keepers = {one.keeper for one in history.submissions.values()} if history is not None else set()
        submitted = self._submitted()
        return len(submitted) - min(KEEPERS, sum(job in keepers for job in submitted))

    def _limit_that_refused(self, runs: int) -> int | None:
        """The limit by which Slurm refused so many; None if it is one that this user cannot see."""
        limit = self._limit()
        return limit if limit is not None and len(self._submitted()) + runs > limit else None

    def _limit(self) -> int | None:
        """How many jobs the user may have with Slurm, as far as that can be known."""
        keys = self.keys
        known = user_limits(self.client, partition=keys.partition, qos=keys.qos, account=keys.account)
        limits = (known.max_submit, self._limit_of_pool)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def _limit_of_pool(self) -> int | None:
        pool = self.profile.pools.get(self.keys.pool or "")
        return pool.limits.max_submitted if pool is not None else None

    def _plan_feeding(self, limit: int | None, history: ControlHistory) -> ControlHistory:
        """Put on record that runs wait, with the limit, so that nobody has to ask for it again."""
        if self.launch in history.feeding and history.feeding[self.launch] == limit:
            return history
        self.journal.append(FeedingPlanned(launch=self.launch, max_submit=limit), durable=True)
        return self.journal.history()

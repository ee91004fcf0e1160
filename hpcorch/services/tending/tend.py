"""Doing what a sweep needs done, by whoever is present: a waiting launcher, a command, a keeper.

What that is :mod:`hpcorch.services.tending.due` says. Whoever sees something to do leaves a mark and tries the
tending lock; who finds it taken goes on, since its holder looks for marks again after unlocking. The decision is
made again under the sweep's lock, from everything that is on record, so that it is carried out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError, SubmissionRejectedError, UnavailableError
from hpcorch.journal.access import touch
from hpcorch.journal.control import ControlHistory
from hpcorch.journal.lock import exclusive
from hpcorch.model.entities import Launch
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import WITH_SLURM, Backend, RunState, SubmissionState
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.recording.sweep import forget_environment, recorded_environment
from hpcorch.services.site.project_profile import load_profile, project_at, throttle_capacities
from hpcorch.services.submission.arrays import ArrayPlan, SubmitRoom, portions
from hpcorch.services.submission.earlier_elements import end_elements
from hpcorch.services.submission.feeding import Feeder
from hpcorch.services.submission.request import Request
from hpcorch.services.submission.resubmission import Resubmission
from hpcorch.services.submission.submit import SubmittedRuns, admit_again, submit_array
from hpcorch.services.tending.due import Action, Feed, Keep, PlannedRetry, Resubmit, awaited, decide
from hpcorch.services.tending.keeper_submission import launches_to_keep, submit_keeper
from hpcorch.services.tending.own_record import by_own_record
from hpcorch.services.tending.ownership import is_own, is_shared
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.sweep_state import SweepState, read_state
from hpcorch.services.tending.tend_result import ResubmittedArray, TendResult
from hpcorch.services.throttling.state import state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.protocol import SlurmClient

_NOT_BEGUN = {RunState.PLANNED, RunState.SUBMITTED, RunState.PENDING, RunState.CANCELLING, RunState.UNCERTAIN}


def look_after(
    reconciler: Reconciler, client: SlurmClient, *, patience_s: float = 0.0, begins: bool = False
) -> TendResult:
    """Ask Slurm about a sweep, take its answers and the journals over into the ledger, and do what is to be done.

    Whoever is present does this: a waiting launcher, a command, a keeper. What cannot be done is in the troubles.

    :param patience_s: seconds to wait for another who tends the sweep at this moment; 0 leaves it to that one
    :param begins: submit runs, too, whose launch ended before it came to that: only if somebody asks for it
    :raises UnavailableError: Slurm does not answer, or cannot be asked from here or by this user; nothing was done
    """
    reconciler.ask_slurm(client)
    return tend(reconciler, client, patience_s=patience_s, begins=begins)


def tend(
    reconciler: Reconciler,
    client: SlurmClient,
    *,
    patience_s: float = 0.0,
    hurry: bool = False,
    begins: bool = False,
) -> TendResult:
    """Do what is to be done about a sweep, by what the ledger has of its record.

    Another user's sweep, a local one, and one whose directory is gone or another sweep's are left alone. What
    cannot be done is among the troubles; somebody who comes by later does it.

    :param patience_s: as for :func:`look_after`
    :param hurry: share throttled resources anew at once, however soon after the last time
    :param begins: as for :func:`look_after`
    """
    sweep = reconciler.ask(lambda ledger: ledger.sweep(reconciler.sweep)).sweep
    if sweep.backend is not Backend.SLURM or not is_own(sweep, reconciler.layout):
        return TendResult(sweep=sweep.id)
    if reconciler.is_gone:
        return TendResult(sweep=sweep.id, gone=reconciler.why_gone)
    if reconciler.layout.aside is not None:
        return TendResult(sweep=sweep.id)
    seen = _Tender(reconciler=reconciler, client=client, hurry=hurry, begins=begins)
    if not is_shared(reconciler.ledger):
        return seen.tend(patience_s)
    if not seen.is_due():  # a ledger of one's own is made only to do something
        return seen.tend(patience_s, acts=False)
    with by_own_record(reconciler) as own:
        return replace(seen, reconciler=own).tend(patience_s)


@dataclass
class _Tender:
    """Carries decisions out, and notes what was done."""

    reconciler: Reconciler
    client: SlurmClient
    hurry: bool
    begins: bool
    resubmitted: list[ResubmittedArray] = field(default_factory=list)
    fed: list[SubmittedRuns] = field(default_factory=list)
    keepers: dict[int, str] = field(default_factory=dict)
    troubles: list[HpcorchError] = field(default_factory=list)

    def is_due(self) -> bool:
        """Whether there is anything to do; true if that cannot be told, and :meth:`tend` says why."""
        try:
            return bool(decide(self._state()))
        except (HpcorchError, OSError):
            return True

    def tend(self, patience_s: float, *, acts: bool = True) -> TendResult:
        """:param acts: do what is due; otherwise only what concerns others, too"""
        again: Mapping[int, PlannedRetry] = {}
        try:
            state = self._state()
            if acts:
                state = self._while_due(state, patience_s)
            self._rebalance(state.history)
            again = awaited(state)
            if not again and self._is_over(state):
                self._forget_environment()
        except HpcorchError as error:
            self.troubles.append(error)
        except OSError as error:
            place = error.filename or self.reconciler.layout.state
            self.troubles.append(UnavailableError(f"{place} cannot be read or written ({error.strerror})"))
        return TendResult(
            sweep=self.reconciler.sweep,
            resubmitted=tuple(self.resubmitted),
            fed=tuple(self.fed),
            keepers=self.keepers,
            troubles=tuple(self.troubles),
            awaited=again,
        )

    def _is_over(self, state: SweepState) -> bool:
        """Whether nothing of the sweep can be submitted any more, unless somebody asks for it."""
        open_ones = (SubmissionState.INTENDED, SubmissionState.UNKNOWN, SubmissionState.ACCEPTED)
        states = self.reconciler.ledger.counts(self.reconciler.sweep)
        return (
            all(one.is_final and one is not RunState.LOST for one in states)
            and not any(one.state in open_ones for one in state.history.submissions.values())
            and not decide(state)
        )

    def _forget_environment(self) -> None:
        """Under the lock, since another launch may be about to be recorded."""
        if self.reconciler.layout.environment.exists():
            with self.reconciler.journal.locked():
                if self._is_over(self._state_now()):
                    forget_environment(self.reconciler.layout)

    def _while_due(self, state: SweepState, patience_s: float) -> SweepState:
        """Do what there is to do, until nothing is left that was not tried; the state afterwards.

        An array may end while this works, too late for a keeper of its own and too early for anybody who comes
        after us: what its end leaves to be done is done in the next round.
        """
        tried: list[Action] = []
        while due := [action for action in map(_without_wait, decide(state)) if action not in tried]:
            tried.extend(due)
            touch(self.reconciler.layout.tend_mark)
            done = self._while_marked(patience_s)
            if done is None:
                break
            state = done
        return state

    def _while_marked(self, patience_s: float) -> SweepState | None:
        """Carry out what is due until nobody has left a mark; the state afterwards, None if somebody else does."""
        mark, state = self.reconciler.layout.tend_mark, None
        while mark.exists():
            with ExitStack() as stack:
                try:
                    stack.enter_context(exclusive(self.reconciler.layout.tend_lock, wait_s=patience_s))
                except UnavailableError:
                    return None  # its holder sees the mark
                mark.unlink(missing_ok=True)
                state = self._carry_out()
        return state

    def _carry_out(self) -> SweepState:
        """End the runs' earlier elements, which may take a while, then submit under the sweep's lock."""
        state = self._state_now()
        ended = {run for action in decide(state) if isinstance(action, Resubmit) for run in action.runs}
        if ended:
            end_elements(
                self.client, state.history.submissions.values(), ended, grace_s=tunables.FAILED_ELEMENT_ENDS_S
            )
        with self.reconciler.journal.locked():
            # Others may have submitted before we had the lock, and what we submit changes what is left to do.
            for action in _only(decide(self._state_now()), ended):
                self._resubmit(action)
            for feed in (one for one in decide(self._state_now()) if isinstance(one, Feed)):
                self._feed(feed)
            state = self._state_now()
            for keep in (one for one in decide(state) if isinstance(one, Keep)):
                self._keep(keep, state.history)
            return self._state_now()

    def _resubmit(self, action: Resubmit) -> None:
        """Submit what ended in one array or in several; one array holds no more than the cluster lets it."""
        room = SubmitRoom(array_tasks=self.client.config().array_tasks)
        chosen = portions(dict.fromkeys(action.runs, action.keys), room, alone=True).arrays
        for portion in chosen:
            self._resubmit_array(replace(action, runs=portion.runs), portion.most_tasks)

    def _resubmit_array(self, action: Resubmit, most_tasks: int | None) -> None:
        again = self._resubmission(action.launch, action.runs, action.keys)
        request = replace(again.later_request(self._environ, wait_s=action.wait_s), most_tasks=most_tasks)
        try:
            array = submit_array(self.reconciler.journal, request, self.client)
        except SubmissionRejectedError as error:
            self.troubles.append(error)  # other launches may have other options
        else:
            self.resubmitted.append(ResubmittedArray(action=action, job_id=array.job_id))

    def _feed(self, feed: Feed) -> None:
        """What Slurm does not take now is offered again by whoever comes next."""
        ledger, sweep = self.reconciler.ledger, self.reconciler.sweep
        begun = not ledger.counts(sweep).keys() <= _NOT_BEGUN
        keys = self._keys(feed.launch)

        def request(portion: ArrayPlan) -> Request:
            again = self._resubmission(feed.launch, portion.runs, portion.keys)
            # What the launch waits for holds for all of it, and is over once any of it has begun.
            first = again.later_request(self._environ, wait_s=0) if begun else again.request(self._environ)
            return replace(first, most_tasks=portion.most_tasks)

        feeder = Feeder(
            journal=self.reconciler.journal,
            launch=feed.launch,
            client=self.client,
            profile=self._profile,
            keys=keys,
            request=request,
        )
        runs = {run.run: keys.changed(run.launcher) for run in ledger.runs(sweep, indices=feed.runs)}
        try:
            done = feeder.feed(runs, alone=feed.alone)
        except SubmissionRejectedError as error:
            self.troubles.append(error)  # other launches may have other options
        else:
            self.fed.extend(done.arrays)

    def _rebalance(self, history: ControlHistory) -> None:
        """Let throttled arrays have what there is room for; whatever sweep they belong to."""
        if not history.throttles:
            return
        throttles = Throttles(state_directory(), self.client.config().cluster, self.client)
        alive = {run.submission for run in self.reconciler.ledger.runs(self.reconciler.sweep, states=WITH_SLURM)}
        admit_again(throttles, self.reconciler.layout, history, {number for number in alive if number is not None})
        hurry = self.hurry or bool(self.resubmitted or self.fed)
        done = throttles.rebalance(throttle_capacities(self._profile), force=hurry)
        self.troubles.extend(done.troubles)

    def _keep(self, keep: Keep, history: ControlHistory) -> None:
        submission = history.submissions[keep.submission]
        asked = self._keys(submission.launch).changed(history.changed.get(keep.submission, {}))
        keys = self._resubmission(submission.launch, submission.runs, asked).keys_here
        try:
            job_id = submit_keeper(self.reconciler.journal, submission, keys, self._environ, self.client)
        except HpcorchError as error:
            number = keep.submission
            what = (
                f"submission {number} has no keeper job, so later retries and submissions wait for your next"
                " command"
            )
            self.troubles.append(type(error)(f"{what}: {error}"))
        else:
            self.keepers[keep.submission] = job_id

    def _resubmission(self, launch: int, runs: Iterable[int], keys: LaunchKeys) -> Resubmission:
        return Resubmission(
            layout=self.reconciler.layout, launch=self._launches[launch], runs=tuple(runs), keys=keys
        )

    def _keys(self, launch: int) -> LaunchKeys:
        return LaunchKeys.recorded(self._launches[launch].options)

    @cached_property
    def _launches(self) -> dict[int, Launch]:
        return {launch.first_run: launch for launch in self.reconciler.ledger.launches(self.reconciler.sweep)}

    @cached_property
    def _profile(self) -> Profile:
        sweep = self.reconciler.ledger.sweep(self.reconciler.sweep).sweep
        return load_profile(project_at(Path(sweep.cwd)), self._environ)

    @cached_property
    def _environ(self) -> dict[str, str]:
        return recorded_environment(self.reconciler.layout)

    def _state_now(self) -> SweepState:
        """The state with all that is on record at this moment."""
        self.reconciler.ingest()
        return self._state()

    def _state(self) -> SweepState:
        keepers_for = partial(launches_to_keep, client=self.client)
        ledger, journal = self.reconciler.ledger, self.reconciler.journal
        return read_state(ledger, journal, keepers_for=keepers_for, begins=self.begins)


def _without_wait(action: Action) -> Action:
    """The action, which is the same later, when less of its wait is left."""
    return replace(action, wait_s=0) if isinstance(action, Resubmit) else action


def _only(actions: Iterable[Action], runs: set[int]) -> list[Resubmit]:
    """The resubmissions, of these runs only: what came up meanwhile waits for the next look."""
    return [
        replace(action, runs=tuple(run for run in action.runs if run in runs))
        for action in actions
        if isinstance(action, Resubmit) and runs.intersection(action.runs)
    ]

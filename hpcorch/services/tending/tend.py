"""Doing what is to be done about a sweep, by whoever is present: a waiting launcher, a command, a keeper.

What that is :mod:`hpcorch.services.tending.decide` says. Whoever sees something to do leaves a mark and tries the
tending lock; who finds it taken goes on, since its holder looks for marks again after unlocking. The decision is
made again under the sweep's lock, from everything that is on record, so that it is carried out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import HpcorchError, SubmissionRejectedError, UnavailableError
from hpcorch.journal.history import ControlHistory
from hpcorch.journal.lock import exclusive
from hpcorch.model.entities import Launch
from hpcorch.model.ids import named_runs
from hpcorch.model.states import RunState, SubmissionState
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.recording.environment import recorded_environment
from hpcorch.services.site.profile import load_profile, throttle_capacities
from hpcorch.services.site.project import project_at
from hpcorch.services.submission.acceptance import throttled
from hpcorch.services.submission.arrays import ArrayPlan, SubmitRoom, portions
from hpcorch.services.submission.earlier_elements import end_elements
from hpcorch.services.submission.feeding import Feeder
from hpcorch.services.submission.parallelism import counts_runs, free_arrays
from hpcorch.services.submission.request import Request
from hpcorch.services.submission.resubmission import Resubmission
from hpcorch.services.submission.submit import submit_array
from hpcorch.services.tending.decide import Action, Feed, Keep, PlannedRetry, Resubmit, awaited, decide
from hpcorch.services.tending.keeper_submission import launches_to_keep, submit_keeper
from hpcorch.services.tending.ownership import is_own
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.sweep_state import WITH_SLURM, SweepState, read_state
from hpcorch.services.throttling.state import state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.protocol import SlurmClient

_NOT_BEGUN = {RunState.PLANNED, RunState.SUBMITTED, RunState.PENDING, RunState.UNCERTAIN}


def tend(
    reconciler: Reconciler, client: SlurmClient, *, patience_s: float = 0.0, hurry: bool = False
) -> TendResult:
    """Do what is to be done about a sweep, by what its record says; look at it and ask Slurm before.

    Another user's sweep, a local one, and one whose directory another sweep has now are left alone. What cannot be
    done is among the troubles; somebody who comes by later does it.

    :param patience_s: seconds to wait for another who tends it at this moment; 0 leaves it to that one
    :param hurry: share throttled resources anew at once, however soon after the last time
    """
    tender = _Tender(reconciler=reconciler, client=client, done=TendResult(sweep=reconciler.sweep), hurry=hurry)
    return tender.tend(patience_s)


@dataclass
class _Tender:
    reconciler: Reconciler
    client: SlurmClient
    done: TendResult
    hurry: bool

    def tend(self, patience_s: float) -> TendResult:
        sweep = self.reconciler.ledger.sweep(self.reconciler.sweep).sweep
        aside = self.reconciler.layout.aside is not None
        if sweep.backend == "slurm" and is_own(sweep) and not aside:
            try:
                self._while_marked(patience_s)
                self._share()
                self.done.awaited = awaited(self._state())
            except HpcorchError as error:
                self.done.troubles.append(error)
            except OSError as error:
                place = error.filename or self.reconciler.layout.state
                self.done.troubles.append(UnavailableError(f"{place} cannot be read or written ({error.strerror})"))
        return self.done

    def _while_marked(self, patience_s: float) -> None:
        if not decide(self._state()):
            return
        mark = self.reconciler.layout.tend_mark
        mark.touch(mode=0o600)
        while mark.exists():
            with ExitStack() as stack:
                try:
                    stack.enter_context(exclusive(self.reconciler.layout.tend_lock, wait_s=patience_s))
                except UnavailableError:
                    return  # its holder sees the mark
                mark.unlink(missing_ok=True)
                self._carry_out()

    def _carry_out(self) -> None:
        """End the runs' earlier elements, which may take a while, then submit under the sweep's lock."""
        self.reconciler.ingest()
        state = self._state()
        ended = {run for action in decide(state) if isinstance(action, Resubmit) for run in action.runs}
        if ended:
            end_elements(self.client, state.history.submissions.values(), ended, grace_s=tunables.FAILED_ELEMENT_ENDS_S)
        with self.reconciler.journal.locked():
            # Decided again: others may have submitted before we had the lock, and what we submit changes the rest.
            self.reconciler.ingest()
            for action in _only(decide(self._state()), ended):
                self._resubmit(action)
            self.reconciler.ingest()
            for feed in (one for one in decide(self._state()) if isinstance(one, Feed)):
                self._feed(feed)
            self.reconciler.ingest()
            state = self._state()
            for keep in (one for one in decide(state) if isinstance(one, Keep)):
                self._keep(keep, state.history)
            self.reconciler.ingest()

    def _resubmit(self, action: Resubmit) -> None:
        """Submit what ended in one array or in several; one array holds no more than the cluster lets it."""
        room = SubmitRoom(array_tasks=self.client.config().array_tasks)
        chosen, _ = portions(((run, {}) for run in action.runs), room, alone=True)
        for portion in chosen:
            self._resubmit_array(replace(action, runs=portion.runs))

    def _resubmit_array(self, action: Resubmit) -> None:
        again = self._resubmission(action.launch, action.runs, action.changes)
        request = again.later_request(self._environ, wait_s=action.wait_s)
        try:
            job_id = submit_array(self.reconciler.journal, request, self.client)
        except SubmissionRejectedError as error:
            self.done.troubles.append(error)  # other launches may have other options
        else:
            self.done.resubmitted.append((action, job_id))

    def _feed(self, feed: Feed) -> None:
        """What Slurm does not take now is offered again by whoever comes next."""
        ledger, sweep = self.reconciler.ledger, self.reconciler.sweep
        begun = not ledger.counts(sweep).keys() <= _NOT_BEGUN

        def request(portion: ArrayPlan) -> Request:
            again = self._resubmission(feed.launch, portion.runs, portion.keys)
            # What the launch waits for holds for all of it, and is over once any of it has begun.
            return again.later_request(self._environ, wait_s=0) if begun else again.request(self._environ)

        feeder = Feeder(
            journal=self.reconciler.journal,
            launch=feed.launch,
            client=self.client,
            profile=self._profile,
            keys=self._launches[feed.launch].options,
            request=request,
        )
        runs = [(run.run, run.launcher) for run in ledger.runs(sweep, indices=feed.runs)]
        try:
            fed = feeder.feed(runs, alone=feed.alone)
        except SubmissionRejectedError as error:
            self.done.troubles.append(error)  # other launches may have other options
        else:
            self.done.fed.extend(fed.arrays)

    def _share(self) -> None:
        """Let throttled arrays have what there is room for; whatever sweep they belong to."""
        history = self.reconciler.journal.history()
        if not history.throttles:
            return
        throttles = Throttles(state_directory(), self.client.config().cluster, self.client)
        alive = {run.submission for run in self.reconciler.ledger.runs(self.reconciler.sweep, states=WITH_SLURM)}
        for number, submission in history.submissions.items():
            if number in alive and number in history.throttles and submission.state is SubmissionState.RELEASED:
                # Once more, should what was known of it be lost.
                throttles.admit(throttled(self.reconciler.layout, submission, history.throttles[number]))
        for entry in free_arrays(self.reconciler.layout, history) if counts_runs(history) else ():
            if entry.submission in alive:
                throttles.admit(entry)
        hurry = self.hurry or bool(self.done.resubmitted or self.done.fed)
        done = throttles.rebalance(throttle_capacities(self._profile), force=hurry)
        self.done.troubles.extend(done.troubles)

    def _keep(self, keep: Keep, history: ControlHistory) -> None:
        submission = history.submissions[keep.submission]
        changes = history.changed.get(keep.submission, {})
        options = self._resubmission(submission.launch, submission.runs, changes).options
        try:
            job_id = submit_keeper(self.reconciler.journal, submission, options, self._environ, self.client)
        except HpcorchError as error:
            number = keep.submission
            what = f"submission {number} has no keeper job, so what it needs later waits for your next command"
            self.done.troubles.append(type(error)(f"{what}: {error}"))
        else:
            self.done.keepers[keep.submission] = job_id

    def _resubmission(self, launch: int, runs: Iterable[int], changes: Mapping[str, Any]) -> Resubmission:
        return Resubmission(
            layout=self.reconciler.layout, launch=self._launches[launch], runs=tuple(runs), changes=changes
        )

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

    def _state(self) -> SweepState:
        def keepers_for(launches: Iterable[Launch], history: ControlHistory) -> frozenset[int]:
            return launches_to_keep(launches, history, self.client)

        return read_state(self.reconciler.ledger, self.reconciler.journal, keepers_for=keepers_for)


def _only(actions: Iterable[Action], runs: set[int]) -> list[Resubmit]:
    """The resubmissions, of these runs only: what came up meanwhile waits for the next look."""
    return [
        replace(action, runs=tuple(run for run in action.runs if run in runs))
        for action in actions
        if isinstance(action, Resubmit) and runs.intersection(action.runs)
    ]


@dataclass(slots=True, kw_only=True)
class TendResult:
    """What came of tending a sweep.

    :param resubmitted: what was submitted again -> the new array's job id
    :param fed: arrays of runs that had waited until Slurm takes them
    :param keepers: submission -> the job id of its new keeper
    :param troubles: what could not be done
    :param awaited: runs that will be run again, and were not submitted yet
    """

    sweep: str
    resubmitted: list[tuple[Resubmit, str]] = field(default_factory=list)
    fed: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    keepers: dict[int, str] = field(default_factory=dict)
    troubles: list[HpcorchError] = field(default_factory=list)
    awaited: Mapping[int, PlannedRetry] = field(default_factory=dict)

    @property
    def deeds(self) -> list[str]:
        """What was done, sentence by sentence. (That an array got its keeper nobody needs to hear.)"""
        fed = [f"{named_runs(runs)} of sweep {self.sweep} submitted as array {job}" for job, runs in self.fed]
        return [*(self._submitted(action, job_id) for action, job_id in self.resubmitted), *fed]

    @property
    def sentences_of_trouble(self) -> list[str]:
        """What could not be done."""
        return [f"sweep {self.sweep} could not be looked after: {error}" for error in self.troubles]

    @property
    def sentences(self) -> list[str]:
        """What was done, and what could not be."""
        return [*self.deeds, *self.sentences_of_trouble]

    def _submitted(self, action: Resubmit, job_id: str) -> str:
        wait = f", to start in {action.wait_s} s" if action.wait_s else ""
        runs = named_runs(action.runs)
        return f"{runs} of sweep {self.sweep} submitted again as array {job_id} ({action.reason}){wait}"

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "resubmitted": [
                {"runs": list(a.runs), "job_id": job, "wait_s": a.wait_s, "reason": a.reason}
                for a, job in self.resubmitted
            ],
            "fed": [{"runs": list(runs), "job_id": job} for job, runs in self.fed],
            "keepers": [{"submission": number, "job_id": job} for number, job in self.keepers.items()],
            "awaited": {str(run): retry.as_plain() for run, retry in self.awaited.items()},
            "troubles": [str(error) for error in self.troubles],
        }

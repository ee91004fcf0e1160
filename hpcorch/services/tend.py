"""Doing what is to be done about a sweep, by whoever is present: a waiting launcher, a command, a keeper.

What that is :mod:`hpcorch.services.decide` says. Whoever sees something to do leaves a mark and tries the tending
lock; who finds it taken goes on, since its holder looks for marks again after unlocking. The decision is made again
under the sweep's lock, from everything that is on record, so that it is carried out once.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpcorch.errors import HpcorchError, SubmissionRejectedError, UnavailableError
from hpcorch.journal.lock import exclusive
from hpcorch.model.entities import Batch
from hpcorch.model.states import RunState, SubmissionState
from hpcorch.resources.profile import Profile
from hpcorch.services.begin import throttled
from hpcorch.services.decide import Action, Feed, Keep, Resubmit, awaited, decide
from hpcorch.services.ending import end_elements
from hpcorch.services.feeding import Feeder
from hpcorch.services.keepers import batches_to_keep, submit_keeper
from hpcorch.services.launch_environment import recorded_environment
from hpcorch.services.past import read_past
from hpcorch.services.portions import Portion, Room, portions
from hpcorch.services.reconcile import Reconciler
from hpcorch.services.resubmission import Resubmission
from hpcorch.services.scripts import Request
from hpcorch.services.site import load_profile, throttle_capacities
from hpcorch.services.site_place import project_at
from hpcorch.services.submit import submit_array
from hpcorch.services.sweep_state import WITH_SLURM, SweepState, read_state
from hpcorch.services.tended import Tended
from hpcorch.services.throttle_state import state_directory
from hpcorch.services.throttles import Throttles
from hpcorch.services.together import counts_runs, free_arrays
from hpcorch.slurm.protocol import SlurmClient

# A task that has recorded its failure unwinds, and Slurm cleans up after it.
_GRACE_S = 10.0
_NOT_BEGUN = {RunState.PLANNED, RunState.SUBMITTED, RunState.PENDING, RunState.UNCERTAIN}


def tend(reconciler: Reconciler, client: SlurmClient, *, patience_s: float = 0.0, hurry: bool = False) -> Tended:
    """Do what is to be done about a sweep, by what its record says; look at it and ask Slurm before.

    Another user's sweep, a local one, and one whose directory another sweep has now are left alone. What cannot be
    done is among the troubles; somebody who comes by later does it.

    :param patience_s: seconds to wait for another who tends it at this moment; 0 leaves it to that one
    :param hurry: share throttled resources anew at once, however soon after the last time
    """
    tender = _Tender(reconciler=reconciler, client=client, done=Tended(sweep=reconciler.sweep), hurry=hurry)
    return tender.tend(patience_s)


@dataclass
class _Tender:
    reconciler: Reconciler
    client: SlurmClient
    done: Tended
    hurry: bool

    def tend(self, patience_s: float) -> Tended:
        sweep = self.reconciler.ledger.sweep(self.reconciler.sweep).sweep
        aside = self.reconciler.layout.aside is not None
        if sweep.backend == "slurm" and sweep.user == getpass.getuser() and not aside:
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
        ended = {run for action in decide(self._state()) if isinstance(action, Resubmit) for run in action.runs}
        if ended:
            past = read_past(self.reconciler.layout, self.reconciler.sweep)
            end_elements(self.client, past.submissions.values(), ended, grace_s=_GRACE_S)
        with exclusive(self.reconciler.layout.lock):
            self.reconciler.ingest()
            for action in _only(decide(self._state()), ended):
                self._resubmit(action)
            self.reconciler.ingest()
            for feed in (one for one in decide(self._state()) if isinstance(one, Feed)):
                self._feed(feed)
            self.reconciler.ingest()
            for keep in (one for one in decide(self._state()) if isinstance(one, Keep)):
                self._keep(keep)
            self.reconciler.ingest()

    def _resubmit(self, action: Resubmit) -> None:
        """Submit what ended in one array or in several; one array holds no more than the cluster lets it."""
        room = Room(array_tasks=self.client.config().array_tasks)
        chosen, _ = portions(((run, {}) for run in action.runs), room, alone=True)
        for portion in chosen:
            self._resubmit_array(replace(action, runs=portion.runs))

    def _resubmit_array(self, action: Resubmit) -> None:
        again = self._resubmission(action.batch, action.runs, action.changes)
        request = again.later_request(self._environ, wait_s=action.wait_s)
        try:
            job_id = submit_array(self.reconciler.layout, request, self.client)
        except SubmissionRejectedError as error:
            self.done.troubles.append(error)  # other batches may have other options
        else:
            self.done.resubmitted.append((action, job_id))

    def _feed(self, feed: Feed) -> None:
        """What Slurm does not take now is offered again by whoever comes next."""
        ledger, sweep = self.reconciler.ledger, self.reconciler.sweep
        begun = not ledger.counts(sweep).keys() <= _NOT_BEGUN

        def request(portion: Portion) -> Request:
            again = self._resubmission(feed.batch, portion.runs, portion.keys)
            # What the launch waits for holds for all of it, and is over once any of it has begun.
            return again.later_request(self._environ, wait_s=0) if begun else again.request(self._environ)

        feeder = Feeder(
            layout=self.reconciler.layout,
            sweep=sweep,
            batch=feed.batch,
            client=self.client,
            profile=self._profile,
            keys=self._batches[feed.batch].options,
            request=request,
        )
        runs = [(run.run, run.launcher) for run in ledger.runs(sweep, indices=feed.runs)]
        try:
            fed = feeder.feed(runs, alone=feed.alone)
        except SubmissionRejectedError as error:
            self.done.troubles.append(error)  # other batches may have other options
        else:
            self.done.fed.extend(fed.arrays)

    def _share(self) -> None:
        """Let throttled arrays have what there is room for; whatever sweep they belong to."""
        past = read_past(self.reconciler.layout, self.reconciler.sweep)
        if not past.throttles:
            return
        throttles = Throttles(state_directory(), self.client.config().cluster, self.client)
        alive = {run.submission for run in self.reconciler.ledger.runs(self.reconciler.sweep, states=WITH_SLURM)}
        for number, submission in past.submissions.items():
            if number in alive and number in past.throttles and submission.state is SubmissionState.RELEASED:
                # Once more, should what was known of it be lost.
                throttles.admit(throttled(self.reconciler.layout, submission, past.throttles[number]))
        for entry in free_arrays(self.reconciler.layout, past) if counts_runs(past) else ():
            if entry.submission in alive:
                throttles.admit(entry)
        hurry = self.hurry or bool(self.done.resubmitted or self.done.fed)
        done = throttles.rebalance(throttle_capacities(self._profile), force=hurry)
        self.done.troubles.extend(done.troubles)

    def _keep(self, keep: Keep) -> None:
        past = read_past(self.reconciler.layout, self.reconciler.sweep)
        submission = past.submissions[keep.submission]
        changes = past.changed.get(keep.submission, {})
        options = self._resubmission(submission.batch, submission.runs, changes).options
        layout = self.reconciler.layout
        try:
            job_id = submit_keeper(layout, submission, options, self._environ, self.client)
        except HpcorchError as error:
            number = keep.submission
            what = f"submission {number} has no keeper job, so what it needs later waits for your next command"
            self.done.troubles.append(type(error)(f"{what}: {error}"))
        else:
            self.done.keepers[keep.submission] = job_id

    def _resubmission(self, batch: int, runs: Iterable[int], changes: Mapping[str, Any]) -> Resubmission:
        return Resubmission(
            layout=self.reconciler.layout, batch=self._batches[batch], runs=tuple(runs), changes=changes
        )

    @cached_property
    def _batches(self) -> dict[int, Batch]:
        return {batch.batch: batch for batch in self.reconciler.ledger.batches(self.reconciler.sweep)}

    @cached_property
    def _profile(self) -> Profile:
        sweep = self.reconciler.ledger.sweep(self.reconciler.sweep).sweep
        return load_profile(project_at(Path(sweep.cwd)), self._environ)

    @cached_property
    def _environ(self) -> dict[str, str]:
        return recorded_environment(self.reconciler.layout)

    def _state(self) -> SweepState:
        ledger, sweep = self.reconciler.ledger, self.reconciler.sweep
        alive = not WITH_SLURM.isdisjoint(ledger.counts(sweep))
        past = read_past(self.reconciler.layout, sweep)
        keepers_for = batches_to_keep(ledger.batches(sweep), past, self.client) if alive else ()
        return read_state(ledger, self.reconciler.layout, sweep, keepers_for=keepers_for)


def _only(actions: Iterable[Action], runs: set[int]) -> list[Resubmit]:
    """The resubmissions, of these runs only: what came up meanwhile waits for the next look."""
    return [
        replace(action, runs=tuple(run for run in action.runs if run in runs))
        for action in actions
        if isinstance(action, Resubmit) and runs.intersection(action.runs)
    ]

"""Cancelling, holding and releasing runs: one request to Slurm for a selection, and a fact that says who asked.

Runs of a local sweep can be cancelled: the pool is stopped, or single tasks of it are.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hpcorch.errors import NotFoundError, UnavailableError, UsageError
from hpcorch.journal.access import make_record_folder, touch
from hpcorch.ledger import Ledger
from hpcorch.model.actions import CHECKPOINT_SIGNAL, Action
from hpcorch.model.entities import Run, Submission, Sweep
from hpcorch.model.events import NO_SUBMISSION, ControlRequested, JobObserved
from hpcorch.model.ids import format_ranges
from hpcorch.model.job_states import LET_GO, JobState, Witness
from hpcorch.model.states import Backend, RunState
from hpcorch.services.actions.local_processes import ask_locally, check_hosts, staying_locally, stop_locally
from hpcorch.services.actions.targets import Target, Targets, choose, split
from hpcorch.services.observation.conclusions import attributed
from hpcorch.services.selection.selectors import Selector, select_runs
from hpcorch.services.tending.ownership import check_cluster, check_owner
from hpcorch.services.tending.reconcile import Reconciler, open_reconciler
from hpcorch.services.tending.tend import tend
from hpcorch.services.tending.unsubmitted import refused_runs
from hpcorch.services.throttling.state import state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.array_elements import elements_of
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.users import own_name

# Runs in these states may have a process that can be asked to save a checkpoint.
_RUNNING = frozenset({RunState.RUNNING, RunState.SUSPENDED, RunState.CANCELLING, RunState.UNCERTAIN})
_SLURMS_NAME = CHECKPOINT_SIGNAL.name.removeprefix("SIG")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlan:
    """What an action would do to which runs of a sweep.

    :param whole_sweep: whether the sweep itself was named, and not some of its runs
    :param asked_to_checkpoint: of the runs that would be cancelled, those that are asked to save a checkpoint first
    :param notices: sentences on what the action does not change
    """

    sweep: str
    action: Action
    whole_sweep: bool
    targets: Targets
    asked_to_checkpoint: frozenset[int] = frozenset()
    notices: tuple[str, ...] = ()

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "action": self.action.value,
            "runs": self.targets.runs,
            "elements": _elements(self.targets.targets),
            "unsettled": list(self.targets.unsettled),
            "passed_over": {str(run): why for run, why in self.targets.passed_over.items()},
            "asked_to_checkpoint": sorted(self.asked_to_checkpoint),
            "notices": list(self.notices),
        }


@dataclass(frozen=True, kw_only=True)
class Control:
    """Acts on runs of one's own sweep, on the cluster or host where they are.

    :param given: asks Slurm; None for a client of this machine's cluster
    """

    sweep: Sweep
    reconciler: Reconciler
    given: SlurmClient | None = None

    @cached_property
    def client(self) -> SlurmClient:
        """Asks Slurm. A local sweep needs none."""
        return self.given or slurm_client()

    @property
    def is_local(self) -> bool:
        """Whether the runs are processes of a pool, and not jobs of Slurm."""
        return self.sweep.backend is Backend.LOCAL

    def look(self) -> None:
        """Bring the ledger up to date with what the scheduler says.

        :raises UnavailableError: Slurm does not answer, or the journals cannot be read
        """
        if self.is_local:
            self.reconciler.look_local()
        else:
            self.reconciler.ask_slurm(self.client)

    def plan(self, action: Action, selector: Selector, *, checkpoint: bool = False) -> ControlPlan:
        """What the action is for, by what the ledger has, and by which jobs of runs that are over still run.

        :param checkpoint: cancel only what waits, and ask what runs to save a checkpoint and end
        :raises NotFoundError: a run that is named does not exist
        :raises UnavailableError: Slurm does not answer
        :raises UsageError: a local sweep has no queue to hold runs in, and Slurm knows no single runs of a packed
            array
        """
        if self.is_local and action is not Action.CANCEL:
            raise UsageError(
                f"sweep {self.sweep.id} runs on {self.sweep.host} without Slurm, so there is no queue in which"
                " to hold runs: `hpcorch cancel` stops them, `hpcorch retry` runs them again"
            )
        ledger = self.reconciler.ledger
        submissions = {one.submission: one for one in ledger.submissions(self.sweep.id)}
        selected = select_runs(ledger, self.sweep.id, selector)
        every = ledger.runs(self.sweep.id)
        targets = choose(action, selected, every, submissions, self._staying(every, submissions))
        if action is not Action.CANCEL:
            _check_whole(action, targets.targets)
        whole = not selector.names_runs and selector.states is None
        running = {run.run for run in selected if checkpoint and run.state in _RUNNING}
        return ControlPlan(
            sweep=self.sweep.id,
            action=action,
            whole_sweep=whole,
            targets=targets,
            asked_to_checkpoint=frozenset(running.intersection(targets.runs)),
            notices=tuple(_of_tasks_at_work(targets.targets, every)) if action is Action.HOLD else (),
        )

    def _staying(self, every: Sequence[Run], submissions: Mapping[int, Submission]) -> frozenset[int]:
        """Runs that are over and whose process or job is still there, whether or not that has been told."""
        here = staying_locally(every, submissions) if self.is_local else self.reconciler.staying(self.client)
        return here.union(run.run for run in every if run.lingers)

    def carry_out(self, plan: ControlPlan) -> None:
        """Record the request and pass it on.

        :raises UnavailableError: it could not be passed on; that somebody asked is on record, and doing it again is
            harmless
        """
        self._drop(plan.targets.unsubmitted)
        if plan.targets.targets:
            self._pass_on(plan)
        with suppress(UnavailableError):  # what came of it is seen by the next look, too
            self.look()

    def _pass_on(self, plan: ControlPlan) -> None:
        """Record the request, then tell those who have the runs."""
        asked, others = split(plan.targets.targets, plan.asked_to_checkpoint)
        if self.is_local:
            check_hosts(plan.targets.targets)
            self._record(plan.action, asked, others)
            for target in others:
                stop_locally(target, with_pool=plan.whole_sweep and not asked)
            for target in asked:
                ask_locally(target)
        else:
            self._record(plan.action, asked, others)
            # What waits first, so that it does not start in place of what ends.
            self._tell_slurm(plan.action, [*_elements(others), *self._idle(plan.targets.targets, asked)])
            self._mark(asked)
            alone = [target for target in asked if not target.submission.is_packed]
            self.client.signal(_elements(alone), _SLURMS_NAME)

    def _idle(self, targets: Sequence[Target], asked: Sequence[Target]) -> list[str]:
        """The waiting elements of packed arrays whose every run is to end, some of them after a checkpoint."""
        numbers = {target.submission.submission for target in asked}
        packed = {
            target.submission.job_id
            for target in targets
            if target.whole and target.submission.is_packed and target.submission.submission in numbers
        }
        waiting: dict[str, list[int]] = {}
        for row in self.client.queue(sorted(job for job in packed if job is not None)):
            if row.state is JobState.PENDING and row.index is not None:
                waiting.setdefault(row.array_job_id, []).append(row.index)
        return [elements_of(job, indices) for job, indices in waiting.items()]

    def _drop(self, runs: Sequence[int]) -> None:
        """Have runs that wait to be submitted end here: nobody submits them any more."""
        if not runs:
            return
        ledger = self.reconciler.ledger
        refused = {run.run: run.reason for run in refused_runs(ledger, ledger.sweep(self.sweep.id))}
        reason = f"cancelled by {own_name()} before it was submitted"
        words = [
            word
            for run in runs
            for word in dropped(
                [run], f"{reason}; Slurm had refused it: {refused[run]}" if run in refused else reason
            )
        ]
        self.reconciler.journal.append(*words, durable=True)

    def _record(self, action: Action, asked: Sequence[Target], others: Sequence[Target]) -> None:
        """What is asked for, and the end of runs that nobody needs to be asked about: Slurm has given them up."""
        requests = [_requested(action, target, checkpoint=True) for target in asked]
        requests += [_requested(action, target) for target in others]
        journal = self.reconciler.journal
        with journal.locked():
            journal.append(*requests, durable=True)
            if action is Action.CANCEL:
                given_up = [word for word in journal.history().observed.values() if word.job_state in LET_GO]
                waiting = self._waiting([*asked, *others])
                words = [*attributed([*given_up, *waiting], requests)]
                journal.append(*(word for word in words if word.job_state not in LET_GO))

    def _waiting(self, targets: Iterable[Target]) -> list[JobObserved]:
        """That runs end here which no task of their packed array has taken: its tasks pass them over."""
        packed = [target for target in targets if target.submission.is_packed]
        runs = [run for target in packed for run in target.runs]
        ledger = self.reconciler.ledger
        alone = {one.run for one in (ledger.runs(self.sweep.id, indices=runs) if runs else []) if not one.attempts}
        return [
            _ended(run, target.submission.submission) for target in packed for run in target.runs if run in alone
        ]

    def _mark(self, asked: Sequence[Target]) -> None:
        """Let those end at their next start that a preemption ends before they can heed the signal."""
        marks = [
            self.reconciler.layout.asked(run, target.submission.submission)
            for target in asked
            for run in target.runs
        ]
        for mark in marks:
            make_record_folder(mark.parent)
            touch(mark)

    def _tell_slurm(self, action: Action, elements: Sequence[str]) -> None:
        if not elements:
            return
        # Arrays that share throttled resources are held and released by the throttles; others directly.
        throttles = Throttles(state_directory(), self.client.config().cluster, self.client)
        tell = {
            Action.CANCEL: self.client.cancel,
            Action.HOLD: throttles.pause,
            Action.RELEASE: throttles.resume,
        }[action]
        with suppress(NotFoundError):  # an array that ended and was forgotten since; the others are acted on
            tell(elements)
        if action is not Action.CANCEL:
            tend(self.reconciler, self.client, hurry=True)


def _elements(targets: Iterable[Target]) -> list[str]:
    """What Slurm is told of."""
    return [element for target in targets if (element := target.element) is not None]


def _check_whole(action: Action, targets: Iterable[Target]) -> None:
    """Refuse to hold or release some of the waiting runs of a packed array.

    :raises UsageError: somebody asks for that
    """
    for target in targets:
        if target.element is None:
            one = target.submission
            verb, runs = action.value, format_ranges(target.runs)
            raise UsageError(
                f"the runs {runs} wait for any of the {one.tasks} tasks of the packed array {one.job_id}, and Slurm"
                f" cannot {verb} single ones: `hpcorch {verb} {one.sweep}` is for all that wait in it,"
                f" `hpcorch cancel {one.sweep}/{runs}` takes these out"
            )


def _of_tasks_at_work(targets: Iterable[Target], every: Iterable[Run]) -> Iterator[str]:
    """That tasks of packed arrays which have begun go on to take runs."""
    at_work = {run.submission for run in every if run.state in _RUNNING}
    for target in targets:
        if target.submission.is_packed and target.submission.submission in at_work:
            yield (
                f"tasks of {target.submission.job_id} that run already go on to take runs:"
                f" `hpcorch cancel {target.submission.sweep}` ends them"
            )


def dropped(runs: Iterable[int], reason: str) -> list[JobObserved]:
    """That runs end which were never submitted."""
    return [replace(_ended(run, NO_SUBMISSION), reason=reason) for run in runs]


def _ended(run: int, submission: int) -> JobObserved:
    """That a run ends by request, before anything of it was begun."""
    return JobObserved(
        submission=submission,
        run=run,
        restart=0,
        state=JobState.CANCELLED.value,
        witness=Witness.REQUEST.value,
    )


def open_control(writer: Ledger, selector: Selector, client: SlurmClient | None = None) -> Control:
    """Control over the sweep that is selected.

    :param writer: open for writing
    :raises NotFoundError: no sweep is selected
    :raises UsageError: it is another user's, or on another cluster
    :raises SlurmUnavailableError: Slurm does not answer
    """
    sweep = writer.sweep(selector.sweep).sweep
    control = Control(sweep=sweep, reconciler=open_reconciler(writer, sweep.id), given=client)
    check_owner(sweep, control.reconciler.layout)
    if not control.is_local:
        check_cluster(sweep, control.client)
    return control


def _requested(action: Action, target: Target, *, checkpoint: bool = False) -> ControlRequested:
    return ControlRequested(
        submission=target.submission.submission,
        action=action.value,
        runs=format_ranges(target.runs),
        user=own_name(),
        uid=os.getuid(),
        host=socket.gethostname(),
        checkpoint=checkpoint,
    )

"""Running failed, cancelled, timed-out or lost runs of a sweep again: same identity, directory and seed.

What runs is what was frozen at the launch. A retry adds submissions to the sweep, one array a launch, with
numbers that go on. It decides under the sweep's lock from what is on record there, so that two retries at once
submit once.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from hpcorch.errors import HpcorchError, RecordError, RecordGoneError, UnavailableError, UsageError
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger
from hpcorch.ledger.reading.refusals import refused_submissions
from hpcorch.model.entities import Launch, Run
from hpcorch.model.ids import format_ranges
from hpcorch.model.keys.kinds import Heeds
from hpcorch.model.keys.launch_keys import LaunchKeys, names
from hpcorch.model.states import NOT_FINE, Backend, RunState, SubmissionForm
from hpcorch.services.actions.control import Control, open_control
from hpcorch.services.actions.local_rounds import run_with_retries
from hpcorch.services.local.pool import LocalPool
from hpcorch.services.recording.sweep import record_environment
from hpcorch.services.selection.selectors import Selector, select_runs
from hpcorch.services.submission.arrays import ArrayPlan, SubmitRoom, portions
from hpcorch.services.submission.earlier_elements import end_elements
from hpcorch.services.submission.resubmission import Resubmission
from hpcorch.services.submission.submit import SubmittedRuns, submit_array
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import tend
from hpcorch.services.tending.unsubmitted import CURE, left_runs
from hpcorch.slurm.client import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """Which runs would be run again, and why others would not.

    :param launches: first run of a launch -> its runs that are run again
    :param passed_over: run -> why it is not run again
    """

    sweep: str
    backend: Backend
    launches: Mapping[int, Sequence[int]]
    passed_over: Mapping[int, str]

    @property
    def runs(self) -> list[int]:
        """The runs to run again, ascending."""
        return sorted(run for runs in self.launches.values() for run in runs)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "runs": self.runs,
            "passed_over": {str(run): why for run, why in self.passed_over.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryResult:
    """What a retry did, and what stopped it on the way.

    :param notices: sentences on what else was done about the sweep, and could not be
    :param is_completed: whether every run ran here and has completed
    """

    plan: RetryPlan
    submitted: tuple[SubmittedRuns, ...]
    error: HpcorchError | None = None
    notices: tuple[str, ...] = ()
    is_completed: bool = False

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        done = [{"launch": one.launch, "runs": list(one.runs), "job_id": one.job_id} for one in self.submitted]
        return {
            **self.plan.as_plain(),
            "submitted": done,
            "error": None if self.error is None else str(self.error),
        }


def parse_changes(words: Sequence[str]) -> dict[str, Any]:
    """Read launcher keys as ``key=value``, the value as JSON has it, or else text.

    :raises UsageError: a text has another form
    """
    changes: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator:
            raise UsageError(f"{word!r} changes no key of the launcher: write key=value, such as mem_gb=16")
        try:
            changes[key.removeprefix("hydra.launcher.")] = json.loads(text)
        except ValueError:
            changes[key.removeprefix("hydra.launcher.")] = text
    return changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Runs of one's own sweep, to be run again with the launcher's keys as they were, or changed."""

    control: Control
    selector: Selector
    changes: Mapping[str, Any]

    @property
    def _ledger(self) -> Ledger:
        return self.control.reconciler.ledger

    @property
    def _sweep(self) -> str:
        return self.control.sweep.id

    def plan(self, among: Collection[int] | None = None) -> RetryPlan:
        """What would be run again, by what the ledger has.

        :param among: only of these runs; None for all that are selected
        :raises NotFoundError: a run that is named does not exist
        :raises UsageError: a changed key does not exist, or has a value that cannot be
        """
        launches: dict[int, list[int]] = {}
        passed_over: list[Run] = []
        named = self.selector.names_runs or self.selector.states is not None
        summary = self._ledger.sweep(self._sweep)
        left = set(left_runs(self._ledger, summary))
        for run in select_runs(self._ledger, self._sweep, self.selector):
            if among is not None and run.run not in among:
                continue
            if run.state in NOT_FINE or run.run in left:
                launches.setdefault(run.launch, []).append(run.run)
            elif named or run.state is not RunState.COMPLETED:
                passed_over.append(run)
        plan = RetryPlan(
            sweep=self._sweep,
            backend=self.control.sweep.backend,
            launches=dict(sorted(launches.items())),
            passed_over=self._why_not(passed_over),
        )
        for launch in self._launches(plan):
            self._checked(launch)
        return plan

    def _why_not(self, runs: Sequence[Run]) -> dict[int, str]:
        is_refused = bool(runs and refused_submissions(self._ledger, self._sweep))
        return {run.run: _why_not(run, is_refused=is_refused) for run in runs}

    def submit(self) -> RetryResult:
        """Submit what is to be run again, one array for those of a launch that ask for the same.

        :return: what was submitted, with the error that stopped it where there was one
        :raises UnavailableError: Slurm does not answer, an earlier element does not end, or somebody else is busy
            with the sweep; nothing was submitted
        """
        ended = self.plan().runs
        end_elements(self.control.client, self._ledger.submissions(self._sweep), ended)
        with self._decided(ended) as plan:
            submitted, stopped_by = self._submit(plan)
            self.control.reconciler.ingest()
        # A new array may need a keeper, as the first did.
        notices = tend(self.control.reconciler, self.control.client).sentences
        return RetryResult(plan=plan, submitted=tuple(submitted), error=stopped_by, notices=tuple(notices))

    def _submit(self, plan: RetryPlan) -> tuple[list[SubmittedRuns], HpcorchError | None]:
        """Submit array after array; those that were submitted, and what stopped it."""
        journal, client = self.control.reconciler.journal, self.control.client
        submitted: list[SubmittedRuns] = []
        try:
            self._record_environment(journal.layout)
            for launch, portion in self._portions(plan):
                again = self._again(launch, portion.runs, portion.keys)
                request = replace(again.request(os.environ), most_tasks=portion.most_tasks)
                submitted.append(submit_array(journal, request, client))
        except HpcorchError as error:
            return submitted, error
        return submitted, None

    def _record_environment(self, layout: SweepLayout) -> None:
        """For what is submitted later; that of the launch is removed once all runs are over."""
        try:
            record_environment(layout, os.environ)
        except OSError as error:
            raise RecordError(
                f"the environment cannot be recorded in {layout.state} ({error.strerror}): free space or inodes"
                " there; nothing was submitted"
            ) from error

    def run_here(self, tick: Callable[[Mapping[RunState, int]], None], tell: Callable[[str], None]) -> RetryResult:
        """Run what is to be run again on this machine, and return when it is over.

        :param tick: called often with the count of the sweep's runs in each state
        :param tell: told what becomes of a ledger that goes away meanwhile
        :raises hpcorch.services.local.pool.Interrupted: SIGINT or SIGTERM arrived; every run is stopped, and
            recorded
        """
        journal = self.control.reconciler.journal
        with self._decided() as plan:
            again = [
                replace(
                    self._again(launch, plan.launches[launch.first_run], self._keys(launch)),
                    asked=self._asked(launch, plan),
                )
                for launch in self._launches(plan)
            ]
            pools = [LocalPool.submit(journal, each.local_request()) for each in again]
            submitted = tuple(
                SubmittedRuns(launch=pool.request.launch, runs=tuple(pool.request.runs), job_id=pool.id)
                for pool in pools
            )

        with SteadyReconciler(self._ledger.path, journal, tell) as reconciler:

            def take_over() -> None:
                reconciler.ingest()
                tick(reconciler.ask(lambda ledger: ledger.counts(self._sweep)))

            for pool in pools:
                run_with_retries(reconciler, pool, take_over)
            reconciler.ingest()
            runs = reconciler.ask(lambda ledger: ledger.runs(self._sweep, indices=plan.runs))
        completed = all(run.state is RunState.COMPLETED for run in runs)
        return RetryResult(plan=plan, submitted=submitted, is_completed=completed)

    @contextmanager
    def _decided(self, among: Collection[int] | None = None) -> Iterator[RetryPlan]:
        """The plan by everything that is on record, with the sweep's lock held: nobody else submits meanwhile."""
        with self.control.reconciler.journal.locked():
            self.control.reconciler.ingest()
            yield self.plan(among)

    def _portions(self, plan: RetryPlan) -> Iterator[tuple[Launch, ArrayPlan]]:
        room = SubmitRoom(array_tasks=self.control.client.config().array_tasks)
        for launch in self._launches(plan):
            chosen = portions(self._asked(launch, plan), room, alone=True).arrays
            yield from ((launch, portion) for portion in chosen)

    def _asked(self, launch: Launch, plan: RetryPlan) -> dict[int, LaunchKeys]:
        """What each run of a launch that is run again asks for."""
        keys = LaunchKeys.recorded(launch.options)
        runs = self._ledger.runs(self._sweep, indices=plan.launches[launch.first_run])
        return {run.run: keys.changed({**run.launcher, **self.changes}) for run in runs}

    def _launches(self, plan: RetryPlan) -> list[Launch]:
        return [launch for launch in self._ledger.launches(self._sweep) if launch.first_run in plan.launches]

    def _checked(self, launch: Launch) -> None:
        known = names(Heeds.POOL if self.control.is_local else Heeds.SBATCH)
        for key in self.changes:
            if key not in known:
                raise UsageError(
                    f"{key!r} cannot be changed for a retry; keys that can are: {', '.join(sorted(known))}"
                )
        keys = self._keys(launch)
        if self.control.is_local:
            self._again(launch, (), keys).local_request()
        else:
            keys.check_packed()

    def _keys(self, launch: Launch) -> LaunchKeys:
        return LaunchKeys.recorded(launch.options).changed(self.changes)

    def _again(self, launch: Launch, runs: Sequence[int], keys: LaunchKeys) -> Resubmission:
        return Resubmission(layout=self.control.reconciler.layout, launch=launch, runs=runs, keys=keys)


def open_retry(
    writer: Ledger, selector: Selector, changes: Mapping[str, Any], client: SlurmClient | None = None
) -> Retry:
    """A retry of the sweep that is selected, with what Slurm says of it now.

    :param writer: open for writing
    :raises NotFoundError: no sweep is selected
    :raises UsageError: it is another user's, on another cluster, or another sweep has its directory
    :raises RecordGoneError: its directory is gone
    :raises UnavailableError: Slurm does not answer, or the journals cannot be read
    """
    control = open_control(writer, selector, client)
    if (why := control.reconciler.why_gone) is not None:
        raise RecordGoneError(f"nothing of sweep {control.sweep.id} can be run again: {why}")
    if control.reconciler.layout.aside is not None:
        raise UsageError(
            f"the directory {control.sweep.directory} now belongs to another sweep, and the record of"
            f" {control.sweep.id} was set aside: launch its runs as a new sweep"
        )
    if any(one.form.is_script for one in writer.submissions(control.sweep.id)):
        again = shlex.join(script_again(control, selector))
        raise UsageError(
            f"sweep {control.sweep.id} is a user's script, or a command in one, and hpcorch cannot know whether it"
            f" can safely run twice: submit it again with `{again}`"
        )
    control.look()
    return Retry(control=control, selector=replace(selector, sweep=control.sweep.id), changes=changes)


def _why_not(run: Run, *, is_refused: bool) -> str:
    """Why a run is not run again, in words that are as true of several.

    :param is_refused: whether Slurm has refused a submission of the sweep for good
    """
    if run.state is RunState.COMPLETED:
        return "already completed"
    if run.state is RunState.PLANNED and run.submission is None and is_refused:
        return f"never submitted, since Slurm refused that: {CURE}. {run.reason or ''}".rstrip()
    if run.state is RunState.PLANNED:
        return f"waiting until Slurm takes more: `hpcorch tend {run.sweep}` tries now"
    return f"not over yet ({run.state.value})"


_ARRAY = "--array="


def script_again(control: Control, selector: Selector) -> list[str]:
    """The words of the command; of an array for those of the selected runs that did not end well."""
    sweep, ledger = control.sweep, control.reconciler.ledger
    if not any(one.form is SubmissionForm.SCRIPT_ARRAY for one in ledger.submissions(sweep.id)):
        return list(sweep.argv)
    with suppress(UnavailableError):  # then by what is known
        control.look()
    failed = [run.run for run in select_runs(ledger, sweep.id, selector) if run.state in NOT_FINE]
    if not failed:
        return list(sweep.argv)
    flags = ledger.config(sweep.id, failed[0])["flags"]
    command, rest = sweep.argv[:2], sweep.argv[2 + len(flags) :]
    kept = [flag for flag in flags if not flag.startswith(_ARRAY)]
    return [*command, *kept, f"{_ARRAY}{format_ranges(failed)}", *rest]

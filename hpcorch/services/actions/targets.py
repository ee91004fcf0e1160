"""Which array elements selected runs are, and which of them an action is for. Pure decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from hpcorch.model.actions import Action
from hpcorch.model.entities import Run, Submission
from hpcorch.model.states import WITH_SLURM, RunState, SubmissionForm
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.array_elements import elements_of

_WAITING = frozenset({RunState.SUBMITTED, RunState.PENDING})
_ACTS_ON: Mapping[Action, frozenset[RunState]] = {
    Action.CANCEL: WITH_SLURM,
    Action.HOLD: _WAITING,
    Action.RELEASE: _WAITING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Runs of one submission, which an action is for.

    :param whole: whether the action could be for no other run of the same job
    """

    submission: Submission
    runs: tuple[int, ...]
    whole: bool

    @property
    def indices(self) -> list[int]:
        """The array indices of the runs, ascending; none of a job that is no array, or packed."""
        places = map(self.submission.index_of, self.runs)
        return sorted(index for index in places if index is not None)

    @property
    def element(self) -> str | None:
        """The elements as Slurm's commands take them: ``369`` for all, else ``369_[0,2-4]``.

        None of some runs of a packed array, whose elements execute other runs as well.
        """
        assert self.submission.job_id is not None
        if self.whole or self.submission.form is SubmissionForm.SCRIPT_JOB:
            return self.submission.job_id
        return None if self.submission.is_packed else elements_of(self.submission.job_id, self.indices)

    @property
    def addressee(self) -> str:
        """Who is asked, for people: the elements, or tasks that read the request in the record."""
        return self.element or f"tasks of {self.submission.job_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What an action is for, and why it is not for the other selected runs.

    :param unsettled: runs of which nobody knows yet whether Slurm has them
    :param unsubmitted: runs that wait to be submitted, and need not be any more
    :param passed_over: run -> why nothing is done
    """

    targets: Sequence[Target]
    unsettled: Sequence[int]
    unsubmitted: Sequence[int]
    passed_over: Mapping[int, str]

    @property
    def runs(self) -> list[int]:
        """The runs that the action is for, ascending."""
        return sorted([*self.unsubmitted, *(run for target in self.targets for run in target.runs)])


def choose(
    action: Action,
    selected: Iterable[Run],
    every: Iterable[Run],
    submissions: Mapping[int, Submission],
    staying: Collection[int] = (),
) -> Targets:
    """The elements of the selected runs that an action is for.

    :param every: all runs of the sweep
    :param staying: those that are over and whose process or job is still there
    """
    chosen: dict[int, list[int]] = {}
    unsettled: list[int] = []
    unsubmitted: list[int] = []
    passed_over: dict[int, str] = {}
    for run in selected:
        submission = _submission_of(run, submissions)
        if action is Action.CANCEL and run.state is RunState.PLANNED and run.submission is None:
            unsubmitted.append(run.run)
        elif run.state not in _ACTS_ON[action] and not (
            action is Action.CANCEL and (_is_given_up(run) or run.run in staying)
        ):
            passed_over[run.run] = _why_not(run)
        elif submission is None or submission.job_id is None:
            unsettled.append(run.run)
        else:
            chosen.setdefault(submission.submission, []).append(run.run)
    left = {run.run: run for run in every if run.state in WITH_SLURM or run.run in staying}
    for runs in chosen.values():
        for index in runs:
            left.pop(index, None)
    # By job, not by submission: a local pool may serve several, one after the other. What a packed array executes
    # is no part of what it has waiting.
    partial = {
        one.job_id
        for run in left.values()
        if (one := _submission_of(run, submissions)) is not None
        and (run.state in _ACTS_ON[action] or not one.is_packed)
    }
    targets = [
        Target(submission=submissions[number], runs=tuple(runs), whole=submissions[number].job_id not in partial)
        for number, runs in sorted(chosen.items())
    ]
    return Targets(targets=targets, unsettled=unsettled, unsubmitted=unsubmitted, passed_over=passed_over)


def split(targets: Iterable[Target], runs: Collection[int]) -> tuple[list[Target], list[Target]]:
    """The parts of the targets that are these runs, and the parts that are not."""
    inside: list[Target] = []
    outside: list[Target] = []
    for target in targets:
        those = tuple(run for run in target.runs if run in runs)
        others = tuple(run for run in target.runs if run not in runs)
        whole = target.whole and not (those and others)
        inside += [replace(target, runs=those, whole=whole)] if those else []
        outside += [replace(target, runs=others, whole=whole)] if others else []
    return inside, outside


def _is_given_up(run: Run) -> bool:
    """Whether Slurm had the run and does not requeue it after a preemption: it will be submitted again."""
    return run.state is RunState.PLANNED and run.submission is not None


def _submission_of(run: Run, submissions: Mapping[int, Submission]) -> Submission | None:
    return None if run.submission is None else submissions.get(run.submission)


def _why_not(run: Run) -> str:
    """Why nothing is done, in words that are as true of several runs."""
    if run.state is RunState.PLANNED:
        return "not in Slurm's queue" if _is_given_up(run) else "never submitted"
    if run.state.is_final:
        return f"already over ({run.state.value})"
    return f"not waiting ({run.state.value})"

"""Whether a script that ended by itself was being preempted, which Slurm 22.05 tells by a time alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from hpcorch.errors import SlurmUnavailableError
from hpcorch.model.entities import Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptState, SubmissionForm
from hpcorch.services.observation.hidden_causes import with_preemptions
from hpcorch.services.observation.known import KnownAttempts
from hpcorch.slurm.answers.scontrol import ClusterConfig
from hpcorch.slurm.client import CliClient
from tests.support import entities

JOB = entities.submission(job_id="41", form=SubmissionForm.SCRIPT_JOB)
ARRAY = replace(JOB, runs=(2, 3), form=SubmissionForm.SCRIPT_ARRAY)
START = "2026-01-01T10:00:00"
FAILED = JobObserved(
    submission=0, run=0, restart=0, state="FAILED", witness="sacct", exit_code=1, start=f"{START}.000000Z"
)
PREEMPTED = f"41|{START}|2026-01-01T10:05:00|\n"


class Cluster(CliClient):
    """A cluster that says this of preemptions, or does not answer."""

    def __init__(self, says: str | None, *, preempts: bool = True) -> None:
        super().__init__({})
        self.asked: list[Sequence[str]] = []
        self._says = says
        self._preempts = preempts

    def config(self) -> ClusterConfig:
        return ClusterConfig(
            cluster="c",
            version="",
            max_array_size=1001,
            min_job_age_s=300,
            accounting=True,
            preempts=self._preempts,
        )

    def ask(self, argv: Sequence[str]) -> str:
        self.asked.append(argv)
        if self._says is None:
            raise SlurmUnavailableError("it does not answer")
        return self._says


def known(submission: Submission = JOB, *observed: JobObserved) -> KnownAttempts:
    words = {AttemptId(run=fact.run, submission=0, restart=fact.restart): fact for fact in observed}
    return KnownAttempts(submissions={"41": submission}, attempts={}, observed=words)


def told(cluster: Cluster, *facts: JobObserved, before: KnownAttempts | None = None) -> list[bool | None]:
    found = with_preemptions(facts, before or known(), cluster)
    assert [replace(fact, preempted=None) for fact in found] == list(facts)
    return [fact.preempted for fact in found]


@pytest.mark.parametrize(
    ("journal", "slurm", "is_asked"),
    [("STOPPED", "LINGERING", True), ("RUNNING", "COMPLETED", True), ("RUNNING", "FAILED", False)],
)
def test_a_task_that_was_stopped_or_left_with_exit_code_0_says_whether_slurm_preempts_it(
    journal: str, slurm: str, is_asked: bool
) -> None:
    attempts = {(0, 0): entities.attempt(0, state=AttemptState(journal))}
    before = replace(known(entities.submission(job_id="41")), attempts=attempts)
    cluster = Cluster(PREEMPTED.replace("41", "41_0"))
    assert told(cluster, replace(FAILED, state=slurm), before=before) == [True if is_asked else None]
    assert bool(cluster.asked) is is_asked


@pytest.mark.parametrize("state", ["FAILED", "COMPLETED"])
@pytest.mark.parametrize("start", [FAILED.start, None])  # squeue's word has none
def test_a_script_that_ended_after_slurm_began_to_preempt_it_says_so(state: str, start: str | None) -> None:
    assert told(Cluster(PREEMPTED), replace(FAILED, state=state, start=start)) == [True]


@pytest.mark.parametrize(
    "says",
    [
        f"41|{START}|N/A|\n",
        "41|2026-01-01T10:00:01|2026-01-01T10:05:00|\n",  # of a later execution
        f"41|{START}|2026-01-01T09:05:00|\n",  # of an earlier one
        f"42|{START}|2026-01-01T10:05:00|\n",
        "CLUSTER: c\n",
        "",
        None,
    ],
)
def test_where_slurm_does_not_say_that_it_preempted_this_execution_its_word_on_the_end_counts(
    says: str | None,
) -> None:
    assert told(Cluster(says), FAILED) == [None]


def test_the_elements_of_an_array_are_told_apart_by_one_question() -> None:
    cluster = Cluster(f"41_2|{START}|2026-01-01T10:05:00|\n41_3|{START}|N/A|\n")
    facts = [replace(FAILED, run=run) for run in (2, 3)]
    assert told(cluster, *facts, before=known(ARRAY)) == [True, None]
    assert len(cluster.asked) == 1


def test_what_was_known_is_not_forgotten_with_the_job() -> None:
    before = known(JOB, replace(FAILED, witness="squeue", start=None, preempted=True))
    assert told(Cluster(""), FAILED, before=before) == [True]


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "PREEMPTED", "CANCELLED", "TIMEOUT", "NOT_REQUEUED"])
def test_a_word_that_hides_no_preemption_costs_no_question(state: str) -> None:
    cluster = Cluster(PREEMPTED)
    assert told(cluster, replace(FAILED, state=state)) == [None]
    assert cluster.asked == []


@pytest.mark.parametrize("form", [SubmissionForm.TASKS, SubmissionForm.SCRIPT_JOB])
def test_what_keeps_a_journal_of_its_own_costs_no_question(form: SubmissionForm) -> None:
    cluster = Cluster(PREEMPTED)
    script = JOB.script if form is SubmissionForm.TASKS else ""  # a command in a job of the user's own
    assert told(cluster, FAILED, before=known(replace(JOB, form=form, script=script))) == [None]
    assert cluster.asked == []


def test_where_nobody_is_preempted_there_is_no_question() -> None:
    cluster = Cluster(PREEMPTED, preempts=False)
    assert told(cluster, FAILED) == [None]
    assert cluster.asked == []

"""The pure parts of `hpcorch exec`: the job in the environment, names of sweeps, what an end is to the record."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcorch.journal.layout import SweepLayout
from hpcorch.model import events as ev
from hpcorch.model.entities import Submission
from hpcorch.model.folding.evidence import RunEvidence
from hpcorch.model.folding.run import FoldedRun, fold_run
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptState, RunState, SubmissionForm
from hpcorch.runtime.context.place import place_in
from hpcorch.services.exec.end import attempt_end
from hpcorch.services.exec.own_sweep import Order, sweep_name
from hpcorch.services.exec.process import Ended
from hpcorch.services.exec.result_file import Found
from hpcorch.services.exec.time_limit import Treatment, limits_of
from hpcorch.slurm.answers.times import seconds_left
from hpcorch.slurm.job_environment import Job, job_here
from tests.support import entities
from tests.support.events import SWEEP

ATTEMPT = AttemptId(run=0, submission=0, restart=0)
IN_USERS_JOB = entities.submission(sweep=SWEEP, script="", job_id="41", form=SubmissionForm.SCRIPT_JOB)
SCRIPT = replace(IN_USERS_JOB, script=".hpcorch/submissions/s0.sbatch")
CLAIMED = ev.AttemptClaimed(host="n1", pid=7, job_id="41")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:59", 59), ("03:04", 184), ("1:02:03", 3723), ("2-00:00:10", 172810), ("UNLIMITED", None), ("", None)],
)
def test_what_squeue_says_of_the_time_left(text: str, seconds: int | None) -> None:
    assert seconds_left(f"{text}\n") == seconds


def test_an_element_is_known_by_its_array() -> None:
    variables = {"SLURM_JOB_ID": "48", "SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "0"}
    found = job_here({**variables, "SLURM_RESTART_COUNT": "2"})
    assert found is not None
    assert (found.id, found.raw_id, found.element, found.restart) == ("41", "48", "41_0", 2)


def test_outside_of_slurm_there_is_no_job() -> None:
    assert job_here({"SLURM_CONF": "/etc/slurm.conf"}) is None


def test_the_name_of_a_sweep_is_the_commands_in_its_place() -> None:
    order = Order(argv=["run", "a b"], name="run", cwd=Path("/work"), environ={})
    job = Job(raw_id="41", cluster="lab")
    name = sweep_name(order, job)
    assert name.startswith("lab-41-")
    assert sweep_name(order, replace(job, restart=1, node="n2")) == name
    others = [
        sweep_name(replace(order, argv=["run", "a", "b"]), job),
        sweep_name(replace(order, argv=["run", "a b", ""]), job),
        sweep_name(replace(order, cwd=Path("/other")), job),
        sweep_name(order, replace(job, raw_id="42")),
        sweep_name(order, replace(job, array_id="41", index=0)),
    ]
    assert len({name, *others}) == 6


@pytest.mark.parametrize(
    ("delay", "left", "ahead", "told"),
    [
        (45.0, 60, 45, ""),  # as it was said, though that leaves a short job 15 s
        (45.0, 30, 15, "the job has 30 s left, and --signal-delay is 45: the command is sent SIGTERM 15 s before"),
        (None, 60, 30, ""),
        (None, 3600, 120, ""),
    ],
)
def test_a_command_is_warned_so_long_before_the_time_limit_as_was_said(
    delay: float | None, left: int, ahead: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = time.time() + left
    treatment = Treatment(requeue=True, signal_delay_s=delay)
    place = place_in(SweepLayout(tmp_path), ATTEMPT, 0, Job(raw_id="41", end=end))
    limits = limits_of(treatment, place)
    assert limits.warn_at == pytest.approx(end - ahead, abs=1)
    assert limits.kill_at is not None
    assert limits.kill_at > limits.warn_at
    said_so = capsys.readouterr().err
    assert told in said_so
    assert bool(told) == bool(said_so)


def test_flags_are_on_record_as_far_as_they_say_anything() -> None:
    assert Treatment().flags == []
    assert Treatment(requeue=True).flags == ["--requeue"]
    treatment = Treatment(
        name="n", leases={"b": 2, "a": 1}, result=Path("r.json"), grace_s=2.5, requeue=True, max_requeues=9
    )
    assert treatment.flags == [
        *("--lease=a=1", "--lease=b=2", "--requeue", "--name=n", "--result=r.json", "--grace=2.5"),
        "--max-requeues=9",
    ]


def ended(exit_code: int, **values: object) -> Ended:
    return Ended(exit_code=exit_code, seconds=1.0, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "in_job", "outcome", "signal"),
    [
        (ended(0), True, "completed", None),
        (ended(3), True, "failed", None),
        (ended(137, signal="SIGKILL"), True, "failed", "SIGKILL"),
        (ended(3, asked_by="SIGTERM"), False, "stopped", "SIGTERM"),
        (ended(0, asked_by="SIGTERM"), False, "completed", None),  # nobody but the command tells
        (ended(0, asked_by="SIGTERM"), True, "stopped", "SIGTERM"),  # it may have been preempted
        (ended(0, warned=True), True, "stopped", "SIGUSR1"),
    ],
)
def test_what_an_end_is_to_the_record(end: Ended, in_job: bool, outcome: str, signal: str | None) -> None:
    found = attempt_end(end, Found(result=5), in_job=in_job)
    assert (found.outcome, found.signal, found.exit_code, found.result) == (outcome, signal, end.exit_code, 5)


def said(state: str, restart: int = 0, witness: str = "sacct") -> ev.JobObserved:
    return ev.JobObserved(submission=0, run=0, restart=restart, state=state, witness=witness)


def folded(submission: Submission, facts: list[ev.Fact], slurm: str | None) -> tuple[AttemptState, RunState]:
    found = fold(submission, {ATTEMPT: [CLAIMED, *facts]}, [] if slurm is None else [said(slurm)])
    return found.attempts[0].state, found.run.state


def fold(
    submission: Submission, attempts: dict[AttemptId, list[ev.Fact]], observed: list[ev.JobObserved]
) -> FoldedRun:
    planned = ev.RunPlanned(
        run=0,
        base=0,
        overrides=[],
        params={},
        changes={},
        config_digest="d",
        seed=1,
        seed_source="derived",
        directory="/work",
    )
    return fold_run(
        RunEvidence(
            planned=event(planned, "launch-000000", 0),
            launch=0,
            submissions=[submission],
            observed=[event(fact, "control", seq) for seq, fact in enumerate(observed)],
            attempts={
                name: [event(fact, str(name), seq) for seq, fact in enumerate(facts)]
                for name, facts in attempts.items()
            },
        )
    )


def event(fact: ev.Fact, source: str, seq: int) -> ev.Event:
    return ev.Event(sweep=SWEEP, source=source, seq=seq, time="2026-01-01T00:00:00.000000Z", fact=fact)


@pytest.mark.parametrize("slurm", [None, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"])
@pytest.mark.parametrize(("outcome", "code"), [("completed", 0), ("failed", 3)])
def test_the_end_of_a_command_stands_whatever_became_of_its_job(outcome: str, code: int, slurm: str | None) -> None:
    end = ev.AttemptEnded(outcome=outcome, exit_code=code)
    assert folded(IN_USERS_JOB, [end], slurm) == (AttemptState(outcome.upper()), RunState(outcome.upper()))


@pytest.mark.parametrize(
    ("code", "slurm", "state"),
    [
        (0, "COMPLETED", RunState.COMPLETED),
        (3, "COMPLETED", RunState.FAILED),
        (0, "PREEMPTED", RunState.PENDING),
        (3, "PREEMPTED", RunState.PENDING),
        (0, "CANCELLED", RunState.CANCELLED),
        (0, "TIMEOUT", RunState.TIMEOUT),
        (3, None, RunState.UNCERTAIN),
    ],
)
def test_what_stopped_a_command_in_a_job_is_slurms_to_tell(code: int, slurm: str | None, state: RunState) -> None:
    end = ev.AttemptEnded(outcome="stopped", exit_code=code, signal="SIGTERM")
    assert folded(IN_USERS_JOB, [end], slurm)[1] is state


def test_a_command_that_was_killed_without_a_word_is_not_called_completed() -> None:
    assert folded(IN_USERS_JOB, [], "COMPLETED") == (AttemptState.LOST, RunState.LOST)
    assert folded(IN_USERS_JOB, [], "FAILED") == (AttemptState.FAILED, RunState.FAILED)


def test_of_a_script_slurm_alone_tells_the_end() -> None:
    step = ev.CommandEnded(step=0, exit_code=3)
    assert folded(SCRIPT, [step], "COMPLETED") == (AttemptState.COMPLETED, RunState.COMPLETED)
    assert folded(SCRIPT, [step], "FAILED") == (AttemptState.FAILED, RunState.FAILED)
    assert folded(SCRIPT, [step], None) == (AttemptState.RUNNING, RunState.RUNNING)


def test_a_script_that_failed_while_it_was_preempted_is_over_and_no_failure() -> None:
    """Its exit code is kept. Whether an attempt of it is known, or Slurm's word alone, makes no difference."""
    word = replace(said("FAILED"), exit_code=3, preempted=True)
    for attempts in ({ATTEMPT: [CLAIMED]}, {}):
        found = fold(SCRIPT, attempts, [word])
        assert (found.run.state, found.run.exit_code) == (RunState.CANCELLED, 3)
        assert "within the grace time" in (found.run.reason or "")
        assert [(one.state, one.slurm_state) for one in found.attempts] in (
            [],
            [(AttemptState.PREEMPTED, "FAILED")],
        )
    requeued = [word, said("PENDING", 1, "squeue")]  # by its user
    assert fold(SCRIPT, {ATTEMPT: [CLAIMED]}, requeued).run.state is RunState.PENDING


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (said("PENDING", 1, "squeue"), RunState.PENDING),
        (said("RUNNING", 1, "squeue"), RunState.RUNNING),
        (said("FAILED", 1), RunState.FAILED),
    ],
)
def test_a_script_that_completed_and_is_requeued_is_executed_again(word: ev.JobObserved, state: RunState) -> None:
    assert fold(SCRIPT, {ATTEMPT: [CLAIMED]}, [said("COMPLETED"), word]).run.state is state


def test_of_a_command_that_a_requeued_job_executes_again_the_last_end_counts() -> None:
    completed, failed = (ev.AttemptEnded(outcome=o, exit_code=c) for o, c in (("completed", 0), ("failed", 1)))
    found = fold(IN_USERS_JOB, {ATTEMPT: [CLAIMED, completed], replace(ATTEMPT, restart=1): [CLAIMED, failed]}, [])
    assert found.run.state is RunState.FAILED


@pytest.mark.parametrize("submission", [SCRIPT, IN_USERS_JOB])
def test_what_was_preempted_and_not_requeued_is_over_since_nobody_submits_it_again(submission: Submission) -> None:
    observed = [said("PREEMPTED"), said("NOT_REQUEUED", 1, "squeue")]
    assert fold(submission, {ATTEMPT: [CLAIMED]}, observed).run.state is RunState.CANCELLED

"""What a killed job leaves: Slurm's words in its log, and the exit codes that sacct prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import JobObserved
from hpcorch.services.observation.hidden_causes import with_memory
from hpcorch.services.observation.known import KnownAttempts
from hpcorch.slurm.answers import sacct
from hpcorch.slurm.commands import ACCOUNTING_FIELDS, STEPS_CODE_FIELD
from tests.support import entities

KILLED = JobObserved(submission=0, run=0, restart=1, state="FAILED", witness="sacct", signal=9)
# As slurmstepd of 22.05 and 24.11 writes it for a job and for a step, as that of 26.05 does, and the cgroup plugin.
OVER = [
    "slurmstepd-n1: error: StepId=38.launch exceeded memory limit (427675648 > 104857600), being killed",
    "slurmstepd-n1: error: Exceeded job memory limit",
    "[2026-11-23T08:53:18.009] error: StepId=6.launch exceeded memory limit (743763968 > 209715200), being killed",
    "[2026-11-23T08:53:18.011] error: Exceeded job memory limit",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=39.0. Some of the step tasks have been OOM Killed.",
]


def judged(folder: Path, fact: JobObserved, **values: object) -> JobObserved:
    attempt = entities.attempt(restart=1)
    log = folder / "0.log"
    known = KnownAttempts(
        submissions={}, attempts={(0, 0): replace(attempt, **{"log": str(log), **values})}, observed={}
    )
    (found,) = with_memory([fact], known, SweepLayout(folder))
    return found


@pytest.mark.parametrize("line", OVER)
@pytest.mark.parametrize("name", ["0.log", "0.err"])
def test_slurms_words_in_the_log_tell_a_job_that_was_over_its_memory_limit(
    tmp_path: Path, name: str, line: str
) -> None:
    (tmp_path / "0.log").write_text("epoch 1\n")
    with (tmp_path / name).open("a") as log:
        log.write(f"{'x' * 100_000}\n{line}\n")
    assert judged(tmp_path, KILLED).over_memory is True


def test_a_job_that_something_else_killed_was_not(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_text(
        "epoch 1\nmy code: the cache exceeded memory limit, so I shrink it\n[info] error: exceeded memory limit\n"
    )
    assert judged(tmp_path, KILLED).over_memory is False


def test_an_earlier_attempts_end_in_the_same_log_is_not_this_ones(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_text(f"{OVER[0]}\nepoch 1\n")
    assert judged(tmp_path, KILLED, log_start=len(OVER[0]) + 1).over_memory is False


def test_a_log_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, KILLED).over_memory is None
    assert judged(tmp_path, KILLED, log=None).over_memory is None
    assert judged(tmp_path, KILLED, restart=0).over_memory is None


@pytest.mark.parametrize(
    "other", [replace(KILLED, signal=11), replace(KILLED, state="CANCELLED"), replace(KILLED, witness="squeue")]
)
def test_the_log_is_read_of_a_killed_job_only(tmp_path: Path, other: JobObserved) -> None:
    (tmp_path / "0.log").write_text(OVER[0])
    assert judged(tmp_path, other) == other


@pytest.mark.parametrize(
    ("script", "steps", "expected"),
    [
        ("0:9", "0:0", (0, 9)),
        ("9:0", "0:9", (9, 9)),  # exec srun, whose tasks SIGKILL ended: 137 less 128
        ("137:0", "0:9", (137, 9)),  # as 26.05 prints it
        ("9:0", "0:0", (9, 0)),
        ("1:0", "0:9", (1, 0)),
        ("0:0", "0:15", (0, 0)),
    ],
)
def test_the_signal_of_a_step_is_the_jobs_where_it_is_passed_on(
    script: str, steps: str, expected: tuple[int, int]
) -> None:
    line = f"38|38_0|FAILED|{script}|Unknown|Unknown|Unknown|n1|None|{steps}"
    (row,) = sacct.parse(line, (*ACCOUNTING_FIELDS, STEPS_CODE_FIELD))
    assert (row.exit_code, row.signal) == expected

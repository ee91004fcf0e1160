"""What Slurm's commands printed on each release, and what is read from it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from hpcorch.slurm import commands, sacct, scontrol, squeue
from hpcorch.slurm.states import JobState

DATA = Path(__file__).parent / "data" / "slurm"
RELEASES = sorted(path.name for path in DATA.iterdir())


@pytest.fixture(params=RELEASES)
def release(request):
    return request.param


@pytest.fixture
def captured(release):
    return lambda name: (DATA / release / f"{name}.txt").read_text(encoding="utf-8")


def by_comment(rows, token):
    return sorted((row for row in rows if token in row.comment), key=lambda row: row.index)


def test_queue_rows_tell_elements_states_and_reasons(captured):
    rows = squeue.parse(captured("squeue"))
    held = by_comment(rows, "11aa")
    assert [row.index for row in held] == [0, 1, 2]
    assert {(row.state, row.reason, row.nodes) for row in held} == {(JobState.PENDING, "JobHeldUser", "")}
    assert held[0].comment == "words, a|pipe and é hpcorch:11aa"
    running = by_comment(rows, "22bb")
    assert [row.state.value for row in running] == ["PENDING", "RUNNING", "RUNNING", "PENDING"]
    assert running[1].reason is None
    assert running[1].raw_id != running[1].array_job_id
    assert running[0].submitted_at > running[1].submitted_at, "a requeue changes the submit time"
    (single,) = (row for row in rows if row.index is None)
    assert (single.state, single.comment) == (JobState.CANCELLED, "")


def test_foreign_lines_are_no_queue_rows():
    assert squeue.parse("CLUSTER: a\n\nslurm_load_jobs error\n") == []


@pytest.mark.parametrize(
    ("row", "reason", "day"),
    [
        ("13_1|N/A|Resources", "Resources", None),
        ("13_1|2027-11-23T11:30:15|Licenses", "Licenses", 23),
        ("13|N/A|None", None, None),
        ("13|N/A|ReqNodeNotAvail, UnavailableNodes:n1|n2", "ReqNodeNotAvail, UnavailableNodes:n1|n2", None),
    ],
)
def test_what_the_scheduler_thinks_of_a_waiting_job(row, reason, day):
    found = squeue.parse_waiting(f"CLUSTER: a\n{row}\n")
    assert found.reason == reason
    assert (found.expected_start and found.expected_start.day) == day


def test_of_a_job_that_does_not_wait_the_scheduler_thinks_nothing():
    assert squeue.parse_waiting("") is None


@pytest.mark.parametrize(("tasks", "indices"), [("0-14:2", range(0, 15, 2)), ("3,20%1", (3, 20)), ("7", (7,))])
def test_elements_that_wait_in_one_row_are_told_one_by_one(tasks, indices):
    row = f"9_[{tasks}]|9|9|{tasks}|PENDING|2026-11-23T10:00:00||JobHeldUser|a|b"
    rows = squeue.parse(row)
    assert [(one.job_id, one.index, one.comment) for one in rows] == [(f"9_{i}", i, "a|b") for i in indices]
    waiting = sacct.parse(f"9|9_[{tasks}]|PENDING|0:0|2026-11-23T10:00:00|Unknown|Unknown|None assigned|None")
    assert [one.index for one in waiting] == list(indices)


def test_accounting_rows_tell_attempts_in_order(captured):
    rows = sacct.parse(captured("sacct"))
    attempts = [row for row in rows if any(r.state is JobState.REQUEUED and r.job_id == row.job_id for r in rows)]
    assert [row.state for row in attempts] == [JobState.REQUEUED, JobState.PENDING]
    assert attempts[0].ended_at == attempts[1].submitted_at
    assert attempts[1].started_at is None
    (failed,) = (row for row in rows if row.state is JobState.FAILED)
    assert (failed.index, failed.exit_code, failed.signal) == (1, 1, 0)
    assert failed.started_at.tzinfo is timezone.utc


def test_waiting_elements_in_one_row_become_one_each(captured):
    rows = [row for row in sacct.parse(captured("sacct")) if row.raw_id == row.array_job_id]
    waiting = [row.index for row in rows if row.state is JobState.PENDING]
    assert waiting == [0, 1, 2]
    cancelled = [(row.index, row.cancelled_by) for row in rows if row.state is JobState.CANCELLED]
    assert (0, 1001) in cancelled
    assert (1, 1001) in cancelled


def test_the_token_is_read_from_comment_and_command_line(captured):
    (array,) = {line.split("_")[0] for line in captured("sacct-tokens").splitlines() if "22bb" in line}
    assert sacct.jobs_with_token(captured("sacct-tokens"), "22bb") == [array]
    assert set(squeue.jobs_with_token(captured("squeue-comments"), "22bb")) == {array}
    assert len(set(squeue.jobs_with_token(captured("squeue-comments"), "11aa"))) == 1


def test_every_field_that_we_ask_for_exists(captured):
    known = sacct.parse_fields(captured("sacct-helpformat"))
    assert {*commands.ACCOUNTING_FIELDS, *commands.TOKEN_FIELDS} <= known


def test_licences_and_configuration(captured, release):
    licenses = {one.name: one for one in scontrol.parse_licenses(captured("licenses"))}
    assert (licenses["scratch"].total, licenses["scratch"].free, licenses["scratch"].remote) == (4, 4, False)
    config = scontrol.parse_config(captured("config"))
    assert config.version.startswith(release)
    assert (config.max_array_size, config.min_job_age_s, config.accounting) == (1001, 300, True)
    assert config.cluster
    assert scontrol.parse_licenses("No licenses configured in Slurm.\n") == []
    assert not scontrol.parse_config("AccountingStorageType   = (null)\n").accounting


@pytest.mark.parametrize(
    ("text", "job_id", "cluster"),
    [
        ("369\n", "369", None),
        ("369;east\n", "369", "east"),
        ("a site's greeting\n369\n", "369", None),
        ("Submitted batch job 369\n", "369", None),
    ],
)
def test_the_job_id_is_found_in_sbatchs_answer(text, job_id, cluster):
    assert commands.parse_submitted(text) == commands.Submitted(job_id=job_id, cluster=cluster)


@pytest.mark.parametrize("text", ["", "ok", "sbatch: job accepted 12 times"])
def test_an_answer_without_a_job_id_is_an_error(text):
    with pytest.raises(ValueError, match="no job id"):
        commands.parse_submitted(text)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("CANCELLED by 1000", JobState.CANCELLED),
        ("OUT_OF_ME+", JobState.OUT_OF_MEMORY),
        ("CANCELLED+", JobState.CANCELLED),
        ("RUNNING", JobState.RUNNING),
        *((state.value, state) for state in JobState if state is not JobState.UNKNOWN),
    ],
)
def test_every_state_of_slurm_is_known(text, state, caplog):
    assert JobState.parse(text) is state
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "DREAMING", "RE+"])
def test_an_unknown_state_is_unknown_and_logged(text, caplog):
    assert JobState.parse(text) is JobState.UNKNOWN
    assert repr(text) in caplog.text


def test_final_states_are_those_that_slurm_leaves_alone():
    alive = "COMPLETING CONFIGURING PENDING RUNNING REQUEUED REQUEUE_HOLD RESIZING SIGNALING STAGE_OUT STOPPED"
    assert not any(JobState(word).is_final for word in [*alive.split(), "SPECIAL_EXIT", "SUSPENDED", "UNKNOWN"])
    over = "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT"
    assert all(JobState(word).is_final for word in over.split())
    assert JobState.REQUEUED.ends_attempt


def test_accounting_is_asked_in_utc():
    since = datetime.fromisoformat("2026-01-02T03:04:05+02:00")
    assert commands.sacct(["7", "8"], since)[-4:] == ["-S", "2026-01-02T01:04:05", "-j", "7,8"]

"""What Slurm's commands printed on each release, and what is read from it."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from hpcorch.model.job_states import JobState, parse_state
from hpcorch.slurm import commands
from hpcorch.slurm.answers import sacct, scontrol, squeue
from tests.support.paths import DATA

DATA = DATA / "slurm"
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


def test_elements_that_share_a_row_get_the_reason_of_each():
    # As captured on 22.05, 24.11 and 26.05, without the row of 13_7: -r may leave one out.
    times = "2026-11-23T14:54:44|"
    together = squeue.parse(
        f"13_[1-7]|13|13|1-7|PENDING|{times}|JobArrayTaskLimit,JobHeldUser|\n13_0|16|13|0|RUNNING|{times}n1|None|\n"
    )
    assert squeue.merged_arrays(together) == ["13"]
    rows = [f"13_{i}|13|13|{i}|PENDING|{times}|JobArrayTaskLimit|" for i in (1, 3, 4, 6)]
    rows += [f"13_{i}|{raw}|13|{i}|PENDING|{times}|JobHeldUser|" for i, raw in ((2, 14), (5, 15))]
    singly = squeue.parse("\n".join([*rows, f"13_0|16|13|0|RUNNING|{times}n1|None|"]))
    own = squeue.with_own_reasons(together, singly)
    assert [row.index for row in own if row.reason == "JobHeldUser"] == [2, 5]
    assert [row.index for row in own if row.reason == "JobArrayTaskLimit"] == [1, 3, 4, 6, 7]
    assert [(row.index, row.raw_id) for row in own if row.reason is None] == [(0, "16")]
    assert squeue.merged_arrays(own) == []


def test_a_reason_with_a_comma_of_one_element_is_no_shared_row():
    assert squeue.merged_arrays(squeue.parse("9_1|9|9|1|PENDING|N/A||ReqNodeNotAvail, UnavailableNodes:n1|")) == []


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


def test_what_slurm_was_preempting_is_told_by_job_and_element(captured, release):
    """Steps of a script, of each element of an array, and of a job that is not requeued, ended in the grace time.

    24.11 and 26.05 requeue what is requeued, and forget then.
    """
    found = squeue.parse_preemptions(captured("squeue-preemptions"))
    assert set(found) == {"22.05": {"2_0", "2_1", "3"}, "24.11": {"50"}, "26.05": {"3"}}[release]
    assert {start.hour for start in found.values()} == {14}


@pytest.mark.parametrize("row", ["41|N/A|N/A|", "41|2026-11-23T14:40:14|2026-11-23T14:40:13|", "CLUSTER: a", "41|"])
def test_a_job_that_was_not_preempted_since_it_started_is_not_named(row):
    assert squeue.parse_preemptions(f"{row}\n") == {}


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


def test_what_was_cancelled_before_it_had_a_node_never_started():
    times = "2026-11-23T14:28:12|2026-11-23T14:28:12|2026-11-23T14:28:12"
    never, ran = (
        sacct.parse(f"6|6|CANCELLED by 1001|0:0|{times}|{nodes}|None")[0] for nodes in ("None assigned", "n1")
    )
    assert (never.started_at, ran.started_at) == (None, ran.ended_at)
    assert never.ended_at == ran.ended_at


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


def test_the_queue_shows_a_token_in_the_comment_or_the_path_of_the_script(captured):
    listed = captured("squeue-tokens")
    assert squeue.jobs_with_token(listed, "11aa") == ["101"]
    assert squeue.jobs_with_token(listed, "22bb") == ["102"], "a wrapper that pipes the script"
    assert squeue.jobs_with_token(listed, "33cc") == ["103"], "a site that rewrites comments"
    assert squeue.jobs_with_token(listed, "44dd") == [], "both"
    assert "hpcorch:44dd" in captured("script"), "then the text of the script shows it"
    assert squeue.jobs_with_token("7|a|/x.sh 1\n8|mine|/y.sh\nhpcorch:11aa\n", "11aa") == ["8"], (
        "arguments of lines"
    )


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
    ("parameters", "array_size", "tasks"),
    [
        ("(null)", 1001, 1001),
        ("bf_interval=3,max_array_tasks=50", 1001, 50),
        ("MAX_ARRAY_TASKS=50,max_array_tasks=20", 1001, 50),
        ("max_array_tasks=5000,defer", 1001, 1001),
        ("max_array_tasks=0", 1001, 1),
        ("defer", 0, 1),
    ],
)
def test_an_array_may_have_as_many_tasks_as_both_settings_allow(parameters, array_size, tasks):
    text = f"MaxArraySize            = {array_size}\nSchedulerParameters     = {parameters}\n"
    assert scontrol.parse_config(text).array_tasks == tasks


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
        *((state.value, state) for state in JobState if state.is_slurms),
    ],
)
def test_every_state_of_slurm_is_known(text, state, caplog):
    assert parse_state(text) is state
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "DREAMING", "RE+"])
def test_an_unknown_state_is_unknown_and_logged(text, caplog):
    assert parse_state(text) is JobState.UNKNOWN
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

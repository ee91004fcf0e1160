"""``hpcorch doctor`` on real daemons: where all is well, and where something really is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

# The program under another interpreter than the one that its jobs are to be started with.
AS_IF_FROM = "import sys; sys.executable = {python!r}; from hpcorch.cli.main import main; main()"


@pytest.fixture
def doctor(as_alice):
    """``hpcorch doctor --json``: its exit code, and its rows by check, the first of each."""

    def run(*words, program=("hpcorch",)):
        done = as_alice([*program, "doctor", "--json", *words])
        assert done.returncode in (0, 1, 3), done.stderr
        rows = {}
        for row in json.loads(done.stdout)["rows"]:
            rows.setdefault(row["check"], row)
        return done.returncode, rows

    return run


@pytest.fixture
def no_job_left(lab, workspace) -> Iterator[None]:
    """Afterwards Slurm has nothing of the trial, and neither has the folder."""
    yield
    rows = lab.root(["squeue", "-h", "-t", "PD,R", "-n", "hpcorch-doctor"]).stdout
    assert rows.strip() == ""
    assert list((workspace / ".hpcorch").glob("doctor-*")) == []


@pytest.fixture
def private_data(lab) -> Iterator[None]:
    """PrivateData=jobs,usage, for as long as the test runs."""
    path = lab.work.parent / lab.release / "slurm.conf"
    before = path.read_text()
    path.write_text(f"{before}PrivateData=jobs,usage\n")
    shown = ["scontrol", "show", "config"]
    try:
        lab.root(["scontrol", "reconfigure"])
        wait_until(lambda: "jobs,usage" in lab.root(shown).stdout)
        yield
    finally:
        path.write_text(before)
        lab.root(["scontrol", "reconfigure"])
        wait_until(lambda: "jobs,usage" not in lab.root(shown).stdout)


@pytest.fixture
def closed_partition(lab) -> Iterator[None]:
    """Partition urgent takes jobs and starts none."""
    lab.root(["scontrol", "update", "PartitionName=urgent", "State=DOWN"])
    yield
    lab.root(["scontrol", "update", "PartitionName=urgent", "State=UP"])


def test_all_is_well_in_the_cluster_and_on_its_nodes(lab, doctor, no_job_left):
    code, rows = doctor("--jobs")
    of_this_machine = {check: rows.pop(check)["verdict"] for check in ("file system", "space")}
    wrong = {check: row for check, row in rows.items() if row["verdict"] in ("not ok", "not checked")}
    assert (code, wrong) == (int("not ok" in of_this_machine.values()), {})
    assert f"Slurm {lab.release}" in rows["slurm"]["found"]
    for check in (
        "accounting",
        "clock",
        "interpreter",
        "folder on nodes",
        "Slurm on nodes",
        "node clocks",
        "locks",
    ):
        assert rows[check]["verdict"] == "ok", rows[check]
    assert "hold: hpcorch's own locks" in rows["locks"]["found"]
    limited = {check for check, row in rows.items() if row["verdict"] == "limited"}
    assert limited == {"preemption", "time to end"}, "cancelp has PreemptMode=CANCEL, KillWait is 5 s"


def test_without_being_asked_doctor_submits_nothing(lab, as_alice, doctor, workspace):
    trial_jobs = ["squeue", "-h", "-t", "all", "-n", "hpcorch-doctor", "-o", "%A"]
    before = set(lab.root(trial_jobs).stdout.split())
    _, rows = doctor()
    assert rows["compute nodes"]["verdict"] == "not checked"
    assert set(lab.root(trial_jobs).stdout.split()) <= before
    assert list(workspace.iterdir()) == []


def test_an_interpreter_that_a_node_may_not_read_is_found(doctor, workspace, no_job_left):
    hidden = workspace / "hidden"
    (hidden / "bin").mkdir(parents=True)
    python = hidden / "bin" / "python"
    python.symlink_to(shutil.which("python3", path="/usr/bin:/bin") or "/usr/bin/python3")
    hidden.chmod(0o700)  # root's
    code, rows = doctor("--jobs", program=("python", "-c", AS_IF_FROM.format(python=str(python))))
    assert (code, rows["interpreter"]["verdict"]) == (1, "not ok")
    assert "Permission denied" in rows["interpreter"]["found"]


def test_jobs_that_cannot_start_are_given_up_and_cancelled(doctor, workspace, closed_partition, no_job_left):
    profile = workspace / "site.yaml"
    profile.write_text("pools:\n  closed: {partition: urgent}\n")
    profile.chmod(0o644)
    code, rows = doctor("--jobs", "--timeout", "8", "--profile", str(profile))
    assert rows["trial jobs"]["verdict"] == "not checked"
    assert "(PENDING, PartitionDown), and was cancelled" in rows["trial jobs"]["found"]
    assert (code, rows["partitions"]["verdict"]) == (1, "not ok")


def test_a_pool_that_slurm_refuses_is_told_with_the_reason(doctor, workspace, no_job_left):
    profile = workspace / "site.yaml"
    profile.write_text("pools:\n  foreign: {account: physics}\n")
    profile.chmod(0o644)
    code, rows = doctor("--jobs", "--profile", str(profile))
    assert (code, rows["trial jobs"]["verdict"]) == (1, "not ok")
    assert "account" in rows["trial jobs"]["found"]


def test_what_private_data_hides_is_told(doctor, private_data):
    _, rows = doctor()
    assert rows["private data"]["verdict"] == "limited"
    assert "`hpcorch resources` counts yours alone" in rows["private data"]["found"]


def test_a_place_for_sweeps_that_is_memory_is_refused_and_a_ledger_there_is_told(as_alice, lab, doctor):
    if "tmpfs" not in lab.root(["findmnt", "-n", "-o", "FSTYPE", "-T", "/dev/shm"]).stdout:
        pytest.skip("/dev/shm is no tmpfs here")
    folder = Path("/dev/shm/hpcorch-doctor-test")
    _, rows = doctor(program=("hpcorch", "--ledger", str(folder / ".hpcorch" / "ledger.db")))
    assert rows["file system of ledger"]["verdict"] == "limited"
    assert as_alice(["ls", str(folder)]).returncode != 0, "it leaves no trace"
    as_alice.output(["mkdir", str(folder)])
    try:
        code, rows = doctor(program=("env", "-C", str(folder), "hpcorch"))
    finally:
        as_alice.output(["rmdir", str(folder)])
    assert (code, rows["file system"]["verdict"]) == (1, "not ok")
    assert "nodes cannot see it" in rows["file system"]["found"]

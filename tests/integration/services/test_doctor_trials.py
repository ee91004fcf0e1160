"""What ``doctor`` tries: SQLite in a folder, locks between processes, and jobs on a pretended Slurm."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.ledger.checking import trial
from hpcorch.resources.profile.file import parse_profile
from hpcorch.services.doctor import folder as doctor_folder
from hpcorch.services.doctor import nodes as doctor_nodes
from hpcorch.services.doctor.file_systems import Mount
from hpcorch.services.doctor.folder import look_at, private_folder
from hpcorch.services.doctor.locks import KINDS, TAKEOVER, LockFight, counted
from hpcorch.services.doctor.rows import Verdict
from hpcorch.services.doctor.trial_jobs import Place, choose_place, run_trials
from hpcorch.services.site.survey import survey
from hpcorch.slurm.client import CliClient
from tests.support import processes
from tests.support.command_line import CommandLine
from tests.support.paths import FAKE_SLURM

ANYWHERE = Place(pool=None, nodes=[], jobs=2)
FIGHT = """
import json, sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from hpcorch import tunables
from hpcorch.services.doctor import locks as doctor_locks

@contextmanager
def none(path):
    yield

if sys.argv[4] == "none":
    doctor_locks.KINDS = {"none": none}
    tunables.LOCK_TRIAL_HELD_S = 1.0  # both have read the number before one of them writes the next
tunables.LOCK_WATCH_S = 0.5
fought = doctor_locks.fight(Path(sys.argv[1]), sys.argv[2], sys.argv[3], seconds=0.4)
print(json.dumps({kind: asdict(one) for kind, one in fought.items()}))
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster of one node without accounting, whose sinfo says nothing."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sinfo").write_text("#!/bin/sh\nexit 1\n")
    (programs / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM_DIR", str(tmp_path / "slurm"))
    monkeypatch.setenv("FAKE_SLURM_ACCOUNTING", "none")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HPCORCH_SITE", raising=False)
    return tmp_path / "slurm"


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        doctor_folder, "mount_at", lambda _: Mount(kind="ext4")
    )  # some machines have /tmp in memory
    return folder


def states(slurm: Path) -> set[str]:
    jobs = json.loads((slurm / "jobs.json").read_text())
    return {task["state"].split()[0] for job in jobs.values() for task in job["tasks"].values()}


def tried(folder: Path, *, place: Place = ANYWHERE, timeout_s: float = 60, shared=()):
    """The rows of trial jobs that write into a folder, by check; the last of each."""
    trials = run_trials(place, CliClient(), folder, shared=shared, timeout_s=timeout_s, tell=lambda _: None)
    return {row.check: row for row in doctor_nodes.rows_of(trials)}


def fight(folder: Path, locks: str) -> dict[str, tuple[list[LockFight], int]]:
    """Let two processes fight; by kind how each fared, and the number that was reached."""
    fighters = [
        processes.start(
            [sys.executable, "-c", FIGHT, str(folder), *names, locks], stdout=subprocess.PIPE, text=True
        )
        for names in (("a", "b"), ("b", "a"))
    ]
    said = [json.loads(process.communicate(timeout=120)[0]) for process in fighters]
    return {kind: ([LockFight(**one[kind]) for one in said], counted(folder, kind)) for kind in said[0]}


def test_sqlite_works_on_the_disk_of_this_machine(tmp_path):
    assert trial.sqlite_problem(tmp_path / "trial.db") is None


def test_a_file_that_others_may_write_into_while_it_is_locked_is_found(tmp_path, monkeypatch):
    def without_locks(path):
        return sqlite3.connect(f"{path.as_uri()}?mode=rwc&nolock=1", uri=True, isolation_level=None)

    monkeypatch.setattr(trial, "connect_writer", without_locks)
    assert "while another one has it locked" in (trial.sqlite_problem(tmp_path / "trial.db") or "")


def test_a_folder_where_sqlite_cannot_open_a_file_is_found(tmp_path):
    (tmp_path / "trial.db").mkdir()
    assert "cannot work here" in (trial.sqlite_problem(tmp_path / "trial.db") or "")


def test_a_private_folder_leaves_no_trace(tmp_path):
    state = tmp_path / "project" / ".hpcorch"
    with private_folder(state) as folder:
        assert look_at(state, folder).writing is None
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not state.parent.exists()
    state.mkdir(parents=True)
    (state / "site.yaml").touch()
    with private_folder(state):
        pass
    assert [path.name for path in state.iterdir()] == ["site.yaml"]


@pytest.mark.programs
def test_locks_hold_between_two_processes_of_this_machine(tmp_path):
    found = fight(tmp_path, "real")
    assert found.keys() == {*KINDS, TAKEOVER}
    assert found[TAKEOVER] == ([LockFight(waits=1)] * 2, 0)
    for kind in KINDS:
        both, number = found[kind]
        assert [one.error for one in both] == [None, None], kind
        assert sum(one.turns for one in both) == number > 0, kind
        assert any(one.waits for one in both), kind


@pytest.mark.programs
def test_turns_are_lost_where_nothing_keeps_the_other_one_out(tmp_path):
    both, number = fight(tmp_path, "none")["none"]
    assert sum(one.turns for one in both) > number


@pytest.mark.programs
def test_trial_jobs_look_around_on_their_nodes_and_leave_nothing(slurm, project, capsys):
    ran = CommandLine(capsys)("doctor", "--jobs", "--json")
    rows = {row["check"]: row for row in json.loads(ran.out)["rows"]}
    assert ran.code == 0, ran.out
    assert "trial jobs 1 and 2 are with Slurm" in ran.err
    for check in ("interpreter", "folder on nodes", "Slurm on nodes", "open files on nodes", "node clocks"):
        assert rows[check]["verdict"] == "ok", rows[check]
    assert rows["locks"]["verdict"] == "not checked", "both ran on the only node"
    assert states(slurm) <= {"COMPLETED", "RUNNING"}, "none was cancelled that was at its end"
    assert list(project.iterdir()) == []


@pytest.mark.programs
def test_a_folder_that_nodes_cannot_write_is_found(slurm, tmp_path):
    row = tried(tmp_path, shared=[tmp_path, tmp_path / "nowhere"])["shared folders"]
    assert row.verdict is Verdict.NOT_OK
    assert f"f1 cannot write in {tmp_path}/nowhere (no such file or directory)" in row.found


def test_an_interpreter_that_nodes_do_not_see_is_found(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python")
    row = tried(tmp_path)["interpreter"]
    assert row.verdict is Verdict.NOT_OK
    assert "f1 cannot start /nowhere/bin/python: " in row.found
    assert "hydra.launcher.python" in row.cure


def test_jobs_that_do_not_start_in_time_are_cancelled(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SLURM_CPUS", "0")
    row = tried(tmp_path, timeout_s=0)["trial jobs"]
    assert row.verdict is Verdict.UNKNOWN
    assert "(PENDING, Priority), and was cancelled" in row.found
    assert states(slurm) == {"CANCELLED"}


def test_a_job_of_somebody_elses_whose_id_sbatch_printed_is_not_cancelled(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SLURM_CPUS", "0")
    monkeypatch.chdir(tmp_path)
    subprocess.run(["sbatch", "--hold", "--wrap=true"], check=True)
    wrapper = tmp_path / "bin/sbatch"
    wrapper.write_text(f'#!/bin/sh\n{FAKE_SLURM}/sbatch "$@" >&2\necho 1\n')
    wrapper.chmod(0o755)
    tried(tmp_path, timeout_s=0)
    assert [row.reason for row in CliClient().queue(["1"])] == ["JobHeldUser"]


def test_a_job_that_slurm_refuses_is_told(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SLURM_SBATCH", "reject:Invalid account or account/partition combination specified")
    row = tried(tmp_path)["trial jobs"]
    assert row.verdict is Verdict.NOT_OK
    assert "account" in row.found
    assert "--pool" in row.cure


def test_ctrl_c_takes_the_jobs_and_the_folder_away(slurm, project, monkeypatch):
    monkeypatch.setenv("FAKE_SLURM_CPUS", "0")
    program = [sys.executable, "-c", "from hpcorch.cli.main import main; main()", "doctor", "--jobs"]
    running = processes.start(program, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert running.stderr is not None
    assert "are with Slurm" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=120)
    assert running.returncode == 130
    assert states(slurm) == {"CANCELLED"}
    assert list(project.iterdir()) == []


def test_trial_jobs_run_where_the_default_partition_is(slurm):
    client = CliClient()
    facts = survey(client)
    pools = "pools:\n  a: {partition: cheap}\n  b: {partition: normal}\n"
    assert choose_place(parse_profile(pools, "x"), facts, client, None).pool.name == "b"
    assert choose_place(parse_profile(pools, "x"), facts, client, "a").pool.name == "a"
    assert choose_place(parse_profile("", "x"), facts, client, None) == ANYWHERE

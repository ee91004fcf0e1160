"""Nothing shared is oversubscribed, and no limit stops a sweep, on real daemons: also the short form of caps.py."""

from __future__ import annotations

import json
import sys

import pytest

from hpcorch import process
from hpcorch.services.submission.arrays import KEEPERS
from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_until

TRIALS = REPOSITORY / "scripts" / "bench" / "caps.py"
APP = """
import os, pathlib, time
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    tries = pathlib.Path(f"tries-{cfg.x}-{cfg.model.cpus}")
    with tries.open("a") as file:
        file.write(f"{os.environ['SLURM_JOB_ID']}\\n")
    if len(tries.read_text().splitlines()) <= cfg.failures:
        raise OSError("the disk is full")
    time.sleep(cfg.seconds)
    while cfg.wait and not pathlib.Path("go").exists():
        time.sleep(0.1)

main()
"""
PROFILE = """
resources:
  scratch_io: {capacity: 4, enforced: license, license: scratch}
  disk: {capacity: 2, enforced: throttle, unit: readers}
"""


def trial(lab, name):
    """What a trial reports of this cluster, in its short form."""
    where = ["--lab", str(lab.work.parent), "--release", lab.release, "--venv", str(lab.venv)]
    command = [sys.executable, str(TRIALS), "--short", "--json", "--only", name, *where]
    done = process.run(command, timeout_s=270)
    assert done.stdout.startswith("{"), done.stderr
    print(done.stderr)
    return json.loads(done.stdout)[name]


def test_two_sweeps_never_hold_more_licences_than_there_are(lab):
    report = trial(lab, "licenses")
    assert report["violations"] == []
    assert report["most"] == 4


@pytest.mark.long
def test_three_sweeps_share_a_capacity_with_nobody_logged_in(lab):
    assert trial(lab, "throttles")["violations"] == []


def test_a_sweep_larger_than_the_limit_of_submitted_jobs_completes_with_nobody_logged_in(lab):
    report = trial(lab, "feeding")
    assert report["violations"] == []
    assert report["arrays"] > 2


@pytest.fixture
def project(workspace):
    (workspace / ".hpcorch").mkdir()
    (workspace / ".hpcorch" / "site.yaml").write_text(PROFILE)
    (workspace / "conf").mkdir()
    (workspace / "conf" / "config.yaml").write_text(
        "x: 0\nfailures: 0\nwait: false\nseconds: 0\nmodel: {cpus: 1}\n"
    )
    (workspace / "app.py").write_text(APP)
    process.run(["chown", "-R", "alice:alice", str(workspace)], timeout_s=10)
    return workspace


@pytest.fixture
def alice(as_alice, project):
    """A command in the project, whose throttled arrays are this test's alone."""
    return lambda *argv: as_alice(argv, env={"HPCORCH_STATE": str(project / "state")}, timeout_s=200)


@pytest.fixture
def launch(alice):
    def call(sweep, *arguments):
        words = ["python", "app.py", "-m", "hydra/launcher=hpcorch_slurm", "hydra.launcher.detach=true"]
        done = alice(*words, f"hydra.sweep.dir={sweep}", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def why(alice):
    return lambda selector: json.loads(alice("hpcorch", "why", selector, "--json").stdout)


def why_once(why, selector, reason):
    """What is said once this is the reason; Slurm may give another one at its next look."""
    seen = []

    def is_so():
        seen.append(why(selector))
        return seen[-1]["reason"] == reason

    wait_until(is_so, interval_s=1)
    return seen[-1]["meaning"]


@pytest.fixture
def states(alice):
    def call(*words):
        report = json.loads(alice("hpcorch", "status", "last", "--refresh", "--json", *words).stdout)
        return [run["state"] for run in report["runs"]]

    return call


def requests(alice):
    """CPUs that each element of this project's arrays asked for, by array, the oldest first."""
    rows = alice("sacct", "-X", "-n", "-P", "-D", "-o", "JobID,JobName,ReqCPUS,WorkDir").stdout.splitlines()
    found = {}
    for row in rows:
        job, name, cpus, place = row.split("|", 3)
        if name == "app" and "_" in job:
            found.setdefault((place, int(job.partition("_")[0])), []).append(int(cpus))
    return found


def test_runs_that_ask_for_different_amounts_get_arrays_of_their_own_and_retries_keep_that(
    launch, alice, project, states
):
    swept = ["x=1,2", "model.cpus=1,2", "hydra.launcher.cpus_per_task=${model.cpus}"]
    launch("swept", *swept, "failures=1", "hydra.launcher.max_retries=1")
    wait_until(lambda: states() == ["COMPLETED"] * 4, timeout_s=150, interval_s=2)

    def asked():
        return sorted(cpus for (place, _), cpus in requests(alice).items() if place == str(project))

    wait_until(lambda: asked() == [[1, 1], [1, 1], [2, 2], [2, 2]])  # the database follows within seconds


def test_why_tells_whose_hold_it_is_and_what_is_waited_for(launch, alice, why, states):
    launch("first", "x=range(3)", "wait=true", "hydra.launcher.resources={disk: 1}")
    wait_until(lambda: states().count("RUNNING") == 2)
    at_limit = why_once(why, "last/2", "JobArrayTaskLimit")  # after the scheduler's next look at it
    assert "its share of disk: of 2 in all, 2 are in use (2 by this sweep)" in at_limit
    launch("second", "x=range(2)", "hydra.launcher.resources={disk: 2}")
    held = why("last/0")
    assert held["reason"] == "JobHeldUser"
    assert "its share of disk: of 2 in all, 2 are in use (2 by sweep" in held["meaning"]
    assert alice("hpcorch", "hold", "last/1").returncode == 0
    assert why("last/1")["meaning"] == "it was held by its owner"
    assert "waits for its share" in why("last/0")["meaning"]


@pytest.mark.parametrize(
    ("keys", "reason", "text"),
    [
        (["licenses={scratch: 4}"], "Licenses", "the licences that it asks for are in use"),
        (["array_parallelism=1"], "JobArrayTaskLimit", "its array has reached its limit of running runs"),
        (["cpus_per_task=8", "nodelist=n1"], "Resources", "all suitable nodes are busy"),
        (["+additional_parameters.begin='now+1hour'"], "BeginTime", "its start time has not come"),
    ],
)
def test_why_says_in_plain_words_what_slurm_waits_for(launch, why, states, keys, reason, text):
    launch(
        "waiting",
        "x=1,2",
        "wait=true",
        *(f"{'+' * key.startswith('+')}hydra.launcher.{key.removeprefix('+')}" for key in keys),
    )
    wait_until(lambda: states() == (["PENDING"] * 2 if reason == "BeginTime" else ["RUNNING", "PENDING"]))
    assert text in why_once(why, "last/1", reason)


def test_a_dry_run_says_when_it_would_start_and_leaves_nothing(launch, alice, project):
    shown = launch("dry", "x=1,2", "hydra.launcher.dry_run=true", "hydra.launcher.resources={disk: 1}").stdout
    assert "the first would start at 20" in shown
    assert "disk lets 2 run at once" in shown
    assert not (project / ".hpcorch" / "ledger.db").exists()
    assert not (project / "state").exists()
    assert str(project) not in alice("squeue", "-h", "-t", "all", "-o", "%Z").stdout


def test_a_throttled_sweep_that_its_user_holds_waits_for_its_release(launch, alice, project, states):
    launch("first", "x=range(4)", "wait=true", "hydra.launcher.resources={disk: 1}")
    wait_until(lambda: states() == ["RUNNING", "RUNNING", "PENDING", "PENDING"])
    assert alice("hpcorch", "hold", "last").returncode == 0
    (project / "go").touch()
    wait_until(lambda: states() == ["COMPLETED", "COMPLETED", "PENDING", "PENDING"])
    alice("hpcorch", "tend", "last")
    assert states() == ["COMPLETED", "COMPLETED", "PENDING", "PENDING"]
    assert alice("hpcorch", "release", "last").returncode == 0
    wait_until(lambda: states() == ["COMPLETED"] * 4)


@pytest.fixture
def few(project):
    """The launcher key of a pool that takes eight runs at a time, in two arrays, beside keepers and headroom."""
    pool = f"pools:\n  few: {{limits: {{max_submitted: {8 + KEEPERS + 2}}}}}\nheadroom: 2\n"
    (project / ".hpcorch" / "site.yaml").write_text(PROFILE + pool)
    return "hydra.launcher.pool=few"


def tries(project):
    return sorted(len(path.read_text().splitlines()) for path in project.glob("tries-*"))


def test_what_was_not_submitted_yet_can_be_cancelled(launch, alice, few, project, states):
    launch("fed", "x=range(14)", "wait=true", few)
    assert states().count("PLANNED") == 6
    assert "it waits until Slurm accepts more of your jobs" in alice("hpcorch", "why", "last/13").stdout
    assert alice("hpcorch", "cancel", "last", "--yes").returncode == 0
    wait_until(lambda: states() == ["CANCELLED"] * 14)
    assert not (project / "tries-13-1").exists()


def test_a_sweep_whose_keepers_are_cancelled_goes_on_with_the_next_command(launch, alice, few, project, states):
    launch("fed", "x=range(14)", "wait=true", few)
    assert alice("scancel", "-u", "alice", "-n", "app-keeper").returncode == 0
    (project / "go").touch()
    wait_until(lambda: states() == ["COMPLETED"] * 14, timeout_s=120, interval_s=2)
    assert tries(project) == [1] * 14


def test_a_sweep_whose_launcher_died_between_two_arrays_goes_on_with_the_next_command(alice, few, project, states):
    folder = project / "bin"
    folder.mkdir()
    real = alice("which", "scontrol").stdout.strip()
    (folder / "scontrol").write_text(f'#!/bin/bash\n{real} "$@"\n[ "$1" != release ] || kill -9 $PPID\n')
    (folder / "scontrol").chmod(0o755)
    command = f"exec python app.py -m hydra/launcher=hpcorch_slurm hydra.sweep.dir=fed {few} 'x=range(14)'"
    assert alice("bash", "-c", f"PATH={folder}:$PATH {command}").returncode != 0
    assert states().count("PLANNED") < 10
    wait_until(lambda: states() == ["COMPLETED"] * 14, timeout_s=120, interval_s=2)
    assert tries(project) == [1] * 14


@pytest.fixture
def array_tasks(lab):
    """Lets the cluster take no array with more tasks than a number, for as long as the test runs."""
    path = lab.work.parent / lab.release / "slurm.conf"
    before = path.read_text()

    def reconfigured(text, told):
        path.write_text(text)
        lab.root(["scontrol", "reconfigure"])
        wait_until(lambda: ("max_array_tasks" in lab.root(["scontrol", "show", "config"]).stdout) is told)

    def limit(count):
        parameters = f"SchedulerParameters=max_array_tasks={count},"
        reconfigured(before.replace("SchedulerParameters=", parameters), True)

    yield limit
    reconfigured(before, False)


@pytest.mark.parametrize(("runs", "most"), [(7, 3), pytest.param(130, 50, marks=pytest.mark.long)])
def test_where_an_array_may_have_few_tasks_a_sweep_is_several_and_each_run_is_executed_once(
    launch, alice, project, states, array_tasks, runs, most
):
    array_tasks(most)
    held = ["sbatch", "--parsable", "-H", "--wrap", "true"]
    assert "Invalid job array specification" in alice(*held, f"--array=0-{most}").stderr
    job = alice(*held, f"--array=600-{599 + most}").stdout.strip()  # whatever the indices are
    assert job.isdigit()
    alice("scancel", job)
    launch("small", f"x=range({runs})")
    wait_until(lambda: states() == ["COMPLETED"] * runs, timeout_s=240, interval_s=2)
    assert tries(project) == [1] * runs

    def sizes():
        return [len(cpus) for (place, _), cpus in sorted(requests(alice).items()) if place == str(project)]

    wait_until(lambda: sizes() == [most, most, runs - 2 * most])  # the database follows within seconds


def test_array_parallelism_holds_over_several_arrays_with_nobody_logged_in(
    launch, alice, project, states, array_tasks
):
    array_tasks(5)
    launch("small", "x=range(12)", "seconds=2", "hydra.launcher.array_parallelism=2")
    seen = []

    def is_over():
        rows = alice("squeue", "-h", "-r", "-o", "%j|%T|%Z").stdout.splitlines()
        mine = [row.split("|") for row in rows if row.endswith(f"|{project}")]
        seen.append(sum((name, state) == ("app", "RUNNING") for name, state, _ in mine))
        return not mine

    wait_until(is_over, timeout_s=150)
    assert max(seen) == 2
    assert tries(project) == [1] * 12
    assert states() == ["COMPLETED"] * 12

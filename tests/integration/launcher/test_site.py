"""Launches under a site profile, on a pretended Slurm: what is refused before anything happens, and dry runs."""

from __future__ import annotations

import subprocess

import pytest

from hpcorch.runtime.program.configuration import IS_HYDRA_1_3
from tests.support.apps import App

pytestmark = pytest.mark.programs

PROFILE = """
resources:
  disk: {capacity: 2, enforced: throttle, unit: readers}
pools:
  small: {partition: normal, limits: {max_running: 3, max_gpus: 2, max_walltime_min: 30}}
envelope: {max_gpu_hours: 40, max_runs: 50, max_walltime_min: 600}
prices: {gpu_hour: 2.0, currency: EUR}
policies: {partitions: [normal, urgent], max_cost: 60}
"""
NORMAL = "hydra.launcher.partition=normal"


@pytest.fixture
def app(on_slurm) -> App:
    (on_slurm.folder / ".hpcorch").mkdir()
    (on_slurm.folder / ".hpcorch" / "site.yaml").write_text(PROFILE)
    return on_slurm


def left_behind(app: App) -> list[str]:
    """What a launch that did not happen may not leave: a record, a job, a throttled array."""
    places = (app.ledger, app.folder.parent / "state", app.folder.parent / "slurm" / "jobs.json")
    return [str(place) for place in places if place.exists()] + [str(p) for p in app.folder.rglob("control.jsonl")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hydra.launcher.pool=smal"], "has no pool 'smal'; did you mean small?"),
        (["hydra.launcher.resources={dsk: 1}"], "has no resource 'dsk'; did you mean disk?"),
        (["hydra.launcher.resources={disk: 3}"], "asks for 3 of disk, whose capacity is 2"),
        (["hydra.launcher.partition=other"], "partition other is not one of policies.partitions (normal, urgent)"),
        ([NORMAL, "hydra.launcher.timeout_min=900"], "900 minutes a run, and envelope.max_walltime_min is 600"),
        ([NORMAL, "x=range(51)"], "51 runs, and envelope.max_runs is 50"),
        (
            [NORMAL, "hydra.launcher.gpus_per_node=2", "hydra.launcher.timeout_min=500"],
            "50 GPU-hours in the worst case, and envelope.max_gpu_hours is 40; 100 EUR in the worst case",
        ),
        (["hydra.launcher.pool=small"], "60 minutes a run, and max_walltime_min of pool small is 30"),
        (
            ["hydra.launcher.pool=small", "hydra.launcher.timeout_min=5", "hydra.launcher.gpus_per_node=3"],
            "3 GPUs for one run, and max_gpus of pool small is 2",
        ),
    ],
)
def test_what_the_profile_forbids_is_refused_with_the_numbers_and_leaves_nothing(app, words, told):
    done = app.launch("x=1,2,3", *words)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(app) == []


def test_a_launch_that_names_no_partition_gets_the_clusters_default_if_that_is_allowed(app):
    done = app.launch("x=1", "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "--partition" not in done.stdout


@pytest.mark.parametrize(
    ("allowed", "env", "words"),
    [
        ("[urgent, late]", {}, []),  # normal is the default
        ("[normal]", {"SBATCH_PARTITION": "cheap"}, []),
    ],
)
def test_a_launch_that_names_no_partition_is_told_how_to_name_one(app, allowed, env, words):
    (app.folder / ".hpcorch" / "site.yaml").write_text(f"policies: {{partitions: {allowed}}}\n")
    done = app.launch("x=1", *words, env=env)
    assert done.returncode == 1
    first = allowed.strip("[]").split(",")[0]
    assert f"no partition is named, and policies.partitions allows only {allowed.strip('[]')}" in done.stderr
    assert f"hydra.launcher.partition={first}" in done.stderr
    assert left_behind(app) == []


def test_a_partition_among_additional_parameters_is_held_against_the_policy(app):
    done = app.launch("x=1", "+hydra.launcher.additional_parameters={partition: cheap}")
    assert done.returncode == 1
    assert "partition cheap is not one of policies.partitions" in done.stderr
    assert left_behind(app) == []


@pytest.mark.parametrize("flag", ["array: 0-3", "hold: true", "output: /tmp/x", "parsable: true"])
def test_a_flag_that_hpcorch_decides_itself_is_refused_before_anything_is_recorded(app, flag):
    done = app.launch("x=1", NORMAL, f"+hydra.launcher.additional_parameters={{{flag}}}")
    assert done.returncode == 1
    assert f"additional_parameters cannot set '{flag.split(':')[0]}', which hpcorch decides itself" in done.stderr
    assert left_behind(app) == []


def test_the_warning_of_a_short_run_comes_at_half_of_its_time_limit(app):
    words = [NORMAL, "hydra.launcher.timeout_min=1"]
    assert "--signal=B:USR1@30\n" in app.launch("x=1", *words, "hydra.launcher.dry_run=true").stdout
    held = app.launch("x=1", *words, "hydra.launcher.signal_delay_s=50", "hydra.launcher.dry_run=true")
    assert "--signal=B:USR1@50\n" in held.stdout


def test_a_warning_that_would_come_as_a_run_begins_is_refused(app):
    done = app.launch("x=1", NORMAL, "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=60")
    assert done.returncode == 1
    assert "With signal_delay_s=60 and timeout_min=1 (60 s) each run would be warned" in done.stderr
    assert "set signal_delay_s below 60, or leave it out for 30" in done.stderr
    words = [NORMAL, "x=1,2", "hydra.launcher.timeout_min=${x}", "hydra.launcher.signal_delay_s=90"]
    assert "With signal_delay_s=90 and timeout_min=1 (60 s)" in app.launch(*words).stderr
    assert left_behind(app) == []


def test_a_flag_of_sbatch_that_is_no_key_is_told_where_it_belongs(app):
    done = app.launch("x=1", NORMAL, "+hydra.launcher.mail_type=ALL")
    assert done.returncode == 1
    assert "+hydra.launcher.additional_parameters.mail_type=VALUE sets it" in done.stderr
    assert left_behind(app) == []


def test_a_checkout_with_uncommitted_changes_is_refused_where_the_site_wants_a_clean_one(app):
    (app.folder / ".hpcorch" / "site.yaml").write_text("policies: {clean_git: refuse}\n")
    for words in (["init", "-q"], ["add", "app.py"]):
        subprocess.run(["git", *words], cwd=app.folder, check=True)
    done = app.launch("x=1")
    assert done.returncode == 1
    assert "requires a clean git checkout (policies.clean_git: refuse)" in done.stderr
    assert left_behind(app) == []


def test_a_checkout_of_which_git_cannot_tell_is_not_taken_for_a_clean_one(app, monkeypatch):
    (app.folder / ".hpcorch" / "site.yaml").write_text("policies: {clean_git: refuse}\n")
    subprocess.run(["git", "init", "-q"], cwd=app.folder, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for testing the refusal
    done = app.launch("x=1")
    assert done.returncode == 1
    assert "requires a clean git checkout (policies.clean_git: refuse), but git cannot tell" in done.stderr
    assert left_behind(app) == []


def test_a_dry_run_tells_what_would_happen_and_does_nothing(app):
    words = ["hydra.launcher.resources={disk: 1}", NORMAL, "hydra.launcher.gpus_per_node=1"]
    done = app.launch("x=1,2,3", *words, "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert left_behind(app) == []
    for line in (
        "# dry run: nothing is submitted, nothing is recorded",
        "# 3 runs as one array: 0-2",
        "# at once: at most 2 of 3 runs, because of disk",
        "#   GPUs at once: 2",
        "#   GPU-hours: 3 of 40 that the site profile allows",
        "#   EUR: 6 of 60 that the site profile allows",
        "# runs 0-2: the first would start at 2026-01-02 03:04:05 if submitted now (sbatch --test-only)",
    ):
        assert line in done.stdout.splitlines(), done.stdout
    head, _, script = done.stdout.partition("#!/bin/bash")
    assert all(line.startswith("#") for line in head.splitlines() if line and not line.startswith("["))
    assert "#SBATCH --array=0-2%1" in script


def test_a_dry_run_of_packed_tasks_tells_how_many_take_the_runs(app):
    words = [NORMAL, "hydra.launcher.gpus_per_node=1", "hydra.launcher.dry_run=true"]
    packed = ["hydra.launcher.runs_per_task=5", "hydra.launcher.parallel_per_task=2"]
    done = app.launch("x=range(20)", *words, *packed)
    for line in (
        "# 20 runs as one packed array of 4 tasks, which take runs 2 at once: 0-19",
        "# at once: at most 8 of 20 runs, because of runs_per_task",
        "#   runs_per_task lets 8 run at once",
        "# in the worst case, if every task uses all of its time limit:",
        "#   tasks: 4",
        "#   minutes a task: 60 of 600 that the site profile allows",
        "#   GPUs at once: 4",
        "#   GPU-hours: 4 of 40 that the site profile allows",
    ):
        assert line in done.stdout.splitlines(), done.stdout + done.stderr
    one = app.launch("x=range(4)", *words, packed[0])
    assert "# 4 runs as one packed array of 1 task, which take runs one by one: 0-3" in one.stdout
    refused = app.launch("x=range(20)", *words, *packed, "hydra.launcher.nodes=2")
    assert (refused.returncode, "leave out nodes" in refused.stderr) == (1, True)


def test_a_dry_run_shows_each_array_of_a_sweep_with_swept_requests(app):
    words = ["value=1,2", "hydra.launcher.cpus_per_task=${value}", NORMAL, "hydra.launcher.dry_run=true"]
    done = app.launch(*words)
    assert "# 1 run as one array: 0 (cpus_per_task=1)" in done.stdout, done.stdout + done.stderr
    assert "# 1 run as one array: 1 (cpus_per_task=2)" in done.stdout
    assert done.stdout.count("#!/bin/bash") == 2


@pytest.mark.skipif(not IS_HYDRA_1_3, reason="Hydra 1.4 refuses what is swept to set the launcher's keys")
def test_keys_that_a_swept_experiment_sets_are_those_of_its_runs(app):
    (app.folder / "conf/experiment").mkdir()
    for name, keys in (("small", "timeout_min: 3"), ("large", "timeout_min: 30, mem_gb: 2")):
        text = f"# @package _global_\nhydra: {{launcher: {{{keys}}}}}\n"
        (app.folder / f"conf/experiment/{name}.yaml").write_text(text)
    done = app.launch("+experiment=small,large", "x=1,2", NORMAL, "hydra.launcher.dry_run=true")
    assert "# 2 runs as one array: 0-1 (timeout_min=3)" in done.stdout, done.stdout + done.stderr
    assert "# 2 runs as one array: 2-3 (timeout_min=30, mem_gb=2.0)" in done.stdout
    assert [line for line in done.stdout.splitlines() if "--time=" in line or "--mem=" in line] == [
        *("#SBATCH --time=3", "#SBATCH --mem=2GB", "#SBATCH --time=30"),
    ]


def test_a_dry_run_says_what_slurm_would_refuse(app):
    done = app.launch("x=1", "hydra.launcher.qos=nosuch", NORMAL, "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "# runs 0: Slurm would refuse them: Slurm rejected the submission: there is no such QOS" in done.stdout

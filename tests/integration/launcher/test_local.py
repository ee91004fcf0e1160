"""Sweeps on this machine, as whole programs."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from hpcorch.model.values import same
from tests.support.apps import App, make_app
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs


@dataclass(frozen=True)
class Swept:
    """A sweep that is over, and what its launcher said."""

    app: App
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep of two runs, for tests that only look at what it left."""
    app = make_app(tmp_path_factory.mktemp("swept") / "project", "hpcorch_local")
    return Swept(app=app, done=app.launch("x=1,2"))


def test_a_failing_run_fails_alone_and_the_error_names_run_log_and_last_lines(locally):
    done = locally.launch("x=1,2,3,4", "fail=2", "leave=3", "die=4")
    assert done.returncode == 1
    assert locally.states() == ["COMPLETED", "FAILED", "FAILED", "FAILED"]
    first, raised, left, died = locally.runs()
    assert first.result == 1
    assert raised.error == "ValueError: no good: 2"
    assert left.exit_code == 7
    assert died.reason == "the process was killed by SIGKILL"
    assert "3 of 4 runs did not complete" in done.stderr
    assert "run 1 (x=2 fail=2 leave=3 die=4) failed: ValueError: no good: 2" in done.stderr
    assert f"log: {raised.log}" in done.stderr
    assert "| about to fail" in done.stderr
    assert "Error executing job" not in done.stderr


SAVING = """
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    import hpcorch
    run = hpcorch.current_run()
    with run.save_files(1, {"x": cfg.x}) as folder:
        (folder / "weights").write_text("1.0")
        (folder / "inner").mkdir()
    run.checkpoint_dir
    return "x" * 100_000  # a result with a file of its own

main()
"""


def test_nobody_else_can_read_a_record_or_write_beside_it_whatever_the_umask(locally):
    (locally.folder / "app.py").write_text(SAVING)
    locally.folder.chmod(0o755)
    before = os.umask(0o000)
    try:
        done = locally.launch("+x=1")
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    states = [locally.folder / ".hpcorch", locally.layout().state]
    record = [path for state in states for path in (state, *state.rglob("*"))]
    assert {path.name for path in record} >= {
        "ledger.db",
        "snapshots",
        "control.jsonl",
        "weights",
        "inner",
        "results",
    }
    assert [path for path in record if path.stat().st_mode & 0o077] == []
    made = [locally.folder / "multirun", *(locally.folder / "multirun").rglob("*")]
    folders = [path for path in made if path.is_dir() and path.name != ".hydra"]  # which is Hydra's
    assert len(folders) >= 5
    assert [path for path in folders if path.stat().st_mode & 0o022] == []


def test_a_later_batch_that_hydras_sweeper_will_not_launch_is_explained(locally):
    done = locally.launch("x=1,2", "fail=1", "hydra.sweeper.max_batch_size=1")
    assert done.returncode == 1
    assert "leave out hydra.sweeper.max_batch_size" in done.stderr


def test_several_launches_are_one_sweep(locally):
    done = locally.launch("x=1,2,3", "hydra.sweeper.max_batch_size=2")
    assert done.returncode == 0, done.stderr
    assert [run.result for run in locally.runs()] == [1, 2, 3]
    assert [run.launch for run in locally.runs()] == [0, 0, 2]


def test_what_runs_is_what_was_composed_whatever_happens_to_the_yaml_meanwhile(locally):
    sweep = locally.start("x=1,2", "wait_for=go", "hydra.launcher.slots=1")
    wait_until((locally.folder / "started-1").exists)
    (locally.folder / "conf" / "config.yaml").write_text("nonsense: true\n")
    (locally.folder / "go").touch()
    assert sweep.wait(timeout=120) == 0, locally.output
    assert [run.result for run in locally.runs()] == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_launcher_stops_its_runs_and_records_it(locally, number):
    sweep = locally.start("x=1,2,3", "wait_for=never", "hydra.launcher.slots=2")
    wait_until(lambda: all((locally.folder / f"started-{x}").exists() for x in (1, 2)))
    children = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(number)
    assert sweep.wait(timeout=120) == 128 + number
    assert not any(child.is_running() for child in children)
    assert locally.states() == ["CANCELLED"] * 3
    assert {run.reason for run in locally.runs()} == {f"stopped by {signal.Signals(number).name}"}
    assert [attempt.signal for attempt in locally.attempts()] == ["SIGTERM"] * 2


def test_runs_of_a_killed_launcher_do_not_go_on_without_it(locally):
    sweep = locally.start("x=1,2", "wait_for=never", "hydra.launcher.slots=2")
    wait_until(lambda: all((locally.folder / f"started-{x}").exists() for x in (1, 2)))
    children = psutil.Process(sweep.pid).children(recursive=True)
    sweep.kill()
    sweep.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_a_run_over_its_time_limit_is_stopped(locally):
    done = locally.launch("x=1", "wait_for=never", "hydra.launcher.timeout_min=0.03")
    assert done.returncode != 0
    done = locally.launch("x=1", "wait_for=never", "hydra.launcher.timeout_min=1", "hydra.launcher.dry_run=true")
    assert done.returncode == 0
    assert "nothing is started" in done.stdout


def test_each_run_sees_only_its_own_gpus(locally):
    flags = ["x=1,2,3,4", "read=CUDA_VISIBLE_DEVICES", "hydra.launcher.gpus_per_node=2", "hydra.launcher.slots=8"]
    done = locally.launch(*flags, env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    assert done.returncode == 0, done.stderr
    seen = [run.result for run in locally.runs()]
    assert all(len(devices.split(",")) == 2 for devices in seen)
    assert {device for devices in seen for device in devices.split(",")} <= {"0", "1", "2", "3"}


def test_more_gpus_than_there_are_is_refused_before_anything_is_recorded(locally):
    done = locally.launch("x=1", "hydra.launcher.gpus_per_node=2", env={"CUDA_VISIBLE_DEVICES": "0"})
    assert done.returncode == 1
    assert "asks for 2 GPU(s), and this machine offers 1" in done.stderr
    assert not locally.ledger.exists()


def test_a_run_leaves_six_files_and_two_in_compact_mode(swept, locally):
    assert per_run_files(swept.app) == 6
    locally.launch("x=1,2", "hydra.launcher.compact=true")
    assert per_run_files(locally) == 2


def per_run_files(app: App) -> int:
    layout = app.layout()
    folders = [layout.directory / "0", layout.directory / "1", layout.journals, layout.logs]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return len(files) // 2


def test_a_seed_in_the_configuration_is_kept_and_others_are_derived_and_reproducible(locally):
    without = (locally.folder / "conf" / "config.yaml").read_text()
    (locally.folder / "conf" / "config.yaml").write_text(without + "seed: 5\n")
    locally.launch("x=1,2", "seed=7,8")
    assert [(run.seed, run.seed_source) for run in locally.runs()] == [(7, "config"), (8, "config")] * 2
    (locally.folder / "conf" / "config.yaml").write_text(without)
    told = ("read=HPCORCH_SEED", "hydra.launcher.seed=11")
    locally.launch("x=1,2,2", *told, "hydra.sweep.dir=second")
    first = [run.seed for run in locally.runs()]
    assert len(set(first)) == 3
    assert [run.result for run in locally.runs()] == [str(seed) for seed in first]
    locally.launch("x=2,1,2", *told, "hydra.sweep.dir=third")
    assert [run.seed for run in locally.runs()] == [first[1], first[0], first[2]]


def test_odd_values_reach_the_task_byte_for_byte(locally):
    values = [
        "it's",
        'say "hi"',
        "a\nb",
        "$(touch gone)",
        "ü\u2028€",
        "a,b",
        "\\",
        " lead",
        "[red]x[/red]",
        "x" * 10_000,
    ]
    quoted = ["'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values]
    done = locally.launch(f"value={','.join(quoted)}")
    assert done.returncode == 0, done.stderr
    assert [run.result for run in locally.runs()] == values
    assert not (locally.folder / "gone").exists()


def test_a_sweep_directory_of_another_sweep_is_refused_with_the_cure(locally):
    assert locally.launch("x=1", "hydra.sweep.dir=out").returncode == 0
    before = locally.summary().sweep.id
    done = locally.launch("x=2", "hydra.sweep.dir=out")
    assert done.returncode == 1
    assert "belongs to another sweep" in done.stderr
    assert locally.summary().sweep.id == before
    done = locally.launch("x=2", "hydra.sweep.dir=out", "hydra.launcher.reuse_sweep_dir=true")
    assert done.returncode == 0, done.stderr
    assert (locally.folder / "out" / ".hpcorch" / "earlier-1" / "control.jsonl").exists()


def test_the_project_folder_itself_can_be_the_sweep_directory(locally):
    assert locally.launch("x=1", "hydra.sweep.dir=.").returncode == 0
    assert locally.launch("x=2", "hydra.sweep.dir=.", "hydra.launcher.reuse_sweep_dir=true").returncode == 0
    assert [run.result for run in locally.runs()] == [2]


def test_a_task_that_cannot_be_pickled_is_refused_in_a_sentence(locally):
    text = (locally.folder / "app.py").read_text()
    text = text.replace("import hydra\n", "import hydra, threading\nlock = threading.Lock()\n")
    (locally.folder / "app.py").write_text(
        text.replace("    if cfg.x == cfg.fail", "    lock\n    if cfg.x == cfg.fail")
    )
    done = locally.launch("x=1", "hydra.launcher.entry=function")
    assert done.returncode == 1
    assert "cannot be pickled" in done.stderr
    assert "It has to be sent since hydra.launcher.entry=function asks for it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not locally.ledger.exists()


def test_the_scripts_own_folder_is_importable_in_the_run(locally):
    (locally.folder / "lib").mkdir()
    (locally.folder / "lib" / "helper.py").write_text("VALUE = 42\n")
    script = locally.folder / "lib" / "app.py"
    script.write_text(
        "import hydra, helper\n@hydra.main(version_base=None)\ndef main(cfg):\n    import helper\n"
        "    return helper.VALUE\nmain()\n"
    )
    done = App(folder=locally.folder / "lib", launcher="hpcorch_local").launch()
    assert done.returncode == 0, done.stderr
    assert [run.result for run in App(locally.folder / "lib", "hpcorch_local").runs()] == [42]


def test_results_that_json_cannot_hold_come_back_as_they_were(tmp_path):
    folder = make_app(tmp_path / "project", "hpcorch_local").folder
    (folder / "app.py").write_text(
        "import hydra, numpy\n@hydra.main(version_base=None)\ndef main(cfg):\n"
        "    return {'a': (1, 2), 'nan': float('nan'), 'array': numpy.arange(3), 'big': numpy.zeros(10_000)}\n"
        "main()\n"
    )
    app = App(folder, "hpcorch_local")
    assert app.launch().returncode == 0
    (run,) = app.runs()
    assert run.result["a"] == [1, 2]
    assert math.isnan(run.result["nan"])
    assert run.result["array"] == [0, 1, 2]
    assert len(list(app.layout().results.iterdir())) == 1


def test_progress_is_plain_lines_where_there_is_no_terminal(swept):
    lines = [line for line in swept.done.stderr.splitlines() if line.startswith("sweep ")]
    assert lines[-1].endswith(": 2 COMPLETED")
    assert "\x1b" not in swept.done.stderr


def test_the_journal_is_checksummed_lines_of_json(swept):
    for journal in swept.app.layout().journals.iterdir():
        kinds = [json.loads(line)["kind"] for line in journal.read_text().splitlines()]
        assert kinds == [f"attempt-{step}" for step in ("claimed", "seeded", "called", "verified", "ended")]


def test_a_task_file_changed_after_submission_is_refused_as_drift(locally):
    sweep = locally.start("x=1,2", "wait_for=go", "hydra.launcher.slots=1")
    wait_until((locally.folder / "started-1").exists)
    task = next(locally.folder.glob("multirun/*/*/.hpcorch/launch-*/task.pkl"))
    task.write_bytes(task.read_bytes() + b"x")
    (locally.folder / "go").touch()
    assert sweep.wait(timeout=120) == 1
    assert locally.states() == ["COMPLETED", "FAILED"]
    assert locally.runs()[1].exit_code == 75
    assert "was changed after submission" in locally.runs()[1].reason


def test_dataclasses_and_enums_of_the_script_are_the_tasks_own(tmp_path):
    folder = make_app(tmp_path / "project", "hpcorch_local").folder
    (folder / "app.py").write_text(
        "from dataclasses import dataclass\nfrom enum import Enum\nimport hydra\n"
        "from hydra.core.config_store import ConfigStore\nfrom omegaconf import OmegaConf\n"
        "class Color(Enum):\n    RED = 1\n    BLUE = 2\n"
        "@dataclass\nclass Config:\n    color: Color = Color.RED\n"
        "ConfigStore.instance().store(name='typed', node=Config)\n"
        "@hydra.main(version_base=None, config_path=None, config_name='typed')\n"
        "def main(cfg):\n    return [cfg.color is Color.BLUE, OmegaConf.get_type(cfg) is Config]\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    app = App(folder, "hpcorch_local")
    done = app.launch("color=BLUE")
    assert done.returncode == 0, done.stderr
    assert [run.result for run in app.runs()] == [[True, True]]


def hpcorch(app: App, *arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "hpcorch"), *arguments]
    return subprocess.run(command, cwd=app.folder, text=True, capture_output=True, timeout=120).stdout


def test_a_directory_used_again_keeps_the_records_of_both_sweeps_apart(locally):
    assert locally.launch("x=1", "fail=1", "hydra.sweep.dir=out").returncode == 1
    first = locally.summary().sweep.id
    assert locally.launch("x=2,3", "hydra.sweep.dir=out", "hydra.launcher.reuse_sweep_dir=true").returncode == 0
    assert "about to fail" in hpcorch(locally, "logs", first)
    told = json.loads(hpcorch(locally, "status", first, "--refresh", "--json"))
    assert [(run["state"], run["result"]) for run in told["runs"]] == [("FAILED", None)]
    assert [run.result for run in locally.runs()] == [2, 3]


def test_a_directory_whose_runs_are_not_over_is_never_given_away(locally):
    sweep = locally.start("x=1", "wait_for=go", "hydra.sweep.dir=out")
    wait_until((locally.folder / "started-1").exists)
    done = locally.launch("x=2", "hydra.sweep.dir=out", "hydra.launcher.reuse_sweep_dir=true")
    (locally.folder / "go").touch()
    assert sweep.wait(timeout=120) == 0, locally.output
    assert done.returncode == 1
    assert "1 of its runs is not over" in done.stderr


def test_a_key_that_no_launcher_has_is_refused_with_a_suggestion(locally):
    done = locally.launch("x=1", "+hydra.launcher.max_num_timeouts=1")
    assert done.returncode == 1
    assert "did you mean max_num_timeout?" in done.stderr


def test_keys_for_slurm_are_named_and_ignored_on_this_machine(locally):
    done = locally.launch(
        "x=1", "hydra.launcher.partition=gpu", "hydra.launcher.gres=gpu:a100:1", env={"CUDA_VISIBLE_DEVICES": "3"}
    )
    assert done.returncode == 0, done.stderr
    assert "ignores hydra.launcher keys partition" in done.stdout + done.stderr


def test_standard_error_in_a_file_of_its_own_is_shown_too(locally):
    done = locally.launch("x=1", "fail=1", "hydra.launcher.stderr_to_stdout=false")
    assert "| ValueError: no good: 1" in done.stderr
    assert "ValueError: no good: 1" in hpcorch(locally, "logs", "last/0")


def test_a_run_has_the_values_it_was_swept_with_and_their_types(tmp_path):
    app = make_app(tmp_path / "project", "hpcorch_local")
    (app.folder / "conf" / "config.yaml").write_text("x: 1.0\nb: true\ni: 0\nl: [1, 2]\n")
    (app.folder / "app.py").write_text(
        "import hydra\n@hydra.main(version_base=None, config_path='conf', config_name='config')\ndef main(cfg):\n"
        "    types = ' '.join(f'{type(cfg[key]).__name__} {cfg[key]!r}' for key in ('x', 'b', 'i', 'l'))\n"
        "    return {'types': types, 'number': float('nan') if cfg.i is False else 10**400}\n"
        "main()\n"
    )
    assert app.launch("x=1", "b=1", "i=false,-0.0", "l=[1.0,2]").returncode == 0
    first, second = app.runs()
    assert first.result["types"] == "int 1 int 1 bool False ListConfig [1.0, 2]"
    assert second.result["types"] == "int 1 int 1 float -0.0 ListConfig [1.0, 2]"
    assert same([run.params["i"] for run in (first, second)], [False, -0.0])
    assert math.isnan(first.result["number"])
    assert second.result["number"] == 10**400


@pytest.mark.parametrize("launcher", ["hpcorch_local", "hpcorch_slurm"])
def test_a_directory_that_cannot_be_made_is_refused_before_anything_is_recorded(tmp_path, cluster, launcher):
    app = make_app(tmp_path / "project", launcher)
    refused = app.launch(f"+name={'n' * 300}", "hydra.sweep.subdir=${hydra.job.override_dirname}")
    assert refused.returncode == 1
    assert "the output directory of run 0 would have the name" in refused.stderr
    assert "shorten hydra.sweep.subdir" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.rglob(".hpcorch"))
    assert not cluster.jobs()

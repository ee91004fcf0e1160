"""What was submitted is what runs: code, configuration and environment, whatever happens to them meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.ledger.store import Ledger
from hpcorch.model.events import (
    AttemptVerified,
    CodeFrozen,
    DriftFound,
    EnvironmentFrozen,
    Fact,
    InputRecorded,
    RunReused,
)
from hpcorch.model.states import RunState
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.waiting import wait_until

SCRIPT = """
import logging, pathlib, time
from dataclasses import dataclass
import hydra
import helpers

WORD = "frozen script"
HERE = pathlib.Path(__file__).parent
log = logging.getLogger(__name__)

@dataclass
class Answer:
    value: str

def wait(cfg):
    pathlib.Path(f"started-{cfg.x}").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.05)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if cfg.x == 1:
        wait(cfg)
    log.info("from main")
    import late
    return {
        "script": WORD, "helper": helpers.WORD, "late": late.WORD, "yaml": cfg.word,
        "beside": (HERE / "beside.txt").read_text(), "data": pathlib.Path("data.txt").read_text(),
    }

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def app(tmp_path) -> App:
    return make(tmp_path / "project")


def make(folder: Path, script: str = SCRIPT) -> App:
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text("x: 0\nword: frozen yaml\n")
    (folder / "app.py").write_text(script)
    (folder / "helpers.py").write_text("WORD = 'frozen helper'\n")
    (folder / "late.py").write_text("WORD = 'frozen late'\n")
    (folder / "beside.txt").write_text("frozen beside")
    (folder / "data.txt").write_text("first data")
    (folder / ".gitignore").write_text("started-*\ngo\n")
    return App(folder=folder, launcher="hpcorch_local")


def in_git(app: App) -> None:
    for words in (
        ["init", "-q", "-b", "trunk"],
        ["remote", "add", "origin", "https://name:secret@example.org/project.git"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", "-C", app.folder, *words], check=True)


def facts(app: App, *kinds: type[Fact]) -> list[Fact]:
    with Ledger.open(app.ledger) as ledger:
        events = ledger.events(ledger.sweep("last").sweep.id, kinds=[kind.kind for kind in kinds])
    return [event.fact for event in events]


def launched(app: App, *arguments: str) -> list[object]:
    done = app.launch(*arguments)
    assert done.returncode == 0, done.stderr
    return [run.result for run in app.runs()]


def test_edits_after_submission_change_nothing_of_what_runs_and_data_is_read_where_it_is(app):
    (app.folder / ".gitignore").write_text("late.py\nstarted-*\ngo\n")  # generated, and imported by the task alone
    in_git(app)
    sweep = app.start("x=1,2", "hydra.launcher.slots=1")
    wait_until((app.folder / "started-1").exists)
    for name in ("app.py", "helpers.py", "late.py", "beside.txt", "conf/config.yaml"):
        path = app.folder / name
        path.write_text(path.read_text().replace("frozen", "edited"))
    (app.folder / "data.txt").write_text("second data")
    (app.folder / "go").touch()
    assert sweep.wait(120) == 0, app.output
    expected = {
        "script": "frozen script",
        "helper": "frozen helper",
        "late": "frozen late",
        "yaml": "frozen yaml",
        "beside": "edited beside",  # a file that the program opens itself
        "data": "second data",
    }
    assert [run.result for run in app.runs()] == [expected, expected]
    (code,) = facts(app, CodeFrozen)
    verified = facts(app, AttemptVerified)
    assert {(one.code_digest, one.entry) for one in verified} == {(code.digest, "program")}
    assert "[__main__][INFO] - from main" in (Path(app.runs()[1].directory) / "app.log").read_text()


def test_commit_branch_remote_and_the_changes_of_a_checkout_are_on_record(app):
    in_git(app)
    (app.folder / "helpers.py").write_text("WORD = 'uncommitted helper'\n")
    (app.folder / "go").touch()
    assert launched(app, "x=1")[0]["helper"] == "uncommitted helper"
    (code,) = facts(app, CodeFrozen)
    head = subprocess.run(["git", "-C", app.folder, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert (code.commit, code.branch, code.dirty) == (head.strip(), "trunk", True)
    assert code.remote == "https://example.org/project.git"
    diff = (app.layout().directory / code.diff).read_text()
    assert "+WORD = 'uncommitted helper'" in diff
    assert Path(code.archive) == app.folder / ".hpcorch" / "snapshots" / code.digest


def test_a_secret_is_left_out_with_a_word_and_one_code_state_is_one_snapshot(app):
    in_git(app)
    (app.folder / ".env").write_text("TOKEN=1\n")
    (app.folder / "go").touch()
    done = app.launch("x=2")
    assert done.returncode == 0, done.stderr
    assert ".env is not in the snapshot: its name is one that secrets have" in done.stdout + done.stderr
    (code,) = facts(app, CodeFrozen)
    assert [".env", "its name is one that secrets have"] in code.left
    launched(app, "x=3", "hydra.sweep.dir=other")
    assert len(list((app.folder / ".hpcorch" / "snapshots").iterdir())) == 1


def test_a_damaged_snapshot_is_refused_with_exit_code_75_and_the_record_says_why(app, monkeypatch):
    (app.folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(app.folder / "tmp"))
    sweep = app.start("x=1,2", "hydra.launcher.slots=1")
    wait_until((app.folder / "started-1").exists)
    (archive,) = (app.folder / ".hpcorch" / "snapshots").iterdir()
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    for unpacked in Path(app.folder, "tmp").glob("hpcorch-*/*/tree"):
        unpacked.chmod(0o700)
        (unpacked / "new.py").write_text("")
    (app.folder / "go").touch()
    assert sweep.wait(120) == 1
    first, second = app.runs()
    assert first.state is RunState.COMPLETED
    assert (second.state, second.exit_code) == (RunState.FAILED, 75)
    assert "snapshot" in (second.reason or "")
    (drift,) = [one for one in facts(app, DriftFound) if one.severity == "major"]
    assert (drift.aspect, drift.what, drift.policy) == ("code", "snapshot", "refuse")


@pytest.mark.parametrize("policy", ["refuse", "record"])
def test_a_module_that_git_ignores_and_that_is_in_no_package_is_drift(tmp_path, policy):
    script = SCRIPT.replace("    import late", "    import sys; sys.path.insert(0, 'vendor/tools'); import late")
    app = make(tmp_path / "project", script)
    (app.folder / ".gitignore").write_text("vendor\ngo\n")
    (app.folder / "vendor/tools").mkdir(parents=True)
    (app.folder / "late.py").rename(app.folder / "vendor/tools/late.py")
    in_git(app)
    (app.folder / "go").touch()
    done = app.launch("x=2", f"hydra.launcher.drift.code={policy}")
    (run,) = app.runs()
    (drift,) = facts(app, DriftFound)
    assert (drift.what, drift.after, drift.policy) == (
        "module late",
        str(app.folder / "vendor/tools/late.py"),
        policy,
    )
    if policy == "record":
        assert (done.returncode, run.result["late"]) == (0, "frozen late")
    else:
        assert (done.returncode, run.exit_code) == (1, 75)
        assert "the module late is not in the snapshot" in (run.reason or "")


def test_a_script_in_a_home_runs_with_what_is_beside_it(app, monkeypatch):
    monkeypatch.setenv("HOME", str(app.folder))
    (app.folder / "go").touch()
    done = app.launch("x=2")
    assert done.returncode == 0, done.stderr
    assert "the rest of ./ is not in the snapshot: it is a home" in done.stdout + done.stderr
    (code,) = facts(app, CodeFrozen)
    assert code.files == 2, "app.py and helpers.py, which it had imported"
    (drift,) = facts(app, DriftFound)
    assert (drift.what, drift.policy) == ("module late", "warn")


def test_what_a_task_adds_to_its_path_is_looked_for_in_the_snapshot(tmp_path):
    script = SCRIPT.replace(
        "    import late", "    import sys; sys.path.insert(0, str(pathlib.Path.cwd())); import late"
    )
    app = make(tmp_path / "project", script)
    sweep = app.start("x=1")
    wait_until((app.folder / "started-1").exists)
    (app.folder / "late.py").write_text("WORD = 'edited'\n")
    (app.folder / "go").touch()
    assert sweep.wait(120) == 0, app.output
    assert app.runs()[0].result["late"] == "frozen late"
    assert facts(app, DriftFound) == []


def test_a_script_without_a_main_block_does_not_launch_itself_again(tmp_path):
    app = make(tmp_path / "project", SCRIPT.replace('if __name__ == "__main__":\n    main()', "main()"))
    (app.folder / "go").touch()
    assert launched(app, "x=1,2")[0]["script"] == "frozen script"
    with Ledger.open(app.ledger) as ledger:
        assert len(ledger.sweeps()) == 1


def test_an_object_of_a_class_of_the_script_comes_back_as_that_class(tmp_path):
    script = SCRIPT.replace("    return {\n", '    return Answer("yes")\n    return {\n').replace(
        "    main()\n",
        "    main()\n    import hpcorch\n    value = hpcorch.collect()[0][0].return_value\n"
        "    assert type(value) is Answer and value == Answer('yes'), value\n",
    )
    app = make(tmp_path / "project", script)
    (app.folder / "go").touch()
    launched(app, "x=1")


def test_a_structured_configuration_of_the_script_is_of_its_own_classes_in_the_job(tmp_path):
    script = """
from dataclasses import dataclass, field
import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

@dataclass
class Inner:
    size: int = 3

@dataclass
class Config:
    x: int = 0
    inner: Inner = field(default_factory=Inner)

ConfigStore.instance().store(name="config", node=Config)

@hydra.main(version_base=None, config_name="config")
def main(cfg):
    made = OmegaConf.to_object(cfg)
    return [type(made) is Config, type(made.inner) is Inner, OmegaConf.get_type(cfg) is Config]

if __name__ == "__main__":
    main()
"""
    app = make(tmp_path / "project", script)
    assert launched(app, "x=1") == [[True, True, True]]


def test_a_needed_run_is_executed_once_and_its_result_is_taken_over(app):
    in_git(app)
    (app.folder / "go").touch()
    first = launched(app, "x=1,2", "+seed=5")
    done = app.launch("x=1,2,3", "+seed=5", "hydra.launcher.needed=true", "hydra.sweep.dir=other")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 runs have completed before" in done.stdout + done.stderr
    with Ledger.open(app.ledger) as ledger:
        earlier = ledger.sweeps()[-1].sweep.id
    runs = app.runs()
    assert [run.state for run in runs] == [RunState.COMPLETED] * 3
    assert [run.result for run in runs[:2]] == first
    assert [run.reason for run in runs] == [f"taken over from {earlier}/{n}" for n in (0, 1)] + [None]
    assert [run.attempts for run in runs] == [0, 0, 1]
    assert [(one.run, one.of) for one in facts(app, RunReused)] == [(0, f"{earlier}/0"), (1, f"{earlier}/1")]
    assert [run.reused_from for run in runs] == [f"{earlier}/0", f"{earlier}/1", None]
    assert launched(app, "x=2", "+seed=5", "hydra.launcher.needed=true", "hydra.sweep.dir=third") == [first[1]]
    assert app.runs()[0].reused_from == f"{earlier}/1", "the run that was executed, not the one that took it over"
    (app.folder / "helpers.py").write_text("WORD = 'another helper'\n")
    (app.folder / "results.csv").write_text("written beside the code, and no code")
    (app.folder / "notes.txt").write_text("")
    done = app.launch("x=1", "+seed=5", "hydra.launcher.needed=true", "hydra.sweep.dir=fourth")
    assert app.runs()[0].result["helper"] == "another helper"
    assert "None of 1 run has completed before" in (said := done.stdout + done.stderr)
    assert "/0 has the configuration and seed of run 0, but other code" in said
    assert "since then helpers.py was changed, notes.txt was added; list in .gitignore what is no code" in said
    assert "results.csv" not in said
    done = app.launch("x=1", "+seed=6", "hydra.launcher.needed=true", "hydra.sweep.dir=fifth")
    assert "no completed run has such a configuration" in done.stdout + done.stderr


def test_a_needed_sweep_whose_seeds_nobody_fixed_says_that_nothing_can_be_taken_over(app):
    (app.folder / "go").touch()
    done = app.launch("x=1", "hydra.launcher.needed=true")
    assert "each sweep draws another root seed: fix it with hydra.launcher.seed=" in done.stdout + done.stderr


def test_all_results_of_a_needed_sweep_may_be_known_and_the_program_gets_them(tmp_path):
    script = SCRIPT.replace("    return {\n", '    return Answer("x" * 50000)\n    return {\n').replace(
        "    main()\n",
        "    main()\n    import hpcorch\n    value = hpcorch.collect()[0][0].return_value\n"
        "    assert value == Answer('x' * 50000), value\n",
    )
    app = make(tmp_path / "project", script)
    in_git(app)
    (app.folder / "go").touch()
    launched(app, "x=1", "+seed=5")
    launched(app, "x=1", "+seed=5", "hydra.launcher.needed=true", "hydra.sweep.dir=other")
    (run,) = app.runs()
    assert run.attempts == 0
    assert (run.reason or "").startswith("taken over from ")
    with Ledger.open(app.ledger) as ledger:
        assert ledger.check(deep=True) == []


def test_an_environment_is_frozen_without_secrets(app):
    (app.folder / "go").touch()
    done = app.launch("x=1", env={"OMP_NUM_THREADS": "1", "TORCH_TOKEN": "hidden"})
    assert done.returncode == 0, done.stderr
    (frozen,) = facts(app, EnvironmentFrozen)
    record = json.loads((app.layout().directory / frozen.file).read_text())
    assert record["variables"]["OMP_NUM_THREADS"] == "1"
    assert "hidden" not in json.dumps(record)
    assert record["packages"]["hydra-core"]
    assert facts(app, DriftFound) == []


def test_an_unknown_policy_of_drift_is_refused_before_anything_runs(app):
    done = app.launch("x=1", "hydra.launcher.drift.code=ignore")
    assert done.returncode == 1
    assert "hydra.launcher.drift.code=ignore is none of refuse, warn, record" in done.stderr


@pytest.mark.parametrize(("policy", "state"), [("warn", RunState.COMPLETED), ("refuse", RunState.FAILED)])
def test_an_input_that_changed_between_two_attempts_is_drift(tmp_path, policy, state):
    script = SCRIPT.replace(
        "    log.info", '    import hpcorch; hpcorch.current_run().record_input("data.txt")\n    log.info'
    ).replace("    import late", "    if not pathlib.Path('again').exists(): raise ValueError\n    import late")
    app = make(tmp_path / "project", script)
    (app.folder / "go").touch()
    assert app.launch("x=1", f"hydra.launcher.drift.inputs={policy}").returncode == 1
    (app.folder / "data.txt").write_text("other data")
    (app.folder / "again").touch()
    hpcorch = Path(sys.executable).with_name("hpcorch")
    subprocess.run([hpcorch, "retry", "last"], cwd=app.folder, capture_output=True, timeout=120)
    (run,) = app.runs()
    assert run.state is state
    first, second = facts(app, InputRecorded)
    assert (first.path, first.form, first.size, first.files) == (str(app.folder / "data.txt"), "file", 10, 1)
    (drift,) = facts(app, DriftFound)
    assert (drift.aspect, drift.before, drift.after, drift.policy) == (
        "inputs",
        first.digest,
        second.digest,
        policy,
    )
    assert policy == "warn" or run.exit_code == 75


def test_a_checkout_that_git_refuses_is_told_of_at_launch_and_in_the_audit(
    locally: App, hpcorch: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=locally.folder, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for testing the refusal
    done = locally.launch("x=1")
    cure = f"`git config --global --add safe.directory {locally.folder}`"
    assert done.returncode == 0
    assert done.stderr.count(cure) + done.stdout.count(cure) == 1
    assert cure in hpcorch("audit", "last").out
    assert cure in hpcorch("show", "last/0").out

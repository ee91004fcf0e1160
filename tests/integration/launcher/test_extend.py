"""``hpcorch extend``: a sweep gets what a larger grid has more, and nothing runs twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.ledger.store import Ledger
from tests.support import processes
from tests.support.apps import App, make_app
from tests.support.exec_project import HPCORCH
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs


def command(*words: str) -> list[str]:
    return [*HPCORCH, "extend", *words]


def extend(app: App, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=app.folder, text=True, capture_output=True, timeout=120)


def overrides(app: App) -> list[str]:
    return [" ".join(run.overrides) for run in app.runs()]


def launches(app: App) -> int:
    with Ledger.open(app.ledger) as ledger:
        return len(ledger.launches(app.summary().sweep.id))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A sweep of one run, for tests that try to extend it and must not get that far."""
    app = make_app(tmp_path_factory.mktemp("untouched") / "project", "hpcorch_local")
    assert app.launch("x=1", "hydra.sweep.subdir=same").returncode == 0
    return app


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A sweep of one run that got a second one, for tests that only look at it."""
    app = make_app(tmp_path_factory.mktemp("extended") / "project", "hpcorch_local")
    assert app.launch("x=1", "read=HPCORCH_EXTENDS").returncode == 0
    assert extend(app, "last", "x=1,2").returncode == 0
    return app


@pytest.fixture
def in_extended(extended: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is that sweep's project."""
    monkeypatch.chdir(extended.folder)


@pytest.mark.parametrize("kind", ["locally", "on_slurm"])
def test_what_the_grid_lacks_is_added_and_nothing_runs_twice(kind: str, request: pytest.FixtureRequest) -> None:
    app: App = request.getfixturevalue(kind)
    assert app.launch("x=1,2", "+y=a").returncode == 0
    sweep = app.summary().sweep.id
    done = extend(app, "last", "x=1,2,3", "y=a,b")
    assert done.returncode == 0, done.stderr
    assert f"sweep {sweep} had 2 of the 6 runs of this grid; 4 runs to add" in done.stdout
    assert app.summary().sweep.id == sweep
    assert overrides(app) == ["x=1 +y=a", "x=2 +y=a", "x=1 +y=b", "x=2 +y=b", "x=3 +y=a", "x=3 +y=b"]
    assert [run.run for run in app.runs()] == [0, 1, 2, 3, 4, 5]
    assert app.states() == ["COMPLETED"] * 6
    assert len(app.attempts()) == 6
    assert [run.result for run in app.runs()] == [1, 2, 1, 2, 3, 3]


def test_the_runs_have_the_seeds_that_one_launch_gives_them(locally: App) -> None:
    seeded = "hydra.launcher.seed=7"
    locally.launch("x=1,2,3,4,2", seeded)
    whole = sorted((run.overrides, run.seed) for run in locally.runs())
    locally.launch("x=1,2", seeded)
    assert extend(locally, "last", "x=1,2,3,4,2").returncode == 0
    assert sorted((run.overrides, run.seed) for run in locally.runs()) == whole
    assert len(whole) == 5


def test_where_nothing_lacks_it_is_said_and_nothing_is_put_on_record(locally: App) -> None:
    locally.launch("x=1,2", "fail=2")
    done = extend(locally, "last", "x=2,1")
    assert done.returncode == 0, done.stderr
    assert (
        "had 2 of the 2 runs of this grid; nothing is added. Run 1 did not complete: `hpcorch retry" in done.stdout
    )
    assert launches(locally) == 1
    assert locally.states() == ["COMPLETED", "FAILED"], "what failed is a matter of retry"


def test_runs_whose_configuration_has_their_number_are_there_all_the_same(locally: App) -> None:
    locally.launch("x=1,2", "value='${hydra:job.num}'")
    done = extend(locally, "last", "x=1,2,3")
    assert "had 2 of the 3 runs" in done.stdout, done.stderr
    assert [run.result for run in locally.runs()] == [0, 1, 2]


def test_changed_code_is_refused_or_told(locally: App) -> None:
    locally.launch("x=1")
    with (locally.folder / "app.py").open("a") as file:
        file.write("# changed\n")
    refused = extend(locally, "last", "x=1,2")
    assert refused.returncode == 1
    assert "since then app.py was changed. Put it back, launch a sweep" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(locally.runs()) == 1
    done = extend(locally, "last", "x=1,2", "hydra.launcher.drift.code=warn")
    assert done.returncode == 0, done.stderr
    assert "The code is not what run 0 of sweep" in done.stdout
    assert locally.states() == ["COMPLETED"] * 2


def test_a_dry_run_shows_what_would_be_added_and_leaves_nothing(locally: App) -> None:
    locally.launch("x=1")
    before = sorted(path for path in locally.layout().state.rglob("*") if ".lock" not in path.name)
    done = extend(locally, "last", "x=1,2", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "1 run on this machine; nothing is started" in done.stdout
    assert len(locally.runs()) == 1
    assert sorted(path for path in locally.layout().state.rglob("*") if ".lock" not in path.name) == before


def test_two_who_extend_at_once_add_each_run_once(locally: App) -> None:
    locally.launch("x=1")
    words = command("last", "x=range(1,6)")
    both = [processes.start(words, cwd=locally.folder, stderr=subprocess.PIPE) for _ in range(2)]
    said = [one.communicate(timeout=120)[1].decode() for one in both]
    codes = [one.returncode for one in both]
    assert sorted(codes) in ([0, 0], [0, 1]), said
    assert all("has added runs" in text for text, code in zip(said, codes, strict=True) if code), said
    assert overrides(locally) == [f"x={x}" for x in range(1, 6)]
    assert len(locally.attempts()) == 5


def test_the_runs_do_not_learn_that_they_were_added(extended: App) -> None:
    assert [run.result for run in extended.runs()] == [1, 2]


def test_a_sweep_of_hpcorchs_sweeper_is_extended(locally: App) -> None:
    locally.launch("hydra/sweeper=hpcorch", "x=1,2", "value=a,b", "hydra.sweeper.zip=[x,value]")
    done = extend(locally, "last", "x=1,2,3", "value=a,b,c")
    assert done.returncode == 0, done.stderr
    assert [run.result for run in locally.runs()] == ["a", "b", "c"]


def test_a_module_is_called_as_one(locally: App) -> None:
    program = (locally.folder / "app.py").read_text().replace('"conf"', '"../conf"')
    (locally.folder / "pack").mkdir()
    (locally.folder / "pack" / "__init__.py").touch()
    (locally.folder / "pack" / "app.py").write_text("from . import __name__ as name\n" + program)
    first = [sys.executable, "-m", "pack.app", "-m", "hydra/launcher=hpcorch_local", "x=1"]
    subprocess.run(first, cwd=locally.folder, check=True, capture_output=True)
    elsewhere = locally.folder / "pack"
    done = subprocess.run(command("last", "x=1,2"), cwd=elsewhere, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [run.result for run in locally.runs()] == [1, 2]


@pytest.mark.usefixtures("in_extended")
def test_show_and_audit_tell_by_which_command_runs_were_added(hpcorch, tmp_path: Path) -> None:
    shown = json.loads(hpcorch("show", "last", "--json").out)
    assert [launch["argv"] and launch["argv"][1:3] for launch in shown["launches"]] == [
        None,
        ["-m", "x=1,2"],
    ]
    assert "x=1,2" in hpcorch("show", "last").out
    audited = hpcorch("audit", "last")
    assert audited.code == 0, audited.out
    assert hpcorch("audit", "last", "--report", tmp_path / "report.md").code == 0
    report = (tmp_path / "report.md").read_text()
    assert "**Command** that added run 1 `" in report
    assert "x=1,2" in report


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("last", "=3"), "=3 names no key"),
        (("last", "@=3"), "@=3"),
        (
            ("last", "x=1,2", "hydra.sweep.dir=elsewhere"),
            "hydra.sweep.dir cannot be given: a sweep keeps its directory",
        ),
        (("last", "hydra/launcher=hpcorch_slurm"), "hydra/launcher cannot be given: a sweep keeps its launcher"),
        (("last/0", "x=1,2"), "runs are added to a sweep as a whole: name it"),
        (("last", "x=[1"), "x=[1 cannot be read"),
        (("nope", "x=1,2"), "no sweep"),
        (("last", "hydra.launcher.seed=3", "x=1,2"), "is not the root seed of sweep"),
        (("last", "nope=1,2"), "nope"),
        (("last", "hydra.sweep.subdir=same", "x=2"), "same"),
    ],
)
def test_what_cannot_be_added_is_said_in_a_sentence(untouched: App, words: tuple[str, ...], said: str) -> None:
    done = extend(untouched, *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(untouched.runs()) == 1


def test_a_program_that_is_gone_is_named(locally: App) -> None:
    locally.launch("x=1")
    (locally.folder / "app.py").rename(locally.folder / "other.py")
    done = extend(locally, "last", "x=1,2")
    assert done.returncode != 0
    assert "app.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_launches_more_than_that_sweep_is_refused_before_it_does(locally: App) -> None:
    program = (locally.folder / "app.py").read_text()
    again = "    sys.argv.append('hydra.launcher.reuse_sweep_dir=true')\n    main()\n"
    (locally.folder / "app.py").write_text(program + again)
    locally.launch("x=1", "hydra.sweep.dir=out/${x}${now:%f}")
    with Ledger.open(locally.ledger) as ledger:
        second, first = (one.sweep.id for one in ledger.sweeps())
    refused = extend(locally, second, "x=1,2")
    assert refused.returncode == 2
    assert "is not the first one that its program launches" in refused.stderr
    done = extend(locally, first, "x=1,2")
    assert "the program launches another one" in done.stderr
    with Ledger.open(locally.ledger) as ledger:
        assert {one.sweep.id: one.runs for one in ledger.sweeps()} == {first: 2, second: 1}


def test_the_sweep_keeps_its_launcher_and_mode_whatever_the_configuration_says_now(locally: App) -> None:
    config = locally.folder / "conf" / "config.yaml"
    text = config.read_text()
    config.write_text(
        "defaults: [_self_, {override hydra/launcher: hpcorch_local}]\nhydra: {mode: MULTIRUN}\n" + text
    )
    subprocess.run([sys.executable, "app.py", "x=1"], cwd=locally.folder, check=True, capture_output=True)
    config.write_text(text)
    done = extend(locally, "last", "x=1,2", "hydra.launcher.drift.code=warn")
    assert done.returncode == 0, done.stderr
    assert overrides(locally) == ["x=1", "x=2"]


def test_another_configuration_for_the_same_overrides_is_refused_with_its_keys(locally: App, tmp_path) -> None:
    (tmp_path / "own").mkdir()
    own = tmp_path / "own" / "other.yaml"
    own.write_text("defaults: [config, _self_]\nvalue: 16\n")
    given = ("--config-dir", str(tmp_path / "own"), "-cn", "other")
    assert locally.launch("x=1", *given).returncode == 0
    own.write_text("defaults: [config, _self_]\nvalue: 99\n")
    refused = extend(locally, "last", "x=1,2")
    assert refused.returncode == 1
    assert "another configuration: value was 16, now 99. Put it back" in refused.stderr
    assert len(locally.runs()) == 1


def test_what_a_killed_extension_has_left_is_removed_by_the_next(locally: App) -> None:
    locally.launch("x=1")
    for name in ("launch-000001", ".launch-000001.1234abcd"):
        folder = locally.layout().state / name
        folder.mkdir()
        (folder / "task.pkl").write_bytes(b"not whole")
    done = extend(locally, "last", "x=1,2")
    assert done.returncode == 0, done.stderr
    assert [run.result for run in locally.runs()] == [1, 2]
    assert not folder.exists()


def test_a_launcher_with_batches_to_come_goes_on_with_what_is_lacking_then(locally: App) -> None:
    words = ("x=1,2,3,4", "wait_for=go", "hydra.sweeper.max_batch_size=2")
    first = locally.start(*words, "hydra.launcher.slots=4")
    wait_until((locally.folder / "started-1").exists)
    more = processes.start(
        command("last", "x=3,9", "hydra.launcher.drift.code=warn"), cwd=locally.folder, stdout=subprocess.PIPE
    )
    wait_until((locally.folder / "started-9").exists)
    (locally.folder / "go").touch()
    assert more.wait(timeout=120) == 0
    assert first.wait(timeout=120) == 0, locally.output
    assert overrides(locally)[:2] == ["x=1 wait_for=go", "x=2 wait_for=go"]
    assert sorted(overrides(locally)) == [f"x={x} wait_for=go" for x in (1, 2, 3, 4, 9)]
    assert len(locally.attempts()) == 5


@pytest.mark.usefixtures("in_extended")
def test_an_extended_sweep_is_exported_whole(hpcorch, tmp_path: Path) -> None:
    assert hpcorch("export", "bundle", "last", str(tmp_path / "bundle")).code == 0
    assert hpcorch("audit", "--bundle", str(tmp_path / "bundle")).code == 0


def test_hydras_own_account_of_the_first_call_stays(locally: App) -> None:
    locally.launch("x=1")
    file = locally.layout().directory / "multirun.yaml"
    before = file.read_bytes()
    for words in (("x=1,2", "--dry-run"), ("x=1,2",), ("nope=3",)):
        extend(locally, "last", *words)
        assert file.read_bytes() == before


def test_a_rerun_is_not_extended_in_the_place_of_its_original(locally: App, hpcorch) -> None:
    locally.launch("x=1")
    sweep = locally.summary().sweep.id
    assert hpcorch("rerun", "last").code == 0
    done = extend(locally, "last", "x=1,2")
    assert done.returncode == 2
    assert f"repeats runs of {sweep}: extend that one" in done.stderr

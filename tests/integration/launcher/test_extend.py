"""``hpcorch extend``: a sweep gets what a larger grid has more, and nothing runs twice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hpcorch.ledger.store import Ledger
from tests.support import processes
from tests.support.apps import App
from tests.support.exec_project import HPCORCH

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


@pytest.mark.parametrize("kind", ["locally", "on_slurm"])
def test_what_the_grid_lacks_is_added_and_nothing_runs_twice(kind: str, request: pytest.FixtureRequest) -> None:
    app: App = request.getfixturevalue(kind)
    assert app.launch("x=1,2", "+y=a").returncode == 0
    sweep = app.summary().sweep.id
    done = extend(app, "last", "x=1,2,3", "y=a,b")
    assert done.returncode == 0, done.stderr
    assert f"sweep {sweep} has 2 of the 6 runs of this grid; 4 runs to add" in done.stdout
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
    assert "has 2 of the 2 runs of this grid; nothing is added" in done.stdout
    assert launches(locally) == 1
    assert locally.states() == ["COMPLETED", "FAILED"], "what failed is a matter of retry"


def test_runs_whose_configuration_has_their_number_are_there_all_the_same(locally: App) -> None:
    locally.launch("x=1,2", "value='${hydra:job.num}'")
    done = extend(locally, "last", "x=1,2,3")
    assert "has 2 of the 3 runs" in done.stdout, done.stderr
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
    assert "The code is not that of the runs" in done.stdout
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


def test_the_runs_do_not_learn_that_they_were_added(locally: App) -> None:
    locally.launch("x=1", "read=HPCORCH_EXTENDS")
    assert extend(locally, "last", "x=1,2").returncode == 0
    assert [run.result for run in locally.runs()] == [1, 2]


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


def test_show_and_audit_tell_by_which_command_runs_were_added(locally: App, hpcorch) -> None:
    locally.launch("x=1")
    extend(locally, "last", "x=1,2")
    shown = json.loads(hpcorch("show", "last", "--json").out)
    assert [launch["argv"] and launch["argv"][1:4] for launch in shown["launches"]] == [
        None,
        ["-m", "hydra/launcher=hpcorch_local", "x=1,2"],
    ]
    assert "x=1,2" in hpcorch("show", "last").out
    audited = hpcorch("audit", "last")
    assert audited.code == 0, audited.out
    assert hpcorch("audit", "last", "--report", "report.md").code == 0
    report = (locally.folder / "report.md").read_text()
    assert "**Command** that added run 1 `" in report
    assert "x=1,2" in report


@pytest.mark.parametrize(
    ("words", "said"),
    [
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
def test_what_cannot_be_added_is_said_in_a_sentence(locally: App, words: tuple[str, ...], said: str) -> None:
    locally.launch("x=1", "hydra.sweep.subdir=same")
    done = extend(locally, *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(locally.runs()) == 1


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

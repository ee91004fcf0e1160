"""A ledger that was lost is made again from the sweep directories, with all that they hold."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcorch.errors import NotFoundError
from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.sweep_folder import set_aside
from hpcorch.ledger import Ledger
from hpcorch.services.actions.moved import note_moved
from hpcorch.services.adoption.adopt import Adoption, adopt
from tests.support import processes
from tests.support.ownership import Disown
from tests.support.proven_sweeps import proven_sweep
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep, make_sweep
from tests.support.tuning import Tune
from tests.support.waiting import wait_until

LATER = "20260102-120000-cdfg"


@pytest.fixture
def disowned(monkeypatch: pytest.MonkeyPatch) -> Disown:
    return Disown(monkeypatch)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepOnDisk:
    """A finished sweep whose ledger is lost."""
    made = finished_sweep(tmp_path)
    shutil.rmtree(tmp_path / ".hpcorch")
    return made


def taken_in(done: Adoption) -> dict[str, int]:
    """The sweeps that the ledger did not have, each with its number of runs."""
    return {one.sweep: one.runs for one in done.sweeps if one.is_new}


def reasons(done: Adoption) -> str:
    return "\n".join(f"{one.path}: {one.reason}" for one in done.passed_over)


def answers(hpcorch, sweep: str) -> Iterator[Any]:
    """All that is asked of a ledger, without the time of asking."""
    for words in (("ls",), ("show", sweep), ("show", f"{sweep}/0"), ("status", sweep), ("audit", sweep)):
        ran = hpcorch(*words, "--json")
        yield words, ran.code, _timeless(json.loads(ran.out))
    for view in ("v_sweeps", "v_runs", "v_params", "v_attempts", "v_submissions", "v_checkpoints", "v_metrics"):
        yield view, _timeless(json.loads(hpcorch("query", "--json", f"SELECT * FROM {view}").out))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        told_late = ("age_s", "looked_at", "anchor")
        return {key: _timeless(one) for key, one in value.items() if key not in told_late}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def test_a_lost_ledger_answers_as_before_once_the_sweeps_are_taken_in(hpcorch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished_sweep(tmp_path, tags=["first"])
    proven_sweep(tmp_path, sweep=LATER)
    before = list(answers(hpcorch, LATER))
    (tmp_path / ".hpcorch" / "ledger.db").unlink()
    lost = hpcorch("ls")
    assert (lost.code, "`hpcorch ledger adopt`" in lost.err) == (2, True)
    assert hpcorch("ledger", "adopt").code == 0
    assert list(answers(hpcorch, LATER)) == before
    assert hpcorch("ledger", "check", "--deep").code == 0
    again = json.loads(hpcorch("ledger", "adopt", "--json").out)
    assert (again["made"], [one["new"] for one in again["sweeps"]]) == (False, [False, False])


def test_records_that_were_set_aside_are_taken_in_too(sweep):
    set_aside(sweep.layout, nothing_to_confirm)
    shutil.move(sweep.layout.directory, sweep.layout.directory.with_name(LATER))
    make_sweep(sweep.project, sweep=LATER + "x")  # somewhere else
    done = adopt(sweep.ledger_path)
    assert taken_in(done) == {SWEEP: 2, LATER + "x": 2}
    assert done.exit_code == 0


def test_another_users_sweeps_are_passed_over(sweep, disowned):
    make_sweep(sweep.project, sweep=LATER)
    disowned(sweep.layout.state)
    done = adopt(sweep.ledger_path)
    assert taken_in(done) == {LATER: 2}
    assert f"{sweep.layout.state}: it belongs to" in reasons(done)


def test_sweeps_of_the_group_that_shares_the_project_are_taken_in(sweep, disowned):
    others = make_sweep(sweep.project, sweep=LATER)
    sweep.ledger_path.parent.mkdir()
    sweep.ledger_path.parent.chmod(0o2770)
    for made in (sweep, others):
        disowned(made.layout.state)
    sweep.layout.state.chmod(0o2750)
    done = adopt(sweep.ledger_path)
    assert taken_in(done) == {SWEEP: 2}
    assert f"{others.layout.state}: it belongs to" in reasons(done)


def test_a_copy_does_not_take_the_place_of_the_sweep(sweep):
    copy = sweep.project / "aaa" / "copied"
    shutil.copytree(sweep.layout.directory, copy)
    done = adopt(sweep.ledger_path)
    assert [one.directory for one in done.sweeps] == [sweep.layout.directory]
    assert f"a copy of sweep {SWEEP}, which is in {sweep.layout.directory}" in reasons(done)


def test_a_copy_does_not_take_the_place_of_a_sweep_that_was_moved(sweep):
    elsewhere = sweep.project.with_name(f"{sweep.project.name}-archive")
    adopt(sweep.ledger_path)
    sweep.layout.directory.rename(elsewhere)
    with Ledger.open(sweep.ledger_path, write=True) as ledger:
        note_moved(ledger, sweep.layout.directory, elsewhere)
    shutil.copytree(elsewhere, sweep.project / "aaa" / "copied")
    done = adopt(sweep.ledger_path)
    assert done.sweeps == []
    assert f"a copy of sweep {SWEEP}, which is in {elsewhere}" in reasons(done)


def test_damaged_records_are_named_and_stop_no_other(sweep):
    for name, spoilt in ((LATER, "control.jsonl"), ("20260103-120000-cdfg", "launch-000000/manifest.jsonl")):
        made = make_sweep(sweep.project, sweep=name)
        (made.layout.state / spoilt).write_text("no record\n")
    done = adopt(sweep.ledger_path)
    assert taken_in(done) == {SWEEP: 2}
    assert done.exit_code == 1
    assert "its first line is damaged" in reasons(done)
    assert "is not the one that was planned" in reasons(done)


def test_neither_links_nor_the_directories_of_runs_nor_other_projects_are_searched(sweep, tmp_path_factory):
    elsewhere = finished_sweep(tmp_path_factory.mktemp("elsewhere"), sweep=LATER)
    (sweep.project / "link").symlink_to(elsewhere.project)
    other = finished_sweep(sweep.project / "other", sweep="20260103-120000-cdfg")
    make_sweep(sweep.layout.directory / "0", sweep="20260104-120000-cdfg")
    make_sweep(sweep.project / "node_modules", sweep="20260105-120000-cdfg")
    done = adopt(sweep.ledger_path)
    assert taken_in(done) == {SWEEP: 2}
    assert reasons(done) == f"{other.project}: it is a project with a ledger of its own, {other.ledger_path}"
    named = adopt(sweep.ledger_path, [sweep.project / "link", other.project])
    assert set(taken_in(named)) == {LATER, other.id}


def test_scripts_are_taken_in_and_each_named_folder_is_searched_once(sweep):
    scripts = sweep.ledger_path.parent / "scripts"
    script = make_sweep(sweep.project, sweep=LATER)
    scripts.mkdir(parents=True)
    shutil.move(script.layout.directory, scripts / LATER)
    done = adopt(sweep.ledger_path, [sweep.project, sweep.project / "sweeps", sweep.layout.directory])
    assert taken_in(done) == {SWEEP: 2, LATER: 2}
    assert done.passed_over == []


def test_the_search_is_bounded(sweep, tune: Tune):
    for number in range(20):
        (sweep.project / "many" / str(number)).mkdir(parents=True)
    tune(ADOPTION_FOLDERS=10)
    with pytest.raises(NotFoundError, match="it has more than 10 folders: name those that the sweeps are in"):
        adopt(sweep.ledger_path)
    done = adopt(sweep.ledger_path, [sweep.project, sweep.layout.directory])
    assert (taken_in(done), done.exit_code) == ({SWEEP: 2}, 1)


def test_where_nothing_is_found_no_ledger_is_made(tmp_path):
    with pytest.raises(NotFoundError, match="no sweep directory of yours is below"):
        adopt(tmp_path / ".hpcorch" / "ledger.db")
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotFoundError, match="is not a folder"):
        adopt(tmp_path / ".hpcorch" / "ledger.db", [tmp_path / "nowhere"])


def test_an_adoption_that_was_killed_or_that_meets_another_is_completed_by_the_next(tmp_path):
    names = [f"20260101-12{number:04}-cdfg" for number in range(40)]
    for name in names:
        make_sweep(tmp_path, sweep=name)
    path = tmp_path / ".hpcorch" / "ledger.db"
    code = (
        f"from pathlib import Path; from hpcorch.services.adoption.adopt import adopt; adopt(Path({str(path)!r}))"
    )
    killed = processes.start([sys.executable, "-c", code])
    wait_until(lambda: (path.exists() and path.stat().st_size > 0) or killed.poll() is not None)
    killed.kill()
    killed.wait()
    both = [processes.start([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    with Ledger.open(path) as ledger:
        assert sorted(one.sweep.id for one in ledger.sweeps()) == names
        assert ledger.check(deep=True) == []


def test_a_sweep_directory_that_is_the_project_itself_hides_no_other(tmp_path):
    inner = make_sweep(tmp_path, sweep=LATER)
    layout = SweepLayout(tmp_path)
    shutil.copytree(inner.layout.state, layout.state)
    done = adopt(tmp_path / ".hpcorch" / "ledger.db")
    assert taken_in(done) == {LATER: 2}


def test_records_of_others_that_are_closed_do_not_keep_ones_own_from_being_found(tmp_path, monkeypatch):
    mine = finished_sweep(tmp_path / "project")
    closed = make_sweep(tmp_path / "project", sweep=LATER).layout.state
    real = Path.stat

    def refused(path: Path, **options: bool) -> os.stat_result:
        if path.parent == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", refused)
    done = adopt(tmp_path / "new.db", [mine.project])
    assert [one.sweep for one in done.sweeps] == [SWEEP]
    assert f"{closed}: it cannot be read (Permission denied)" in reasons(done)
    assert done.exit_code == 0

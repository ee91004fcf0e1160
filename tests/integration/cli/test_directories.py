"""Sweep directories that were moved, exchanged or deleted: what is found again, and what is said of the others."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.sweep_folder import set_aside
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep, make_sweep

OTHER = "20260102-120000-bcdf"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "proj"


@pytest.fixture
def sweep(project: Path) -> SweepOnDisk:
    return finished_sweep(project)


def at(project: Path) -> tuple[str, str]:
    return "--ledger", str(project / ".hpcorch" / "ledger.db")


def test_sweeps_of_a_project_that_was_moved_are_found_again(sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    here = sweep.project.rename(sweep.project.with_name("proj2"))
    assert str(here / "sweeps" / SWEEP) in hpcorch(*at(here), "status").out
    assert hpcorch(*at(here), "logs", "last/1").out == "epoch 1\nno good\n"
    assert f"{here}/sweeps/{SWEEP}/1" in hpcorch(*at(here), "show", "last/1").out
    assert "run again on this machine: run 1" in hpcorch(*at(here), "retry", "last", "--dry-run").out
    assert "gone" not in hpcorch(*at(here), "ls").out
    assert "is gone" not in hpcorch(*at(here), "audit").out


def test_a_sweep_directory_that_is_kept_outside_is_found_after_its_project_was_moved(
    tmp_path: Path, hpcorch: CommandLine
) -> None:
    made = finished_sweep(tmp_path / "proj")
    outside = tmp_path / "scratch"
    shutil.move(made.project / "sweeps", outside)
    (made.project / "sweeps").symlink_to(outside)
    here = made.project.rename(tmp_path / "proj2")
    assert hpcorch(*at(here), "logs", "last/0").out == "epoch 1\nepoch 2\n"


def test_sweeps_of_a_project_that_was_moved_are_shared_with_it(
    sweep: SweepOnDisk, hpcorch: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sweep.project.rename(sweep.project.with_name("proj2"))
    monkeypatch.chdir(here)
    hpcorch("init", "--group", str(os.getegid()))
    record = here / "sweeps" / SWEEP / ".hpcorch"
    assert stat.S_IMODE(record.stat().st_mode) == 0o2750
    assert stat.S_IMODE((record / "control.jsonl").stat().st_mode) == 0o640


def test_sharing_a_project_leaves_private_sweeps_of_others_that_its_ledger_has_alone(
    sweep: SweepOnDisk, tmp_path: Path, hpcorch: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = finished_sweep(tmp_path / "private", sweep=OTHER)
    there = finished_sweep(sweep.project, sweep="20260103-120000-bcdf").layout.directory
    outside = there.rename(tmp_path / "scratch")
    assert hpcorch(*at(sweep.project), "ledger", "adopt", private.project / "sweeps").code == 0
    assert hpcorch(*at(sweep.project), "ledger", "moved", there, outside).code == 0
    monkeypatch.chdir(sweep.project)
    hpcorch("init", "--group", str(os.getegid()))
    directories = (sweep.layout.directory, private.layout.directory, outside)
    modes = [stat.S_IMODE((directory / ".hpcorch").stat().st_mode) for directory in directories]
    assert modes == [0o2750, 0o700, 0o2750]


def test_retry_and_cancel_go_by_ones_own_record_where_others_may_write_to_the_ledger(
    sweep: SweepOnDisk, hpcorch: CommandLine
) -> None:
    alive = make_sweep(sweep.project, sweep=OTHER)
    alive.submit([0, 1])
    alive.ingest()
    with closing(sqlite3.connect(sweep.ledger_path)) as ledger, ledger:
        ledger.execute("UPDATE runs SET state = 'COMPLETED' WHERE state = 'FAILED'")
        ledger.execute("UPDATE submissions SET job_id = 'of:somebody:else'")
    for mode, is_shared in ((0o700, False), (0o2770, True)):
        sweep.ledger_path.parent.chmod(mode)
        retry = hpcorch(*at(sweep.project), "retry", SWEEP, "--dry-run")
        assert ("would run again on this machine: run 1" in retry.out) == is_shared
        cancel = hpcorch(*at(sweep.project), "cancel", OTHER, "--dry-run")
        assert ("of:somebody:else" in cancel.out) != is_shared
        assert "would cancel runs 0-1" in cancel.out


def test_a_copy_of_a_project_leaves_the_sweeps_of_the_original_where_they_are(
    sweep: SweepOnDisk, hpcorch: CommandLine
) -> None:
    copy = sweep.project.with_name("copy")
    shutil.copytree(sweep.project, copy)
    assert str(sweep.layout.directory) in hpcorch(*at(copy), "status").out


def test_where_sweep_directories_were_moved_to_can_be_said(
    sweep: SweepOnDisk, tmp_path: Path, hpcorch: CommandLine
) -> None:
    (sweep.project / "sweeps").rename(tmp_path / "archive")
    told = hpcorch(*at(sweep.project), "status").err
    assert f"the directory of sweep {SWEEP} is gone" in told
    assert "`hpcorch ledger moved OLD NEW`" in told
    refused = hpcorch(*at(sweep.project), "ledger", "moved", sweep.project / "sweeps", sweep.project)
    assert refused.code == 2
    assert "no sweep of" in refused.err
    said = hpcorch(*at(sweep.project), "ledger", "moved", sweep.project / "sweeps", tmp_path / "archive")
    assert said.out == f"1 sweep found in {tmp_path}/archive: {SWEEP}\n"
    assert hpcorch(*at(sweep.project), "logs", "last/1").out == "epoch 1\nno good\n"
    assert hpcorch(*at(sweep.project), "ledger", "check", "--deep").code == 0
    (tmp_path / "archive").rename(tmp_path / "attic")
    hpcorch(*at(sweep.project), "ledger", "moved", tmp_path / "archive", tmp_path / "attic")
    assert str(tmp_path / "attic" / SWEEP) in hpcorch(*at(sweep.project), "status").out


def test_sweeps_moved_out_of_a_project_that_was_moved_are_found_by_the_place_that_status_names(
    sweep: SweepOnDisk, tmp_path: Path, hpcorch: CommandLine
) -> None:
    (sweep.project / ".hpcorch" / "snapshots").mkdir(exist_ok=True)
    here = sweep.project.rename(tmp_path / "proj2")
    (here / "sweeps").rename(here / "kept")
    assert str(here / "sweeps" / SWEEP) in hpcorch(*at(here), "status").err
    assert hpcorch(*at(here), "ledger", "moved", here / "sweeps", here / "kept").code == 0
    assert hpcorch(*at(here), "logs", "last/1").out == "epoch 1\nno good\n"
    (here / "kept").rename(tmp_path / "archive")
    assert str(here / "kept" / SWEEP) in hpcorch(*at(here), "status").err
    assert hpcorch(*at(here), "ledger", "moved", here / "kept", tmp_path / "archive").code == 0
    assert "run again on this machine: run 1" in hpcorch(*at(here), "retry", "last", "--dry-run").out


def test_what_was_said_to_be_moved_inside_a_project_is_found_after_the_project_was_moved(
    sweep: SweepOnDisk, tmp_path: Path, hpcorch: CommandLine
) -> None:
    (sweep.project / "sweeps").rename(sweep.project / "kept")
    hpcorch(*at(sweep.project), "ledger", "moved", sweep.project / "sweeps", sweep.project / "kept")
    here = sweep.project.rename(tmp_path / "proj2")
    assert str(here / "kept" / SWEEP) in hpcorch(*at(here), "status").out


def test_of_a_sweep_that_is_gone_all_commands_name_the_place_where_it_was_last(
    sweep: SweepOnDisk, tmp_path: Path, hpcorch: CommandLine
) -> None:
    (sweep.project / ".hpcorch" / "snapshots").mkdir(exist_ok=True)
    here = sweep.project.rename(tmp_path / "proj2")
    there = here / "sweeps" / SWEEP
    away = there.rename(tmp_path / "away")
    status, logs = hpcorch(*at(here), "status"), hpcorch(*at(here), "logs", "last/0")
    assert f"in {there} (directory gone)\n" in status.out
    assert logs.code == 2
    assert logs.err == status.err
    assert f"its record is missing in {there}" in logs.err
    away.rename(there)
    assert hpcorch(*at(here), "rm", SWEEP, "--yes").code == 0
    status, logs = hpcorch(*at(here), "status"), hpcorch(*at(here), "logs", "last")
    assert f"in {there} (files removed)\n" in status.out
    assert logs.err == status.err
    assert logs.err.count("were removed on") == 1


def test_a_record_that_does_not_say_whose_it_is_is_compared_where_its_project_is_now(
    sweep: SweepOnDisk, tmp_path: Path, hpcorch: CommandLine
) -> None:
    (sweep.project / ".hpcorch" / "snapshots").mkdir(exist_ok=True)
    here = sweep.project.rename(tmp_path / "proj2")
    control = here / "sweeps" / SWEEP / ".hpcorch" / "control.jsonl"
    control.write_bytes(b"x" + control.read_bytes()[1:])
    audited = hpcorch(*at(here), "audit")
    assert audited.code == 1
    assert "only the ledger has it" not in audited.out
    assert "ERROR" in audited.out


def test_rm_says_before_it_asks_what_stays_and_what_no_backup_has(sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    for words in (["--dry-run"], []):
        assert "logs and checkpoints are in neither" in hpcorch(*at(sweep.project), "rm", SWEEP, *words).err
    assert sweep.layout.control.exists()


def test_a_rerun_of_what_is_gone_says_what_became_of_it(sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    assert hpcorch(*at(sweep.project), "rm", SWEEP, "--yes").code == 0
    told = hpcorch(*at(sweep.project), "rerun", SWEEP)
    assert (told.code, f"the files of sweep {SWEEP} were removed on " in told.err) == (1, True)


def test_another_sweep_in_the_same_place_is_not_taken_for_the_one_that_was_there(
    sweep: SweepOnDisk, hpcorch: CommandLine
) -> None:
    other = finished_sweep(sweep.project, sweep=OTHER)
    shutil.rmtree(sweep.layout.directory)
    other.layout.directory.rename(sweep.layout.directory)
    for words in (["status"], ["show"], ["tend"], ["wait"], ["retry"]):
        told = hpcorch(*at(sweep.project), *words, SWEEP).err
        assert f"is gone: {sweep.layout.directory} holds the record of sweep {OTHER}" in told


@pytest.mark.parametrize("words", [["status"], ["show"], ["wait"], ["tend", "last"], ["logs", "last/0"]])
def test_that_a_sweep_directory_is_gone_is_said(words: list[str], sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    shutil.rmtree(sweep.layout.directory)
    told = hpcorch(*at(sweep.project), *words)
    assert f"the directory of sweep {SWEEP} is gone: " in told.err


def test_a_record_that_cannot_be_read_is_a_trouble_of_its_sweep_alone(
    sweep: SweepOnDisk, hpcorch: CommandLine
) -> None:
    sweep.layout.control.unlink()
    os.mkfifo(sweep.layout.control)
    told = hpcorch(*at(sweep.project), "tend", SWEEP, "--json")
    assert told.code == 3
    (result,) = json.loads(told.out)
    assert str(sweep.layout.control) in result["troubles"][0]


def test_an_audit_says_that_a_sweep_directory_is_gone(sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    shutil.rmtree(sweep.layout.directory)
    assert f"the directory of sweep {SWEEP} is gone: " in hpcorch(*at(sweep.project), "audit").out


def test_runs_whose_local_pool_and_directory_are_gone_are_closed(project: Path, hpcorch: CommandLine) -> None:
    sweep = make_sweep(project)
    sweep.submit([0, 1], job_id="<gone>")
    sweep.start(0)
    sweep.ingest()
    shutil.rmtree(sweep.layout.directory)
    assert "CANCELLED  2 CANCELLED" in hpcorch(*at(project), "status").out
    assert hpcorch(*at(project), "ledger", "check", "--deep").code == 0
    assert hpcorch(*at(project), "ledger", "rebuild").code == 0
    assert "CANCELLED  2 CANCELLED" in hpcorch(*at(project), "status").out


# rm ---------------------------------------------------------------------------------------------------------------


def filled(sweep: SweepOnDisk) -> SweepOnDisk:
    """With the directories of its runs, and files of others."""
    for run in (0, 1):
        (sweep.layout.directory / str(run) / ".hydra").mkdir(parents=True)
        (sweep.layout.directory / str(run) / ".hydra" / "config.yaml").write_text("lr: 1\n")
    (sweep.layout.directory / "multirun.yaml").write_text("hydra: {}\n")
    sweep.layout.task_list(0, 0).parent.mkdir()
    sweep.layout.task_list(0, 0).write_text("0 0\n")
    return sweep


def test_rm_removes_the_files_of_a_sweep_and_keeps_what_the_ledger_has(
    sweep: SweepOnDisk, hpcorch: CommandLine
) -> None:
    filled(sweep)
    words = (*at(sweep.project), "rm", SWEEP)
    assert hpcorch(*words).code == 2  # nobody is there to be asked
    assert "would remove" in hpcorch(*words, "--dry-run").out
    assert sweep.layout.control.exists()
    removed = hpcorch(*words, "--yes")
    assert removed.code == 0
    assert removed.out.startswith("removed ")
    assert not sweep.layout.directory.exists()
    status = hpcorch(*at(sweep.project), "status", SWEEP)
    assert f"the files of sweep {SWEEP} were removed on " in status.err
    assert "0.5" in status.out
    assert "(files removed)" in hpcorch(*at(sweep.project), "ls").out
    assert "were removed on" in hpcorch(*at(sweep.project), "show").err
    assert "were removed on" in hpcorch(*at(sweep.project), "audit").out
    assert "were removed on" in hpcorch(*words, "--yes").err
    assert hpcorch(*at(sweep.project), "ledger", "check", "--deep").code == 0


def test_rm_leaves_alone_what_does_not_belong_to_the_sweep(sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    filled(sweep)
    top, outside = sweep.layout.directory, sweep.project / "data"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (top / "notes.txt").write_text("x")
    (top / "0" / "data").symlink_to(outside)
    (top / "1" / "inner" / ".hpcorch").mkdir(parents=True)
    done = hpcorch(*at(sweep.project), "rm", SWEEP, "--yes")
    assert "1/inner holds another sweep or project" in done.err
    assert sorted(path.name for path in top.iterdir()) == ["1", "notes.txt"]
    assert [path.name for path in (top / "1").iterdir()] == ["inner"]
    assert (outside / "precious").exists()


def test_rm_does_not_follow_a_link_to_a_sweep_directory(sweep: SweepOnDisk, hpcorch: CommandLine) -> None:
    elsewhere = sweep.layout.directory.rename(sweep.project / "elsewhere")
    sweep.layout.directory.symlink_to(elsewhere)
    refused = hpcorch(*at(sweep.project), "rm", SWEEP, "--yes")
    assert refused.code == 2
    assert "is a symbolic link" in refused.err
    assert SweepOnDisk(sweep.project).layout.control.exists()
    told = f"`rm {sweep.layout.directory} && hpcorch ledger moved {sweep.layout.directory} {elsewhere}`"
    assert told in refused.err
    sweep.layout.directory.unlink()
    assert hpcorch(*at(sweep.project), "ledger", "moved", sweep.layout.directory, elsewhere).code == 0
    assert hpcorch(*at(sweep.project), "rm", SWEEP, "--yes").code == 0
    assert not elsewhere.exists()


def test_rm_says_how_much_it_has_removed(
    sweep: SweepOnDisk, hpcorch: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(sweep)

    def confirm(what: str, *, yes: bool) -> None:
        (sweep.layout.directory / "0" / "late").write_text("x")
        asked.append(int(what.split()[1]) if yes else 0)

    asked: list[int] = []
    monkeypatch.setattr("hpcorch.cli.commands.rm.confirm", confirm)
    done = hpcorch(*at(sweep.project), "rm", SWEEP, "--yes")
    assert int(done.out.split()[1]) == asked[0] + 1


def test_rm_in_the_folder_of_the_project_leaves_the_project(tmp_path: Path, hpcorch: CommandLine) -> None:
    sweep = finished_sweep(tmp_path)
    (tmp_path / "train.py").write_text("")
    for entry in sweep.layout.state.iterdir():
        entry.rename(tmp_path / ".hpcorch" / entry.name)
    shutil.rmtree(sweep.layout.directory)
    hpcorch("ledger", "moved", sweep.layout.directory, tmp_path)
    assert hpcorch("rm", SWEEP, "--yes").code == 0
    assert (tmp_path / "train.py").exists()
    assert not (tmp_path / ".hpcorch" / "control.jsonl").exists()
    assert "were removed on" in hpcorch("status").err


def test_rm_of_a_record_that_was_set_aside_leaves_the_sweep_that_has_the_directory_now(
    sweep: SweepOnDisk, hpcorch: CommandLine
) -> None:
    filled(sweep)
    set_aside(sweep.layout, nothing_to_confirm)
    other = finished_sweep(sweep.project, sweep=OTHER)
    for entry in other.layout.state.iterdir():
        entry.rename(sweep.layout.state / entry.name)
    assert hpcorch(*at(sweep.project), "rm", SWEEP, "--yes").code == 0
    assert sweep.layout.control.exists()
    assert not (sweep.layout.state / "earlier-1").exists()
    assert (sweep.layout.directory / "0").exists()


def test_rm_refuses_while_runs_are_alive_and_names_what_ends_them(project: Path, hpcorch: CommandLine) -> None:
    sweep = make_sweep(project)
    sweep.submit([0, 1])
    sweep.ingest()
    refused = hpcorch(*at(project), "rm", SWEEP, "--yes")
    assert refused.code == 2
    assert f"`hpcorch cancel {SWEEP}`" in refused.err
    assert sweep.layout.control.exists()


def test_rm_that_was_killed_is_told_of_and_finished(
    sweep: SweepOnDisk, hpcorch: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(sweep)
    real, calls = os.unlink, []

    def unlink(*arguments: object, **options: object) -> None:
        calls.extend([arguments] if "dir_fd" in options else [])
        if len(calls) == 6:
            raise KeyboardInterrupt
        real(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("hpcorch.services.actions.own_files.os.unlink", unlink)
        hpcorch(*at(sweep.project), "rm", SWEEP, "--yes")
    assert sweep.layout.control.exists()
    assert f"but not all: `hpcorch rm {SWEEP}` removes the rest" in hpcorch(*at(sweep.project), "status").err
    assert hpcorch(*at(sweep.project), "rm", SWEEP, "--yes").code == 0
    assert not sweep.layout.directory.exists()


def test_rm_gives_up_runs_that_were_never_submitted(project: Path, hpcorch: CommandLine) -> None:
    sweep = make_sweep(project)
    sweep.ingest()
    assert "runs 0-1, which were never submitted: given up" in hpcorch(*at(project), "rm", SWEEP, "--yes").out
    assert "2 CANCELLED" in hpcorch(*at(project), "status").out


def test_a_retry_in_a_project_that_was_moved_works_where_it_is_now(
    locally: App, hpcorch: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = f"hydra.sweep.dir={locally.folder}/out"
    assert locally.launch("x=1", "fail=1", absolute).returncode == 1
    here = locally.folder.rename(locally.folder.with_name("elsewhere"))
    monkeypatch.chdir(here)
    (here / "app.py").write_text("raise SystemExit('the live file')\n")
    (here / "conf" / "config.yaml").unlink()
    assert hpcorch("retry", "last").code == 1
    assert "ValueError: no good: 1" in hpcorch("logs", "last").out
    assert (here / "out" / "0" / ".hydra").is_dir()
    assert not locally.folder.exists()

"""What is said where a ledger is lost or damaged names commands, and they help."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch.errors import HpcorchError
from hpcorch.journal.inbox import announce
from hpcorch.ledger import Ledger
from hpcorch.ledger.schema.cures import adoption, permission, replacement
from hpcorch.services.doctor.ledger import ledger_row
from hpcorch.services.doctor.rows import Verdict
from tests.support import processes
from tests.support.lost_ledgers import GONE, LOSSES, SPOILT
from tests.support.ownership import SOMEBODY, Disown
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep, make_sweep

COMMANDS = (
    ("ls",),
    ("status",),
    ("show", "last"),
    ("audit",),
    ("tend",),
    ("wait",),
    ("query", "SELECT count(*) FROM v_runs"),
    ("ledger", "check"),
)


def cures(text: str) -> list[list[str]]:
    """The commands that a sentence names, as words."""
    return [shlex.split(command) for command in re.findall("`([^`]+)`", text)]


def follow(hpcorch, text: str) -> None:
    """Do what a sentence says."""
    named = cures(text)
    assert named, text
    for program, *words in named:
        if program == "hpcorch":
            ran = hpcorch(*words)
            assert ran.code == 0, ran.err
        elif program == "mv":
            shutil.move(*words)
        else:
            pytest.fail(f"what is {program}?")


def answers(hpcorch) -> list[int]:
    return [hpcorch(*words).code for words in COMMANDS]


@pytest.mark.parametrize("way", LOSSES)
def test_the_cure_that_each_command_names_works(hpcorch, tmp_path, monkeypatch, way):
    project = tmp_path / "a project"
    project.mkdir()
    monkeypatch.chdir(project)
    sweep = finished_sweep(project)
    usual = answers(hpcorch)
    assert usual == [0, 1, 0, 0, 0, 1, 0, 0]  # a run failed
    LOSSES[way](sweep.ledger_path)
    said = [hpcorch(*words) for words in COMMANDS]
    assert all(ran.code in (1, 2) for ran in said)
    assert all("Traceback" not in ran.err for ran in said)
    sentences = [ran.err or ran.out for ran in said]
    assert all("ledger adopt`" in text for text in sentences), sentences
    follow(hpcorch, sentences[0])
    assert answers(hpcorch) == usual


@pytest.mark.parametrize("way", LOSSES)
def test_a_launch_makes_a_ledger_that_is_gone_and_names_the_cure_of_a_damaged_one(hpcorch, tmp_path, way):
    sweep = finished_sweep(tmp_path)
    LOSSES[way](sweep.ledger_path)
    said = opened(sweep)
    assert (said == "") == (way in GONE or way == "overwritten")  # it is seen where it is read
    if said:
        follow(hpcorch, said)
        assert opened(sweep) == ""


def test_ls_says_that_sweeps_may_be_missing_until_they_are_adopted(hpcorch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = finished_sweep(tmp_path)
    assert hpcorch("ls").err == ""
    sweep.ledger_path.unlink()
    later = finished_sweep(tmp_path, sweep="20260102-120000-bcdf")  # its launch makes a ledger
    for words in (["ls"], ["ls", "--json"]):
        ran = hpcorch(*words)
        assert (later.id in ran.out, sweep.id in ran.out) == (True, False)
        assert ran.err.count("sweeps from before may be missing") == 1
    follow(hpcorch, hpcorch("ls").err)
    ran = hpcorch("ls")
    assert ran.err == ""
    assert sweep.id in ran.out


def test_ls_says_so_of_a_ledger_that_was_made_from_announcements_of_a_launchers_sweep(
    hpcorch, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for made in (make_sweep(tmp_path), make_sweep(tmp_path / "scripts", sweeper="exec")):
        announce(made.ledger_path, made.id, made.layout)
        said = hpcorch("--ledger", made.ledger_path, "ls").err
        assert ("sweeps from before may be missing" in said) == (made.project == tmp_path)


def opened(sweep: SweepOnDisk) -> str:
    """What a launch says of the ledger before it does anything."""
    try:
        Ledger.open(sweep.ledger_path, write=True, create=True)
    except HpcorchError as error:
        return str(error)
    return ""


def test_nobody_is_told_to_change_the_modes_of_somebody_elses_ledger(tmp_path, monkeypatch):
    ledger = finished_sweep(tmp_path).ledger_path
    Disown(monkeypatch)(ledger)
    told = permission(ledger)
    assert "hpcorch init --group" in told
    assert "chmod" not in told


def become_somebody() -> None:
    """No mode keeps root from anything."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(SOMEBODY)
        os.setuid(SOMEBODY)


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that other users can go through, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    (folder / ".hpcorch").chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("way", SPOILT)
def test_doctor_names_a_damaged_ledger_with_the_cure_that_others_give(tmp_path, way):
    ledger = finished_sweep(tmp_path).ledger_path
    assert ledger_row(ledger).verdict is Verdict.OK
    SPOILT[way](ledger)
    row = ledger_row(ledger)
    assert row.verdict is Verdict.NOT_OK
    assert str(ledger) in row.found
    assert replacement(ledger) in row.cure


@pytest.mark.parametrize("way", GONE)
def test_doctor_says_of_a_ledger_that_is_not_there_how_a_lost_one_is_made_again(tmp_path, way):
    ledger = finished_sweep(tmp_path).ledger_path
    GONE[way](ledger)
    row = ledger_row(ledger)
    assert row.verdict is (Verdict.NOT_OK if way == "emptied" else Verdict.OK)
    assert adoption(ledger) in row.found + row.cure


def test_who_may_not_write_a_ledger_is_told_how_to_allow_it(hpcorch, anybodys):
    sweep = finished_sweep(anybodys)
    told = anybodys / "told"
    told.touch()
    for path in (anybodys, *anybodys.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, SOMEBODY, SOMEBODY)
    sweep.ledger_path.chmod(0o400)
    sweep.ledger_path.parent.chmod(0o500)

    def as_somebody() -> None:
        become_somebody()
        with Ledger.open(sweep.ledger_path) as ledger:
            assert [one.sweep.id for one in ledger.sweeps()] == [SWEEP]
        first = opened(sweep)
        (cure,) = re.findall("`([^`]+)`", first)
        assert os.system(cure) == 0
        told.write_text(f"{first}{opened(sweep)}")

    assert processes.exit_code(processes.in_another_process(as_somebody)) == 0
    assert "chmod u+rwx" in told.read_text()
    assert told.read_text().count("the ledger") == 1


@pytest.mark.parametrize(("mode", "folder"), [(0o400, 0o700), (0o000, 0o700), (0o600, 0o500), (0o600, 0o000)])
def test_doctor_names_a_ledger_that_one_may_not_use_and_how_to_allow_it(anybodys, mode, folder):
    ledger = finished_sweep(anybodys).ledger_path
    for path in (anybodys, *anybodys.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, SOMEBODY, SOMEBODY)
    ledger.chmod(mode)
    ledger.parent.chmod(folder)

    def as_somebody() -> None:
        become_somebody()
        row = ledger_row(ledger)
        assert row.verdict is Verdict.NOT_OK
        assert row.cure == permission(ledger)
        assert "chmod u+rwx" in row.cure

    assert processes.exit_code(processes.in_another_process(as_somebody)) == 0

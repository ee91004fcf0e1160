"""Code in a folder that its user may read and not write, with sweeps and ledger elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hpcorch import process
from hpcorch.errors import UnavailableError
from hpcorch.journal import archives
from hpcorch.journal.project_search import default_ledger
from hpcorch.provenance.code.live_code import changed_files
from hpcorch.services.actions.gc import find_garbage
from hpcorch.services.recording.freeze import FrozenProgram, freeze_folder


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "shared" / "code"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    folder.chmod(0o555)
    real = os.access
    # Root, whom no mode stops, is told what the system tells an ordinary user.
    monkeypatch.setattr(os, "access", lambda path, mode, **k: Path(path) != folder and real(path, mode, **k))
    yield folder
    folder.chmod(0o755)


def frozen(code: Path, ledger: Path) -> FrozenProgram:
    return freeze_folder(code, ledger=ledger, variables={}, slurm_release=None)


def test_its_snapshots_lie_beside_the_ledger(code, tmp_path):
    ledger = tmp_path / "mine" / "ledger.db"
    made = frozen(code, ledger)
    assert made.code.archive == ledger.parent / "snapshots" / made.code.digest
    assert archives.is_sound(made.code.archive, made.code.digest)
    assert not frozen(code, ledger).code.written, "the second launch shares it"
    assert changed_files(made.snapshot) == []
    assert [path.name for path in code.iterdir()] == ["train.py"]


def test_a_ledger_in_a_project_has_them_in_that_project(code, tmp_path):
    ledger = default_ledger(tmp_path / "project")
    assert frozen(code, ledger).code.archive.parent == tmp_path / "project" / ".hpcorch" / "snapshots"


def test_code_that_can_be_written_keeps_its_own(code, tmp_path, monkeypatch):
    monkeypatch.undo()
    code.chmod(0o755)
    assert frozen(code, tmp_path / "mine" / "ledger.db").code.archive.parent == code / ".hpcorch" / "snapshots"


def test_gc_looks_after_those_beside_a_ledger(code, tmp_path, hpcorch):
    ledger = tmp_path / "mine" / "ledger.db"
    # In a process of its own: exec takes over the signals of the one that it runs in.
    program = str(Path(sys.executable).with_name("hpcorch"))
    assert process.run([program, "--ledger", str(ledger), "exec", "--", "true"], timeout_s=120).returncode == 0
    assert "not in a project's" in hpcorch("--ledger", str(ledger), "gc").err, "nothing lies beside it"
    made = frozen(code, ledger)
    os.utime(made.code.archive, (0, 0))
    assert list(find_garbage(ledger).unused) == [made.code.digest]
    assert find_garbage(ledger).folder == ledger.parent / "snapshots"


def test_who_names_no_ledger_is_told_what_to_do(code, monkeypatch):
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(archives, "write_whole", refuse)
    with pytest.raises(UnavailableError, match=r"snapshot of the code .*Permission denied.*\$HPCORCH_LEDGER"):
        frozen(code, code / ".hpcorch" / "ledger.db")

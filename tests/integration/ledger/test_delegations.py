"""What other hosts may change or remove is opened such that no NFS server delegates it to this one.

Linux asks for no delegation of what is opened for direct access, so that has to be tried first. A new file is
nobody else's yet, and logs are changed by their run alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

# Python executes it in each process. It notes opens that are not for direct access, after none that was tried.
# Where a function opens a file for Python, Python first tells its own flags and then those of the function.
WATCH = """
import os, sys
waiting, tried = [], []
def note(path):
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, path.encode() + b"\\n")
    os.close(descriptor)
def watch(event, arguments):
    if event != "open" or isinstance(arguments[0], int) or not isinstance(arguments[2], int):
        return
    path, mode, flags = arguments
    path = os.fsdecode(path)
    if path == os.environ["NOTES"]:
        return
    if mode is None and flags & os.O_DIRECT:
        waiting.clear()
        tried[:] = [path]
        return
    if mode is None and tried == [path]:  # that file system has no direct access
        return
    if waiting:
        note(waiting.pop())
    if "/.hpcorch/" in path and not flags & (os.O_DIRECTORY | os.O_EXCL):
        waiting.append(path) if mode else note(path)
sys.addaudithook(watch)
"""


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which processes note what they open in another way."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "watch"))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def test_nothing_that_other_hosts_may_change_is_delegated(locally, noted):
    (locally.folder / ".hpcorch").mkdir()
    plain = locally.folder / ".hpcorch" / "plain"
    subprocess.run([sys.executable, "-c", f"open({str(plain)!r}, 'w'); open('/dev/null')"], check=True)
    assert noted.read_text().splitlines() == [str(plain)], "the watch sees such an open"
    noted.unlink()

    done = locally.launch("x=1,2", "fail=2", env={"HYDRA_FULL_ERROR": "1"})
    assert "no good: 2" in done.stderr
    program = str(Path(sys.executable).with_name("hpcorch"))
    for words in (["ls"], ["status"], ["logs", "last/0"], ["audit"], ["ledger", "check"], ["retry", "last"]):
        subprocess.run([program, *words], cwd=locally.folder, env=os.environ, check=False, capture_output=True)
    notes = noted.read_text().splitlines() if noted.exists() else []
    assert [path for path in notes if Path(path).parent.name != "logs"] == []

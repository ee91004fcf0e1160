"""A test that fails does not fail the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import REPOSITORY

# The first fails with a running program, its child, pipes to it and an open file; the second finds none of them.
TESTS = """
import gc, os, pathlib, subprocess
import psutil
from tests.support import processes

FOLDER = pathlib.Path(__file__).parent

def test_that_fails():
    program = processes.start(
        ["sh", "-c", "sleep 60 & echo $!; exec sleep 60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    file = open(__file__)
    itself = [file]
    itself.append(itself)  # freed by the garbage collector alone
    forked = processes.in_another_process(lambda: os.execvp("sleep", ["sleep", "60"]))
    (FOLDER / "pids").write_text(f"{program.pid} {forked} {program.stdout.readline()}")
    assert not "so"

def test_that_passes():
    gc.collect()
    pids = [int(pid) for pid in (FOLDER / "pids").read_text().split()]
    assert len(pids) == 3
    assert not any(map(psutil.pid_exists, pids))
"""


CONFTEST = """
from tests.conftest import *
from tests.support import processes
processes.adopt_orphans()
"""


def test_what_a_failed_test_had_open_and_running_is_gone_before_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_two.py").write_text(TESTS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            "--rootdir",
            tmp_path,
            tmp_path,
        ],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout

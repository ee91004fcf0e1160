"""``hpcorch`` as a program: terminals, pipes, signals, start-up."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.sweeps import SWEEP, finished_sweep, make_sweep

PROGRAM = [sys.executable, "-c", "from hpcorch.cli.main import main; main()"]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        text=True,
        encoding="utf-8",
        capture_output=True,
        timeout=120,
    )


def on_a_terminal(arguments: Sequence[str], *, cwd: Path, columns: int = 100) -> str:
    """What a command shows on a terminal, escape sequences included."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "NO_COLOR": ""}
    child = processes.start(
        [*PROGRAM, *arguments], cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the other side is closed: Linux says EIO
        pass
    os.close(ours)
    child.wait(timeout=120)
    return shown.decode()


def test_a_terminal_gets_a_table_in_which_overrides_stay_data(tmp_path):
    finished_sweep(tmp_path, overrides=[["x=[red]", "z=\x1b[2J"], ["x=[/bold]"]])
    shown = on_a_terminal(["status"], cwd=tmp_path)
    plain = _ESCAPES.sub("", shown)
    assert shown != plain  # it is drawn in colour
    assert r"x=[red] z=\x1b[2J" in plain
    assert "x=[/bold]" in plain
    assert "\x1b[2J" not in shown


def test_a_narrow_terminal_keeps_one_line_a_run(tmp_path):
    finished_sweep(tmp_path, overrides=[["long=" + "a" * 500], ["b=1"]])
    plain = _ESCAPES.sub("", on_a_terminal(["status"], cwd=tmp_path, columns=60))
    rows = [line for line in plain.splitlines() if re.match(r"[01] ", line)]
    assert [row.split()[:2] for row in rows] == [["0", "COMPLETED"], ["1", "FAILED"]]
    assert "…" in rows[0]


def test_json_on_a_terminal_is_indented(tmp_path):
    finished_sweep(tmp_path)
    assert "\n  " in on_a_terminal(["ls", "--json"], cwd=tmp_path)


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    rows = [[f"x={index:080}"] for index in range(3000)]  # more than a pipe and its reader's buffer hold
    sweep = make_sweep(tmp_path, overrides=rows)
    sweep.ingest()
    script = f"{shlex.join([*PROGRAM, 'status', '--limit', '0'])} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, text=True, capture_output=True, timeout=120)
    first, code = done.stdout.splitlines()
    assert first.startswith(f"sweep {SWEEP}")
    assert (code, done.stderr) == ("141", "")


def test_ctrl_c_ends_following_without_a_word(tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.start(0, b"running\n")
    sweep.ingest()
    child = processes.start(
        [*PROGRAM, "logs", "last/0", "-f"], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out, err) == (130, "", "")


def test_ctrl_c_at_any_time_ends_a_command_as_a_shell_has_it(tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.start(0)
    sweep.ingest()
    begun = [sys.executable, "-c", "import os; os.write(2, b'begun'); from hpcorch.cli.main import main; main()"]
    for delay_s in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5):
        child = processes.start([*begun, "logs", "last/0", "-f"], cwd=tmp_path, stderr=subprocess.PIPE)
        assert child.stderr is not None
        assert child.stderr.read(5) == b"begun"
        time.sleep(delay_s)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=120)
        # Python itself ends so where the first line of ours has not been executed yet.
        assert child.returncode in (130, -signal.SIGINT), (delay_s, errors)
        assert child.returncode != 130 or errors == b""


# The first pause of a command comes within a destructor, where Python swallows what a handler of a signal raises.
_SWALLOWED = """
import os, signal, time

slept = time.sleep


class Gone:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        slept(0)


def sleep(seconds):
    time.sleep = slept
    Gone()
    slept(seconds)


time.sleep = sleep
from hpcorch.cli.main import main

main()
"""


def test_ctrl_c_in_a_destructor_ends_a_command_too(tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.start(0)
    sweep.ingest()
    done = subprocess.run(
        [sys.executable, "-c", _SWALLOWED, "logs", "last/0", "-f"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_ends_a_query_that_would_run_for_ever(tmp_path):
    finished_sweep(tmp_path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    child = processes.start(
        [*PROGRAM, "query", endless], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=120)
    assert child.returncode != 0
    assert out == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_text_can_be_printed_in_any_locale(tmp_path, encoding):
    finished_sweep(tmp_path, overrides=[["größe=層"], ["x=1"]])
    done = run("status", cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (1, "")
    assert ("größe=層" if encoding == "utf-8" else r"gr\xf6\xdfe=\u5c64") in done.stdout


def test_a_file_system_that_does_not_answer_is_a_sentence_and_transient(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {shlex.join([*PROGRAM, 'ls'])}"
    done = subprocess.run(["sh", "-c", script], text=True, capture_output=True, timeout=120)
    assert done.returncode == 3
    assert done.stderr.startswith("hpcorch: the file system refused")
    assert len(done.stderr.splitlines()) == 1


def test_output_that_cannot_be_written_is_a_sentence(tmp_path):
    finished_sweep(tmp_path)
    script = f"{shlex.join([*PROGRAM, 'ls'])} >/dev/full"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, text=True, capture_output=True, timeout=120)
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_closed_output_is_no_error(tmp_path):
    finished_sweep(tmp_path)
    script = f"{shlex.join([*PROGRAM, 'ls'])} >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], cwd=tmp_path, timeout=120).returncode == 0


def test_the_version_is_the_packages(tmp_path):
    from importlib.metadata import version

    assert run("--version", cwd=tmp_path).stdout == f"hpcorch, version {version('hpcorch')}\n"


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"sqlite3", "rich", "hydra", "omegaconf", "submitit", "psutil", "filelock", "hpcorch.ledger"}),
        (["ls"], {"rich", "hydra", "omegaconf", "submitit", "psutil", "filelock", "sqlite_utils"}),
        (["status"], {"rich", "hydra", "omegaconf", "submitit", "psutil", "filelock", "sqlite_utils"}),
    ],
)
def test_a_command_loads_no_more_than_it_needs(tmp_path, arguments, absent):
    finished_sweep(tmp_path)
    script = (
        "import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules, file=sys.stderr));"
        "from hpcorch.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, text=True, capture_output=True, timeout=120
    )
    loaded = set(done.stderr.split("LOADED ")[1].split())
    assert loaded & absent == set()


def test_an_interrupt_that_became_another_error_ends_as_an_interrupt(tmp_path):
    """Python makes a RuntimeError of one that arrives where it makes a class."""
    program = """
import click
from hpcorch.cli import command_line

@click.command()
def stopped():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise RuntimeError("while a class was made") from error

command_line.CommandLine.get_command = lambda *_: stopped
command_line.run()
"""
    ran = subprocess.run([sys.executable, "-c", program, "ls"], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (130, "")

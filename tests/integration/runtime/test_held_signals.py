"""The signals of `hpcorch exec` while it records what it is about to execute."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal
from hpcorch.runtime.context.held_signals import HeldSignals
from hpcorch.runtime.context.signals import Stopped

def interrupted():
    os.kill(os.getpid(), signal.SIGTERM)

def covered():
    try:
        interrupted()
    except BaseException as error:
        raise OSError("a clean-up failed") from error

def suppressed():
    try:
        interrupted()
    except BaseException:
        pass

def swallowed():
    class Gone:
        def __del__(self):
            interrupted()

    Gone()
    signal.pause()

for what in (interrupted, covered, suppressed, swallowed):
    signals = HeldSignals()
    try:
        with signals.stops_raise():
            what()
    except Stopped as stop:
        print(what.__name__, stop.name, signals.unrecorded())
    signals = HeldSignals()
    interrupted()
    try:
        with signals.stops_raise():
            raise AssertionError("it came before the block")
    except Stopped as stop:
        print("before", stop.name)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""

OPENING = """
import random, signal, sys
from pathlib import Path
from hpcorch.journal.files import read_regular

class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

folder = Path(sys.argv[1])
(folder / "inner").mkdir()
path = folder / "inner" / "file"
path.write_text("content")
signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
for turn in range(2000):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-6, 1e-4))
            read_regular(path, within=folder if turn % 2 else None)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        interrupted += 1
assert interrupted > 50, interrupted
"""


def test_a_signal_that_asks_to_end_is_what_a_block_ends_with_whatever_the_block_makes_of_it():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        *("interrupted SIGTERM ['SIGTERM']", "before SIGTERM"),
        *("covered SIGTERM ['SIGTERM']", "before SIGTERM"),
        *("suppressed SIGTERM ['SIGTERM']", "before SIGTERM"),
        *("swallowed SIGTERM ['SIGTERM']", "before SIGTERM"),
    ]


def test_a_signal_that_raises_while_a_file_is_opened_is_what_is_raised(tmp_path):
    program = [sys.executable, "-W", "ignore", "-c", OPENING, tmp_path]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")

"""Processes that tests start: none of them, and nothing that they started, outlives its test.

A test starts them here and nowhere else (ruff refuses ``subprocess.Popen`` and ``os.fork`` elsewhere). At its end,
whether it passed or failed, what still runs is killed and reaped, and the pipes to it are closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import psutil
import pytest

from tests.support.waiting import wait_until

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_KEPT = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # serve all tests of this process

Program: TypeAlias = "subprocess.Popen[Any]"

_started: list[Program] = []


def start(argv: Sequence[str | bytes | os.PathLike[str]], **options: Any) -> Program:
    """Start a program without waiting for it.

    :param options: those of :class:`subprocess.Popen`
    """
    child = subprocess.Popen(argv, **options)
    _started.append(child)
    return child


def in_another_process(work: Callable[[], object]) -> int:
    """Start work in a process of its own, as another command would; its pid. It exits with 1 if the work raises."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - nothing may come back into the test
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def exit_code(pid: int) -> int:
    """Wait for a process of :func:`in_another_process`: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_alive(pid: int) -> bool:
    """Whether a process runs: it is there, and has not ended without being reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_out_of_time(
    monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[list[str]], bool], *, once: Callable[[], object]
) -> None:
    """Let the time limit of some programs be over as soon as something is so, and not before.

    :param is_meant: which, by their command lines
    """
    communicate = subprocess.Popen.communicate

    def until_it_is_so(child: Program, *arguments: Any, **options: Any) -> Any:
        if is_meant([str(word) for word in child.args]):  # type: ignore[union-attr] - we start lists of words
            wait_until(once)
            options["timeout"] = 0
        return communicate(child, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "communicate", until_it_is_so)


def adopt_orphans() -> None:
    """Become the parent of whatever a child of this process leaves behind, such as the jobs of the fake Slurm."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all() -> None:
    """Kill what still runs below this process, reap it, and close the pipes to it."""
    while children := _children():
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        for child in children:  # it may be a Popen's, which learns below that it is gone
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
    for started in _started:
        for pipe in (started.stdin, started.stdout, started.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written yet finds nobody to read it
                    pipe.close()
        started.wait()
    _started.clear()


def _children() -> list[psutil.Process]:
    if not _has_children():
        return []
    return [child for child in psutil.Process().children() if not any(word in _line(child) for word in _KEPT)]


def _has_children() -> bool:
    """Whether there is any child, ended or not: quick, since hardly any test leaves one."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

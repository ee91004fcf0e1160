"""The one runner of subprocesses: argument lists, time limits, no shell.

``subprocess.run`` with a time-out kills only the direct child and then waits for its output pipe, which a
grandchild may hold open for ever. Here the child leads a session of its own, and the whole session is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a command left behind. ``returncode`` is negative for a signal, as in :mod:`subprocess`."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRaw:
    """As :class:`Finished`, the output as it was written."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes


class CommandMissingError(Exception):
    """The program is not on PATH or cannot be executed."""


class CommandTimeoutError(Exception):
    """The command ran out of time and was killed, with every process of its session."""


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: str | None = None,
) -> Finished:
    """Run a command to its end and return its output as text (undecodable bytes are escaped).

    :param timeout_s: seconds until the command's whole session is killed
    :raises CommandMissingError: the program cannot be started
    :raises CommandTimeoutError: it did not end in time
    """
    done = run_raw(argv, timeout_s=timeout_s, env=env, cwd=cwd, stdin=None if stdin is None else stdin.encode())
    return Finished(
        argv=done.argv, returncode=done.returncode, stdout=_as_text(done.stdout), stderr=_as_text(done.stderr)
    )


def _as_text(output: bytes) -> str:
    """Lines end as Python's text files have them."""
    return output.decode("utf-8", errors="backslashreplace").replace("\r\n", "\n").replace("\r", "\n")


def run_raw(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: bytes | None = None,
) -> FinishedRaw:
    """As :func:`run`, for output that is no text: file names, patches of binary files."""
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise CommandMissingError(f"{argv[0]} cannot be started: {error.strerror}") from error
    try:
        stdout, stderr = child.communicate(stdin, timeout=timeout_s)
    except BaseException as error:
        _kill_session(child)
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandTimeoutError(f"{argv[0]} did not answer within {timeout_s:g} s") from error
        raise
    return FinishedRaw(argv=tuple(argv), returncode=child.returncode, stdout=stdout, stderr=stderr)


def _kill_session(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    child.wait()

"""The one runner of subprocesses: argument lists, time limits, no shell.

``subprocess.run`` with a time-out kills only the direct child and then waits for its output pipe, which a
grandchild may hold open for ever. Here the child leads a session of its own, and the whole session is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence

from hpcorch.quick_dataclasses import dataclass


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


_PR_SET_PDEATHSIG = 1  # prctl(2)


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


def foreground(argv: Sequence[str], *, env: Mapping[str, str], blocked: Collection[int]) -> subprocess.Popen[bytes]:
    """Start a command that stands in for this process: same streams, process group and working directory.

    It has the dispositions of signals that this process was started with. If this process dies, the kernel sends it
    SIGTERM. To be called from the main thread.

    :param blocked: the signals that are blocked in it, whatever is blocked here
    :raises CommandMissingError: the program cannot be started
    """
    with warnings.catch_warnings():
        # Newer Pythons warn of a fork beside threads. What runs before the exec takes no lock of Python's.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return subprocess.Popen(
                list(argv),
                env=dict(env),
                close_fds=False,  # what the caller opened for the command, such as <(…); ours are not handed on
                preexec_fn=_before_exec(blocked),  # noqa: PLW1509 - see above
            )
        except OSError as error:
            raise CommandMissingError(f"{argv[0]} cannot be started: {error.strerror}") from error


def _before_exec(blocked: Collection[int]) -> Callable[[], None]:
    import ctypes  # here, not in the child, and only where it is needed

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's handler would swallow one that arrives now
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if os.getppid() != parent:  # it died before the kernel was asked
            os.kill(os.getpid(), signal.SIGTERM)

    return before_exec


def _kill_session(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    child.wait()


def relay(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: bytes | None,
    heard: Callable[[bytes], None],
    shows_errors: bool = True,
    descriptors: Collection[int] = (),
) -> FinishedRaw:
    """Run a command in the foreground, as the user's own, for as long as it takes.

    Ctrl-C reaches it as it reaches us. What ``heard`` raises is raised once the command has ended.

    :param stdin: what it reads; None leaves it ours
    :param heard: gets each line of its standard output as it comes
    :param shows_errors: whether what it writes to standard error goes to ours
    :param descriptors: open files that it is to have beside the standard ones
    :raises CommandMissingError: the program cannot be started
    """
    child = _in_foreground(argv, env, descriptors, is_fed=stdin is not None)
    assert child.stdout is not None
    said: list[bytes] = []
    errors: list[bytes] = []
    helpers = [threading.Thread(target=_pass_on, args=(child, errors, shows_errors))]
    if stdin is not None:
        helpers.append(threading.Thread(target=_feed, args=(child, stdin)))
    for helper in helpers:
        helper.start()
    trouble: BaseException | None = None
    with child.stdout as output:
        while child.returncode is None:
            try:
                for line in output:
                    said.append(line)
                    heard(line)
                child.wait()
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - Ctrl-C reached it, too: it decides
                trouble = trouble or error
    for helper in helpers:
        helper.join()
    if trouble is not None:
        raise trouble
    return FinishedRaw(
        argv=tuple(argv), returncode=child.returncode, stdout=b"".join(said), stderr=b"".join(errors)
    )


def _in_foreground(
    argv: Sequence[str], env: Mapping[str, str], descriptors: Collection[int], *, is_fed: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [os.fsencode(word) for word in argv],
            stdin=subprocess.PIPE if is_fed else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={os.fsencode(name): os.fsencode(value) for name, value in env.items()},
            pass_fds=[number for number in descriptors if number > 2],
        )
    except OSError as error:  # too long an argument list among them
        raise CommandMissingError(f"{argv[0]} cannot be started: {error.strerror}") from error


def _pass_on(child: subprocess.Popen[bytes], kept: list[bytes], shown: bool) -> None:  # noqa: FBT001
    assert child.stderr is not None
    with child.stderr as source:
        while content := os.read(source.fileno(), 1 << 16):
            kept.append(content)
            with contextlib.suppress(OSError):  # the reader is gone
                if shown and sys.__stderr__ is not None:  # closed: 2 may be any file by now
                    os.write(2, content)


def _feed(child: subprocess.Popen[bytes], content: bytes) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin as target:
        target.write(content)

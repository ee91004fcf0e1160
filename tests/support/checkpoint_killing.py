"""Kills a process that saves a checkpoint at each of its system calls, once before and once after it.

``python -m tests.support.checkpoint_killing FOLDER KEEP {plain|files}`` prints what was found, as JSON. It is a
program of its own, since it forks, and only a process with a single thread may do that safely.

A trial forks a child that is traced (ptrace(2)). Its stops at system calls, of all its threads, are counted, and at
the chosen one the child gets SIGKILL. Trials go on with the next stop until a child comes to its end.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.store import CheckpointStore
from hpcorch.runtime.run.generators import capture

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
# Tell system calls from signals, trace new threads, kill the child should this process die.
OPTIONS = 0x1 | 0x8 | 0x100000
SYSCALL_STOP = signal.SIGTRAP | 0x80
ALL_THREADS = 0x40000000

CANNOT_TRACE = 77  # exit code

OLD_STEPS = (1, 2)
NEW_STEP = 3
NEXT_STEP = 4
# Large enough for the second thread.
NUMBERS = 1 << 18

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, process: int, data: int = 0) -> None:
    if libc.ptrace(request, process, None, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace request {request}: {os.strerror(number)}")


def killed_at(stop: int, action: Callable[[], None]) -> bool:
    """Do something in a child that is killed at its n-th stop; False if it came to its end before that."""
    child = os.fork()
    if child == 0:
        try:
            ptrace(TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            action()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - nothing of the parent's may run in the child
            print(f"in the child: {error!r}", file=sys.stderr)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        sys.exit(CANNOT_TRACE)
    ptrace(SETOPTIONS, child, OPTIONS)
    ptrace(SYSCALL, child)
    return _trace(child, stop)


def _trace(child: int, last_stop: int) -> bool:
    stops = 0
    while True:
        thread, status = os.waitpid(-1, ALL_THREADS)
        if not os.WIFSTOPPED(status):
            if thread == child:
                if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
                    sys.exit("the save failed")
                return os.WIFSIGNALED(status)
            continue
        received = os.WSTOPSIG(status)
        stops += received == SYSCALL_STOP
        if stops == last_stop:
            os.kill(child, signal.SIGKILL)
            last_stop = -1
        elif last_stop != -1:
            passed_on = 0 if received in (SYSCALL_STOP, signal.SIGTRAP, signal.SIGSTOP) else received
            with suppress(ProcessLookupError):  # the child may end while one of its threads is stopped
                ptrace(SYSCALL, thread, passed_on)


def attempt(restart: int, folder: Path) -> CheckpointStore:
    return CheckpointStore(folder, AttemptId(run=0, submission=0, restart=restart))


def state_of(step: int) -> dict[str, Any]:
    return {"step": step, "weights": np.full(NUMBERS, step, dtype=np.float64)}


def save(store: CheckpointStore, step: int, *, keep: int, with_files: bool) -> None:
    files = None
    if with_files:
        files = store.staging(step)
        (files / "shards").mkdir()
        (files / "shards" / "0.bin").write_bytes(bytes([step]) * 5000)
        (files / "index.json").write_text(json.dumps(step))
    store.save(step, state_of(step), generators=capture({}), extras={"step": step}, keep=keep, files=files)


def restored_step(store: CheckpointStore, *, with_files: bool) -> int:
    """The step of the newest checkpoint, all of whose content is seen to be that step's."""
    restored, rejected = store.newest()
    assert restored is not None, "no checkpoint is left"
    assert rejected == [], rejected
    step = restored.step
    assert restored.state["step"] == restored.extras["step"] == step
    assert (restored.state["weights"] == step).all()
    assert (restored.files is not None) == with_files
    if restored.files is not None:
        assert (restored.files / "shards" / "0.bin").read_bytes() == bytes([step]) * 5000
        assert json.loads((restored.files / "index.json").read_text()) == step
    return step


def trials(folder: Path, *, keep: int, with_files: bool) -> Iterator[int]:
    """The step that is restored after a kill at the first stop, the second, and so on."""
    template, place = folder / "template", folder / "checkpoints"
    for step in OLD_STEPS[-keep:]:
        save(attempt(0, template), step, keep=keep, with_files=with_files)
    stop, killed = 0, True
    while killed:
        stop += 1
        shutil.copytree(template, place)
        saving = attempt(1, place)
        killed = killed_at(stop, lambda: save(saving, NEW_STEP, keep=keep, with_files=with_files))  # noqa: B023
        found = restored_step(attempt(2, place), with_files=with_files)
        assert found in (OLD_STEPS[-1], NEW_STEP), found
        assert killed or found == NEW_STEP
        save(attempt(2, place), NEXT_STEP, keep=1, with_files=with_files)
        names = sorted(path.name for path in place.iterdir())
        stem = f"step-{NEXT_STEP:012d}.s0.r2"
        assert names == ([f"{stem}.ckpt", f"{stem}.files"] if with_files else [f"{stem}.ckpt"]), names
        shutil.rmtree(place)
        yield found


def main(folder: str, keep: str, files: str) -> None:
    found = Counter(trials(Path(folder), keep=int(keep), with_files=files == "files"))
    print(json.dumps({"old": found[OLD_STEPS[-1]], "new": found[NEW_STEP]}))


if __name__ == "__main__":
    main(*sys.argv[1:])

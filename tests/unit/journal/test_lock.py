"""One process at a time, across hosts: who has the lock, who gets it next, and what becomes of one that is late."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hpcorch.errors import UnavailableError
from hpcorch.journal.files import Confirm
from hpcorch.journal.lock import Hold, LockLostError, exclusive, files, hold
from hpcorch.journal.lock.files import LockFiles
from hpcorch.journal.lock.holder import Holder, LockState, content_of
from tests.support import processes
from tests.support.tuning import Tune

PROGRAM = "import os, sys\nfrom pathlib import Path\nfrom hpcorch.journal.lock import exclusive\n"
HERE = Holder.this_process()
ELSEWHERE = replace(HERE, host="far", space="another kernel")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "the.lock"


@pytest.fixture(autouse=True)
def quick(tune: Tune) -> None:
    tune(LOCK_LEASE_S=0.6, LOCK_WATCH_S=0.2, LOCK_AGE_POLL_S=0.05, LOCK_DECIDED_S=0.1, LOCK_WAIT_S=60)


def leave(path: Path, number: int, holder: Holder, state: LockState = LockState.HELD) -> None:
    """A file as somebody else made it."""
    assert LockFiles(path).create(number, content_of(holder, state, beats=0))


def numbers(path: Path) -> list[int]:
    return LockFiles(path).numbers()


def state(path: Path) -> LockState | None:
    files = LockFiles(path)
    return files.read(files.numbers()[-1])[0].state


@contextmanager
def signs_of_life(path: Path, number: int) -> Iterator[None]:
    """A holder elsewhere that lives."""
    over = threading.Event()

    def live() -> None:
        beats = 0
        while not over.wait(0.05):
            beats += 1
            LockFiles(path).write(number, content_of(ELSEWHERE, LockState.HELD, beats=beats))

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_one_file_is_left_of_a_lock_that_was_given_back(path: Path) -> None:
    for _ in range(3):
        with exclusive(path):
            assert state(path) is LockState.HELD
        assert state(path) is LockState.FREE
    assert [file.name for file in path.parent.iterdir()] == ["the.lock.3"]


def test_a_thread_may_take_a_lock_again_by_another_path(path: Path) -> None:
    link = path.parent / "link"
    link.symlink_to(path.parent)
    with exclusive(path), exclusive(link / path.name, wait_s=0):
        assert numbers(path) == [1]
    assert state(path) is LockState.FREE


def test_processes_and_threads_take_turns(path: Path) -> None:
    count = path.with_name("count")
    count.write_text("0")
    code = (
        f"{PROGRAM}from threading import Thread\n"
        "def add():\n    for _ in range(15):\n        with exclusive(Path(sys.argv[1])):\n"
        "            count = Path(sys.argv[2])\n            count.write_text(str(int(count.read_text()) + 1))\n"
        "threads = [Thread(target=add) for _ in range(2)]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\n"
    )
    programs = [processes.start([sys.executable, "-c", code, str(path), str(count)]) for _ in range(3)]
    assert [program.wait(timeout=120) for program in programs] == [0, 0, 0]
    assert int(count.read_text()) == 3 * 2 * 15


def test_a_dead_process_of_this_host_is_followed_at_once(path: Path, tune: Tune) -> None:
    tune(LOCK_LEASE_S=1000, LOCK_WATCH_S=1000)
    code = "import os, sys\nfrom pathlib import Path\nfrom hpcorch.journal.lock import exclusive\n"
    subprocess.run(
        [sys.executable, "-c", f"{code}with exclusive(Path(sys.argv[1])): os._exit(0)", path], check=True
    )
    with exclusive(path, wait_s=0) as hold:
        assert hold.took_over


def test_a_pid_that_was_given_again_keeps_nothing(path: Path, tune: Tune) -> None:
    tune(LOCK_LEASE_S=1000, LOCK_WATCH_S=1000)
    leave(path, 4, replace(HERE, pid=os.getppid(), start=HERE.start - 1))
    with exclusive(path, wait_s=0):
        assert numbers(path) == [5]


def test_what_an_exception_left_of_this_process_keeps_nothing(path: Path) -> None:
    leave(path, 1, HERE)
    with exclusive(path, wait_s=0) as hold:
        assert hold.took_over


def test_a_host_that_died_is_followed_after_its_lease_even_by_who_does_not_wait(path: Path) -> None:
    leave(path, 1, ELSEWHERE)
    with pytest.raises(UnavailableError), exclusive(path, wait_s=0):
        pass
    os.utime(LockFiles(path).file(1), (time.time() - 5, time.time() - 5))
    with exclusive(path, wait_s=0) as hold:
        assert hold.took_over


def test_a_host_whose_clock_was_set_back_is_followed(path: Path) -> None:
    leave(path, 1, ELSEWHERE)
    os.utime(LockFiles(path).file(1), (time.time() + 5000, time.time() + 5000))
    with exclusive(path) as hold:
        assert hold.took_over


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[" * 100_000, b'{"holder": {"pid": 1e999}}', bytes(512)])
def test_a_file_that_says_nothing_is_followed_after_a_lease(path: Path, rubbish: bytes) -> None:
    LockFiles(path).file(41).write_bytes(rubbish)
    with exclusive(path) as hold:
        assert (hold.took_over, numbers(path)) == (True, [42])


def put_nonsense(file: Path) -> None:
    said = {"holder": {"host": {"a": []}, "user": "\x1b[2J", "since": None, "pid": "x"}, "state": 7, "beats": {}}
    file.write_text(json.dumps(said))


def put_hole(file: Path) -> None:
    file.touch()
    os.truncate(file, 1 << 40)


@pytest.mark.parametrize(
    "put",
    [
        os.mkfifo,
        Path.mkdir,
        put_nonsense,
        lambda file: file.write_bytes(b"\xff" * 9000),
        lambda file: file.symlink_to("precious"),
        lambda file: file.symlink_to("/dev/zero"),
        lambda file: file.symlink_to(file.name),
        put_hole,
    ],
    ids=["fifo", "folder", "nonsense", "rubbish", "link", "device", "loop", "hole"],
)
def test_what_somebody_put_in_a_locks_place_is_gone_past_or_a_sentence(
    path: Path, put: Callable[[Path], object]
) -> None:
    (precious := path.with_name("precious")).write_text("mine")
    put(path.with_name("the.lock.4"))
    with suppress(UnavailableError), exclusive(path):
        assert numbers(path)[-1] == 5
    assert precious.read_text() == "mine"


def test_who_lives_elsewhere_is_waited_for_and_named(path: Path) -> None:
    leave(path, 3, ELSEWHERE)
    with (
        signs_of_life(path, 3),
        pytest.raises(UnavailableError, match=rf"process {os.getpid()} of \w+ on far, since 2.*waited 1\.5 s"),
        exclusive(path, wait_s=1.5),
    ):
        pass


def test_what_a_holder_left_undone_is_renewed_until_it_is_done(path: Path) -> None:
    renewed = []

    def fail(_confirm: Confirm) -> None:
        renewed.append("tried")
        raise OSError("the disk is full")

    leave(path, 1, replace(HERE, start=1))
    for _ in range(2):
        with pytest.raises(OSError, match="full"), exclusive(path, wait_s=0, renew=fail):
            pass
    for _ in range(2):
        with exclusive(path, wait_s=0, renew=lambda _: renewed.append("done")):
            pass
    assert renewed == ["tried", "tried", "done"]


def followed(path: Path, hold: Hold, tune: Tune) -> LockLostError | None:
    tune(LOCK_LEASE_S=0)  # from now on it is late
    leave(path, 2, ELSEWHERE)
    try:
        hold.confirm()
    except LockLostError as error:
        return error
    return None


def test_a_holder_that_was_followed_is_told_before_and_at_the_end(path: Path, tune: Tune) -> None:
    told = []
    with pytest.raises(LockLostError, match="taken over by another process"), exclusive(path) as hold:
        told.append(followed(path, hold, tune))
    assert isinstance(told[0], LockLostError)
    assert LockFiles(path).read(2)[0].state is LockState.HELD


def test_a_holder_that_was_late_and_not_followed_goes_on(path: Path, tune: Tune) -> None:
    with exclusive(path) as hold:
        tune(LOCK_LEASE_S=0)
        hold.confirm()
    assert state(path) is LockState.FREE


def test_a_look_at_an_old_listing_takes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number after one that was seen long ago may be free, and says nothing while there are higher ones."""
    leave(path, 9, ELSEWHERE)
    listings = iter([[3], [4, 9]])
    now = LockFiles.numbers
    monkeypatch.setattr(LockFiles, "numbers", lambda self: next(listings, None) or now(self))
    with signs_of_life(path, 9), pytest.raises(UnavailableError), exclusive(path, wait_s=0.5):
        pass
    assert numbers(path) == [9]


def test_who_stood_still_while_it_waited_still_takes_over_from_the_dead(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(path, 3, ELSEWHERE)
    steps = iter([0.0] * 5 + [100.0])
    gone_s = 0.0

    def now() -> float:
        nonlocal gone_s
        gone_s += next(steps, 0.0)
        return time.monotonic() + gone_s

    for module in (hold, files):
        monkeypatch.setattr(module, "steady", now)
    with exclusive(path, wait_s=5) as taken:
        assert taken.took_over
    assert gone_s > 5


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_a_file_that_a_file_system_says_is_gone_is_looked_for_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    leave(path, 3, ELSEWHERE)
    looks = iter(range(4))
    opened = files.open_undelegated

    def late(path: Path, flags: int) -> int:
        if next(looks, None) is not None:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, flags)

    monkeypatch.setattr(files, "open_undelegated", late)
    with signs_of_life(path, 3), pytest.raises(UnavailableError, match="on far"), exclusive(path, wait_s=1):
        pass
    assert numbers(path) == [3]


def test_a_fork_gives_nothing_back(path: Path) -> None:
    def ask() -> None:
        with pytest.raises(UnavailableError), exclusive(path, wait_s=0):
            pass

    with exclusive(path):
        assert processes.exit_code(processes.in_another_process(ask)) == 0
        assert state(path) is LockState.HELD


def test_who_has_waited_goes_before_who_comes_again_and_again(path: Path) -> None:
    code = (
        f"{PROGRAM}import time\n"
        "while True:\n    with exclusive(Path(sys.argv[1])):\n        print(flush=True)\n        time.sleep(0.02)\n"
    )
    busy = processes.start([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert busy.stdout is not None
    busy.stdout.readline()
    for _ in range(3):
        with exclusive(path, wait_s=60):
            pass
    assert busy.poll() is None
    busy.kill()
    busy.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
def test_a_folder_that_cannot_be_written_is_a_sentence(path: Path) -> None:
    folder = path.parent / "others"
    folder.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    code = (
        f"{PROGRAM}os.setuid(65533)\n"
        "from hpcorch.errors import UnavailableError\n"
        "try:\n    with exclusive(Path(sys.argv[1])): pass\nexcept UnavailableError as error: print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, folder / "the.lock"], capture_output=True, text=True, check=True
    )
    assert "cannot be written (" in ran.stdout

"""What others may have put where a file should be: nobody waits for it, reads all of it, or tells what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from hpcorch.errors import HpcorchError
from hpcorch.journal.inbox import announced
from hpcorch.journal.layout import inbox_folder
from hpcorch.provenance.digests import DigestCache
from hpcorch.resources.leases import ticket_files
from hpcorch.resources.leases.listing import holders, waiting
from hpcorch.resources.leases.tickets import Ticket
from hpcorch.services.recording.sweep import recorded_environment
from hpcorch.services.throttling.state import State, read_state
from tests.support.command_line import CommandLine
from tests.support.ownership import SOMEBODY, Disown
from tests.support.proven_sweeps import proven_sweep
from tests.support.sweeps import SweepOnDisk, make_sweep
from tests.support.tuning import Tune

SECRET = b"what nobody else may know\n"
HUGE = 1 << 40  # a hole that nobody reads to its end in time


def fifo(path: Path) -> None:
    os.mkfifo(path)


def local_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path of a socket must be short
    os.close(folder)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_out(path: Path) -> None:
    path.symlink_to(path.parents[-2] / "dev" / "null")


def secret(path: Path) -> None:
    path.symlink_to(Path(os.environ["SECRET"]))


def chain(path: Path) -> None:
    """d/l -> .., so that a path through it never ends."""
    (path.parent / "l").unlink(missing_ok=True)
    (path.parent / "l").symlink_to("..")
    path.symlink_to(os.path.join("l", path.parent.name, path.name))  # noqa: PTH118 - not normalised


def folder(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE)


KINDS = (fifo, local_socket, device, link_out, secret, chain, folder, huge)
Kind = Callable[[Path], None]


def plant(kind: Kind, path: Path) -> None:
    """Put one of them where a file is."""
    path.unlink(missing_ok=True)
    kind(path)


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tune: Tune) -> Iterator[None]:
    """Who waits for a FIFO is woken by an error, and who holds a huge file in memory is found out."""
    tune(FOREIGN_FILE_BYTES=1 << 20, LINE_BYTES=1 << 20)
    (tmp_path / "secret").write_bytes(SECRET)
    monkeypatch.setenv("SECRET", str(tmp_path / "secret"))

    def waited(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("a FIFO was waited for, or a file read without end")

    before = signal.signal(signal.SIGALRM, waited)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(120)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 192 << 10, "it was held in memory"


@pytest.fixture
def sweep(tmp_path: Path) -> SweepOnDisk:
    return proven_sweep(tmp_path / "project")


def says(hpcorch: CommandLine, *words: str | Path) -> str:
    """What a command says, which ends by itself and tells nothing of the secret."""
    ran = hpcorch(*words)
    said = ran.out + ran.err
    assert ran.code in (0, 1, 2, 3), said
    assert SECRET.decode().strip() not in said
    assert hashlib.sha256(SECRET).hexdigest() not in said
    return said


def record_files(sweep: SweepOnDisk) -> list[Path]:
    found = [path for path in sweep.layout.state.rglob("*") if path.is_file() and "lock" not in path.name]
    archives = [path for path in (sweep.project / ".hpcorch/snapshots").iterdir() if path.is_file()]
    return sorted(found + archives)


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_record_of_another_users_sweep(
    hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    Disown(monkeypatch)(sweep.layout.state)
    ledger = ("--ledger", sweep.ledger_path)
    for path in record_files(sweep):
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        plant(kind, path)
        said = says(hpcorch, *ledger, "audit", "last")
        assert "ERROR" in said or "warning" in said.lower() or path.parent.name == "logs", path
        says(hpcorch, *ledger, "logs", "last/0")
        says(hpcorch, *ledger, "export", "bundle", "last", tmp_path / "bundles" / path.name)
        for planted in (path, path.parent / "l"):
            planted.rmdir() if planted.is_dir() and not planted.is_symlink() else planted.unlink(missing_ok=True)
        aside.rename(path)
    for made in (tmp_path / "bundles").rglob("*"):
        if made.is_file() and not made.is_symlink():
            with made.open("rb") as file:
                assert SECRET not in file.read(1 << 20)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_bundle(hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path, kind: Kind) -> None:
    bundle = tmp_path / "bundle"
    assert hpcorch("--ledger", sweep.ledger_path, "export", "bundle", "last", bundle).code == 0
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        aside = tmp_path / "aside"
        path.rename(aside)
        plant(kind, path)
        said = says(hpcorch, "audit", "--bundle", bundle)
        assert str(path.relative_to(bundle)) in said or "a link that leads out of it" in said, said
        for planted in (path, path.parent / "l"):
            planted.rmdir() if planted.is_dir() and not planted.is_symlink() else planted.unlink(missing_ok=True)
        aside.rename(path)


def test_a_bundle_whose_list_names_files_outside_says_nothing_of_them(
    hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    assert hpcorch("--ledger", sweep.ledger_path, "export", "bundle", "last", bundle).code == 0
    with (bundle / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../secret\n")
    assert "../secret" in says(hpcorch, "audit", "--bundle", bundle)


def test_a_bundle_with_folders_deeper_than_a_path_can_say_is_refused(
    hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    assert hpcorch("--ledger", sweep.ledger_path, "export", "bundle", "last", bundle).code == 0
    at = os.open(bundle, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("a" * 250, dir_fd=at)
        inner = os.open("a" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    assert "a folder in it cannot be read (File name too long)" in says(hpcorch, "audit", "--bundle", bundle)


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_ledger_a_profile_or_anchors_are_named(
    hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    plant(kind, planted := tmp_path / "planted")
    says(hpcorch, "--ledger", planted, "ls")
    says(hpcorch, "--ledger", sweep.ledger_path, "audit", "--against", planted)
    monkeypatch.setenv("HPCORCH_SITE", str(planted))
    says(hpcorch, "--ledger", sweep.ledger_path, "resources")


@pytest.mark.parametrize("kind", KINDS)
def test_in_an_inbox_a_digest_cache_a_throttle_file_and_a_recorded_environment(
    hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path, kind: Kind
) -> None:
    inbox = inbox_folder(sweep.ledger_path)
    inbox.mkdir(exist_ok=True)
    plant(kind, inbox / "20260101-000000-aaaa")
    assert set(announced(sweep.ledger_path).values()) <= {Path(os.fsdecode(SECRET)), Path()}
    says(hpcorch, "--ledger", sweep.ledger_path, "ls")
    for name in ("digests.json", "throttles"):
        plant(kind, tmp_path / name)
    assert DigestCache(tmp_path / "digests.json").get("x", tmp_path.stat()) is None
    for read in (lambda: read_state(tmp_path / "throttles"), lambda: recorded_environment(sweep.layout)):
        plant(kind, sweep.layout.environment)
        try:
            assert read() == State()
        except HpcorchError as error:
            assert "\n" not in str(error)  # noqa: PT017 - one sentence, whatever was planted
        planted = sweep.layout.environment
        planted.rmdir() if planted.is_dir() and not planted.is_symlink() else planted.unlink()
        (planted.parent / "l").unlink(missing_ok=True)


def test_an_announcement_of_another_users_sweep_lets_nobody_execute_it(
    hpcorch: CommandLine, sweep: SweepOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = make_sweep(tmp_path / "theirs", sweep="20260101-130000-xxxx")
    theirs.submit([0, 1])
    theirs.start(0).end(error="ValueError: to be run again")
    Disown(monkeypatch)(theirs.layout.state)
    inbox = inbox_folder(sweep.ledger_path)
    inbox.mkdir(exist_ok=True)
    (inbox / theirs.id).write_text(str(theirs.layout.directory))
    before = {path: path.stat().st_mtime_ns for path in theirs.layout.state.rglob("*")}
    for words in (("ls",), ("tend",), ("tend", theirs.id), ("retry", theirs.id)):
        said = says(hpcorch, "--ledger", sweep.ledger_path, *words)
    assert f"only {SOMEBODY} can act on its jobs" in said
    assert {path: path.stat().st_mtime_ns for path in theirs.layout.state.rglob("*")} == before


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_folder_of_tickets(tmp_path: Path, kind: Kind) -> None:
    ticket = Ticket(resource="io", number=1, count=1, capacity=2, expiry_ms=30_000, token="a" * 16, ended=False)
    plant(kind, tmp_path / ticket.name)
    assert [one.number for one in (*holders(tmp_path), *waiting(tmp_path))] in ([], [1])


@pytest.mark.parametrize(
    "said", [[1], "x", {"held": 1e300}, {"held": "now"}, {"host": {}, "pid": "1", "user": 7}, {"held": None}]
)
def test_a_ticket_that_says_nonsense_is_listed_as_far_as_it_is_known(tmp_path: Path, said: object) -> None:
    ticket = Ticket(resource="io", number=1, count=1, capacity=2, expiry_ms=30_000, token="a" * 16, ended=False)
    ticket_files.create(tmp_path, ticket, {})
    with (tmp_path / ticket.name).open("a") as file:
        file.write(json.dumps(said) + "\n" + "[" * 100_000 + "\n")
    (found,) = (*holders(tmp_path), *waiting(tmp_path))
    assert found.host is None
    assert found.pid is None

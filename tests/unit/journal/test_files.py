"""Files that say what is executed are opened only where they are regular ones, and this user's."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hpcorch.errors import DriftError, RecordError
from hpcorch.journal.files import open_regular, open_undelegated, read_regular
from hpcorch.ledger.schema.delegations import give_back
from hpcorch.model.values import digest
from hpcorch.runtime.checkpoint.file import digest_of
from hpcorch.runtime.program.task_file import read_task


@pytest.fixture
def other_user(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 12345)
    monkeypatch.setattr("hpcorch.users._TRUSTED", ())


def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="it is not a regular file"):
        open_regular(tmp_path / "fifo")


def test_a_file_of_another_user_is_read_but_not_executed(tmp_path, other_user):
    (tmp_path / "file").write_bytes(b"content")
    assert read_regular(tmp_path / "file") == b"content"
    with pytest.raises(RecordError, match="what another user has written is not executed"):
        read_regular(tmp_path / "file", own=True)


def test_another_users_file_that_is_nearly_all_a_hole_is_not_read_and_a_large_one_is(tmp_path, tune, request):
    tune(FOREIGN_FILE_BYTES=10_000)
    for name, size in (("hollow", 1 << 20), ("small", 10_000)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    with (tmp_path / "large").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    assert digest_of(tmp_path / "hollow") == digest(bytes(1 << 20))
    with pytest.raises(OSError, match="it takes little of its 1048576 bytes on disk, and is not yours"):
        digest_of(tmp_path / "hollow", within=tmp_path)
    request.getfixturevalue("other_user")
    with pytest.raises(OSError, match="and is not yours"):
        digest_of(tmp_path / "hollow")
    for name in ("small", "large"):
        assert digest_of(tmp_path / name) == digest((tmp_path / name).read_bytes())


class Missing:
    """Stands for what another release has made."""

    def __reduce__(self):
        return (int, ("no number",))


def test_a_task_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path, other_user, monkeypatch):
    path = tmp_path / "task.pkl"
    with pytest.raises(DriftError, match="is missing: submit the run again"):
        read_task(path, "sha256:0")
    content = pickle.dumps(Missing())
    path.write_bytes(content)
    with pytest.raises(DriftError, match="what another user has written"):
        read_task(path, digest(content))
    monkeypatch.undo()
    with pytest.raises(DriftError, match="was changed after submission"):
        read_task(path, "sha256:0")
    with pytest.raises(DriftError, match="cannot be read by the hpcorch that is installed now"):
        read_task(path, digest(content))


@pytest.mark.parametrize("folder", [Path("/dev/shm"), None], ids=["tmpfs", "disk"])
def test_a_file_that_other_hosts_write_is_read_on_every_file_system(tmp_path, folder):
    with TemporaryDirectory(dir=folder or tmp_path) as made:
        path = Path(made) / "journal"
        path.write_bytes(b"content")
        descriptor = open_undelegated(path)
        try:
            assert os.read(descriptor, 3) == b"con"  # no alignment is asked for, as for direct access
        finally:
            os.close(descriptor)
        give_back(path, Path(made) / "nothing")

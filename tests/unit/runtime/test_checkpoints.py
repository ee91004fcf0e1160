"""Checkpoints: what is saved is restored, what is broken is skipped, and what is kept stays."""

from __future__ import annotations

import os
import resource
import stat
import sys
import threading
import tracemalloc
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcorch.errors import CheckpointError
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint import removal as checkpoint_removal
from hpcorch.runtime.checkpoint.saving import Saved
from hpcorch.runtime.checkpoint.store import CheckpointStore
from hpcorch.runtime.run.generators import capture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "0"


def store(folder: Path, restart: int = 0, *, submission: int = 0, rank: int = 0, ranks: int = 1) -> CheckpointStore:
    attempt = AttemptId(run=0, submission=submission, restart=restart)
    return CheckpointStore(folder, attempt, rank=rank, ranks=ranks)


def save(to: CheckpointStore, step: int, state: Any = None, *, keep: int = 2, files: Path | None = None) -> Saved:
    return to.save(step, state, generators={}, extras={}, keep=keep, files=files)


def newest_step(of: CheckpointStore) -> int | None:
    restored, _ = of.newest()
    return None if restored is None else restored.step


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:17]) for path in folder.glob("step-*.ckpt"))


def write_framework_files(to: CheckpointStore, step: int) -> Path:
    staging = to.staging(step)
    (staging / "shards").mkdir()
    (staging / "shards" / "0.bin").write_bytes(b"shard")
    (staging / "index.json").write_text("{}")
    return staging


# What is saved is restored


def test_nothing_is_restored_where_nothing_was_saved(folder: Path) -> None:
    assert store(folder).newest() == (None, [])
    assert not folder.exists()


def test_next_attempt_restores_what_was_saved(folder: Path) -> None:
    state = {"plain": [1, "two", {3.0}], "array": np.arange(6.0).reshape(2, 3)}
    saved = store(folder).save(7, state, generators=capture({}), extras={"best": 0.5}, keep=1)
    restored, rejected = store(folder, 1).newest()
    assert restored is not None
    assert rejected == []
    assert (restored.step, restored.path, restored.digest) == (7, saved.path, saved.digest)
    assert restored.attempt == AttemptId(run=0, submission=0, restart=0)
    assert restored.state["plain"] == state["plain"]
    np.testing.assert_array_equal(restored.state["array"], state["array"])
    assert restored.extras == {"best": 0.5}
    assert restored.generators["random"] == capture({})["random"]
    assert restored.files is None


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(300_000.0).reshape(300, 1000)),
        np.arange(600_000.0).reshape(600, 1000)[::2, 1:],
        np.array(3.5),
        np.empty((0, 4)),
        np.array([{"a": 1}, None], dtype=object),
        np.zeros(3, dtype=[("x", "f4"), ("y", "i8")]),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
    ],
    ids=["fortran", "strided", "0-dim", "empty", "objects", "records", "dates"],
)
def test_arrays_of_every_shape_are_restored_as_they_were(array: Any, folder: Path) -> None:
    save(store(folder), 1, array)
    restored, _ = store(folder).newest()
    assert restored is not None
    np.testing.assert_array_equal(restored.state, array)
    assert restored.state.dtype == array.dtype


def test_restored_arrays_can_be_written_to_and_shared_ones_stay_shared(folder: Path) -> None:
    array = np.zeros(1 << 18)
    save(store(folder), 1, [array, array])
    restored, _ = store(folder).newest()
    assert restored is not None
    first, second = restored.state
    first[0] = 1.0
    assert second is first


def test_large_array_is_saved_without_a_copy_of_it(folder: Path) -> None:
    array = np.ones(4 << 20)  # 32 MiB
    save(store(folder), 1)  # what is imported on the way
    tracemalloc.start()
    save(store(folder), 2, {"weights": array})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 8


def test_only_the_owner_can_read_checkpoints(folder: Path) -> None:
    first = store(folder)
    saved = save(first, 1, files=write_framework_files(first, 1))
    files = saved.path.with_suffix(".files")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, files, saved.path)]
    assert modes == [0o700, 0o700, 0o700, 0o600]


def test_digest_and_size_are_those_on_disk(folder: Path) -> None:
    import hashlib

    first = store(folder)
    saved = save(first, 1, np.ones(1 << 18), files=write_framework_files(first, 1))
    content = saved.path.read_bytes()
    assert saved.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert saved.size == len(content) + len(b"shard") + len(b"{}")


# Which one is the newest


def test_last_saved_is_restored_even_if_its_step_is_lower(folder: Path) -> None:
    first = store(folder)
    save(first, 9)
    save(first, 3)
    assert newest_step(store(folder, 1)) == 3


def test_step_saved_twice_is_restored_as_saved_last(folder: Path) -> None:
    first = store(folder)
    paths = [save(first, 5, text).path.name for text in ("one", "two")]
    restored, _ = store(folder).newest()
    assert restored is not None
    assert restored.state == "two"
    assert paths == ["step-000000000005.s0.r0.ckpt", "step-000000000005.s0.r0.n1.ckpt"]


def test_second_store_of_an_attempt_goes_on_counting(folder: Path) -> None:
    save(store(folder), 9)
    save(store(folder), 3)
    save(store(folder), 3, "again")
    restored, _ = store(folder).newest()
    assert restored is not None
    assert restored.state == "again"


def test_attempt_that_should_be_dead_never_wins_over_a_later_one(folder: Path) -> None:
    zombie, later = store(folder, 0), store(folder, 1)
    save(zombie, 1)
    save(later, 2)
    save(zombie, 100, keep=1)
    assert newest_step(store(folder, 2)) == 2
    assert newest_step(store(folder, 0, submission=1)) == 2
    assert steps(folder) == [2, 100]


def test_attempt_that_should_be_dead_restores_nothing_of_a_later_one(folder: Path) -> None:
    save(store(folder, 0), 1)
    save(store(folder, 1), 2)
    assert newest_step(store(folder, 0)) == 1


# What stays


def test_as_many_as_asked_for_stay(folder: Path) -> None:
    first = store(folder)
    saved = [save(first, step, keep=3) for step in range(5)]
    assert steps(folder) == [2, 3, 4]
    assert [one.removed for one in saved] == [[], [], [], [saved[0].path], [saved[1].path]]


def test_checkpoints_of_earlier_attempts_make_room_with_their_files(folder: Path) -> None:
    first = store(folder)
    save(first, 1, files=write_framework_files(first, 1))
    save(store(folder, 1), 2, keep=1)
    assert [path.name for path in folder.iterdir()] == ["step-000000000002.s0.r1.ckpt"]


def test_broken_checkpoint_does_not_count_as_kept(folder: Path) -> None:
    first = store(folder)
    save(first, 1)
    broken = save(first, 2).path
    broken.write_bytes(broken.read_bytes()[:-1])
    save(first, 3, keep=2)
    assert newest_step(store(folder, 1)) == 3
    assert steps(folder) == [1, 2, 3]
    save(store(folder, 1), 4, keep=2)
    assert steps(folder) == [3, 4]  # and what an earlier attempt left broken is gone


def test_checkpoint_that_cannot_be_removed_does_not_fail_the_save(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(f"{path} stays")

    first = store(folder)
    save(first, 1)
    monkeypatch.setattr(checkpoint_removal, "remove", refuse)
    assert save(first, 2, keep=1).removed == []
    assert newest_step(store(folder)) == 2


@pytest.mark.parametrize(("step", "keep"), [(-1, 1), (1, 0)])
def test_impossible_step_or_keep_is_refused(step: int, keep: int, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="steps count from 0, and at least one checkpoint stays"):
        save(store(folder), step, keep=keep)


# What is broken


def assert_first_restored_instead(folder: Path, path: Path) -> None:
    restored, rejected = store(folder, 1).newest()
    assert restored is not None
    assert restored.step == 1
    assert [one.path for one in rejected] == [path]


def each_flip(content: bytes) -> Iterator[bytes]:
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        yield bytes(flipped)


def test_any_altered_byte_of_a_checkpoint_rejects_it(folder: Path) -> None:
    first = store(folder)
    save(first, 1)
    path = save(first, 2, {"weights": list(range(20))}, files=write_framework_files(first, 2)).path
    for flipped in each_flip(path.read_bytes()):
        path.write_bytes(flipped)
        assert_first_restored_instead(folder, path)


def test_checkpoint_cut_off_anywhere_or_with_more_at_its_end_is_rejected(folder: Path) -> None:
    first = store(folder)
    save(first, 1)
    path = save(first, 2, list(range(20))).path
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert_first_restored_instead(folder, path)
    for more in (b"\n", b"\0" * 4096, content):
        path.write_bytes(content + more)
        assert_first_restored_instead(folder, path)
    path.write_bytes(b"\0" * len(content))
    assert_first_restored_instead(folder, path)


def test_any_altered_byte_of_a_frameworks_file_rejects_the_checkpoint(folder: Path) -> None:
    first = store(folder)
    save(first, 1)
    path = save(first, 2, files=write_framework_files(first, 2)).path
    shard = path.with_suffix(".files") / "shards" / "0.bin"
    content = shard.read_bytes()
    for altered in (*each_flip(content), b"", content[:-1], content + b"\0"):
        shard.write_bytes(altered)
        assert_first_restored_instead(folder, path)
    shard.unlink()
    assert_first_restored_instead(folder, path)
    shard.mkdir()
    assert_first_restored_instead(folder, path)


def test_reason_says_what_is_wrong(folder: Path) -> None:
    path = save(store(folder), 1).path
    path.write_bytes(path.read_bytes()[:10])
    _, (rejected,) = store(folder).newest()
    assert rejected.reason == "it is incomplete: it ends before its trailer"


def test_renamed_checkpoint_is_rejected(folder: Path) -> None:
    path = save(store(folder), 1).path
    path.rename(path.with_name("step-000000000001.s5.r0.ckpt"))
    _, (rejected,) = store(folder, submission=6).newest()
    assert "renamed" in rejected.reason


def test_broken_checkpoint_runs_no_code(folder: Path) -> None:
    """Its digest is verified before it is unpickled."""
    path = save(store(folder), 1, Detonator()).path
    path.write_bytes(path.read_bytes().replace(b"fuse", b"FUSE"))
    restored, rejected = store(folder).newest()
    assert restored is None
    assert len(rejected) == 1


class Detonator:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("fuse",)


# What does not fit the task


def test_missing_module_is_an_error_that_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("architectures")
    exec("class Net: pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "architectures", module)
    save(store(folder), 1, module.Net())
    monkeypatch.delitem(sys.modules, "architectures")
    with pytest.raises(CheckpointError, match=r"is intact, but .* No module named 'architectures'.* move .* away"):
        store(folder, 1).newest()


def test_state_that_cannot_be_pickled_is_an_error_and_leaves_nothing(folder: Path) -> None:
    first = store(folder)
    save(first, 1)
    with pytest.raises(CheckpointError, match=r"step 2 .*cannot pickle '_thread.lock' object"):
        save(first, 2, {"lock": threading.Lock()}, files=write_framework_files(first, 2))
    assert [path.name for path in folder.iterdir()] == ["step-000000000001.s0.r0.ckpt"]


# A full disk


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_save_that_the_disk_cannot_take_fails_and_leaves_the_previous_one_alone(folder: Path) -> None:
    first = store(folder)
    save(first, 1, keep=1)
    with (
        files_no_larger_than(1 << 20),
        pytest.raises(CheckpointError, match=r"step 2 could not be saved .*File too large.* Free space"),
    ):
        save(first, 2, np.ones(1 << 20), keep=1, files=write_framework_files(first, 2))
    assert [path.name for path in folder.iterdir()] == ["step-000000000001.s0.r0.ckpt"]
    assert save(first, 2, keep=1).step == 2


def test_save_into_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file is in the way")
    with pytest.raises(CheckpointError, match="step 1 could not be saved"):
        save(store(tmp_path / "checkpoints" / "0"), 1)
    with pytest.raises(CheckpointError, match="step 1 could not be saved"):
        store(tmp_path / "checkpoints" / "0").staging(1)


# Files of another framework


def test_framework_files_are_restored_and_were_not_copied(folder: Path) -> None:
    first = store(folder)
    staging = write_framework_files(first, 1)
    inode = (staging / "shards" / "0.bin").stat().st_ino
    save(first, 1, files=staging)
    restored, _ = store(folder, 1).newest()
    assert restored is not None
    assert restored.files is not None
    assert (restored.files / "index.json").read_text() == "{}"
    assert (restored.files / "shards" / "0.bin").stat().st_ino == inode
    assert not staging.exists()


def test_staging_begins_empty_each_time(folder: Path) -> None:
    first = store(folder)
    write_framework_files(first, 1)
    assert list(first.staging(2).iterdir()) == []


def test_files_that_lie_elsewhere_are_copied(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "weights.bin").write_bytes(b"weights")
    (elsewhere / "latest").symlink_to("deep/weights.bin")
    first = store(folder)
    save(first, 1, files=elsewhere)
    restored, _ = store(folder).newest()
    assert restored is not None
    assert restored.files is not None
    assert (restored.files / "latest").read_bytes() == b"weights"
    assert (restored.files / "latest").is_symlink()
    assert (elsewhere / "deep" / "weights.bin").exists()

    save(first, 2, files=elsewhere / "deep" / "weights.bin")
    restored, _ = store(folder).newest()
    assert restored is not None
    assert restored.files is not None
    assert [path.name for path in restored.files.iterdir()] == ["weights.bin"]


def test_files_that_are_not_there_are_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        save(store(folder), 1, files=tmp_path / "nowhere")


def test_pipe_among_the_files_is_refused(folder: Path) -> None:
    first = store(folder)
    staging = first.staging(1)
    os.mkfifo(staging / "pipe")
    with pytest.raises(CheckpointError, match="neither a file, a directory nor a symbolic link"):
        save(first, 1, files=staging)
    assert list(folder.iterdir()) == []


# Several ranks


def save_on_all(folder: Path, step: int, *, ranks: int = 2, keep: int = 1) -> list[Saved]:
    stores = [store(folder, rank=rank, ranks=ranks) for rank in range(ranks)]
    return [save(stores[rank], step, f"state of {rank}", keep=keep) for rank in reversed(range(ranks))]


def test_each_rank_restores_its_own_part(folder: Path) -> None:
    save_on_all(folder, 1, ranks=3)
    leading, _ = store(folder, 1, ranks=3).newest()
    assert leading is not None
    assert leading.state == "state of 0"
    following, _ = store(folder, 1, rank=2, ranks=3).newest(like=leading.path.name)
    assert following is not None
    assert (following.step, following.state) == (1, "state of 2")


def test_checkpoint_without_the_part_of_a_rank_is_rejected_and_makes_no_room(folder: Path) -> None:
    save_on_all(folder, 1)
    save(store(folder, ranks=2), 2, keep=1)
    restored, (rejected,) = store(folder, 1, ranks=2).newest()
    assert restored is not None
    assert restored.step == 1
    assert rejected.reason == "the part of rank 1 is missing"


def test_altered_part_of_another_rank_rejects_the_checkpoint(folder: Path) -> None:
    part, first = save_on_all(folder, 1)
    part.path.write_bytes(part.path.read_bytes().replace(b"state of 1", b"state of 7"))
    restored, (rejected,) = store(folder, 1, ranks=2).newest()
    assert restored is None
    assert rejected.path == first.path


def test_all_parts_make_room_together(folder: Path) -> None:
    save_on_all(folder, 1)
    save_on_all(folder, 2)
    assert len(list(folder.iterdir())) == 2


def test_another_number_of_ranks_is_an_error(folder: Path) -> None:
    save_on_all(folder, 1)
    with pytest.raises(CheckpointError, match="was saved by 2 tasks, and the run has 4 now: start it with 2"):
        store(folder, 1, ranks=4).newest()

"""Modes of what hpcorch makes: as the folder is that it lies in, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcorch.journal.access import (
    PRIVATE,
    Access,
    access_in,
    give_tree,
    make_folder,
    make_output_folder,
    make_record_folder,
    settle,
    touch,
)
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.sweep_folder import take

UMASKS = (0o000, 0o002, 0o022, 0o027, 0o077)
GROUP = os.getgid()
ACCESSES = {
    "private": PRIVATE,
    "for a group to read": Access(group=GROUP),
    "for a group to write": Access(group=GROUP, writes=True),
}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def a_project(folder: Path, access: Access) -> Path:
    state = folder / ".hpcorch"
    make_folder(state, access=access)
    return state


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
def test_what_is_made_is_as_its_folder_is(tmp_path: Path, access: Access, mask: int) -> None:
    with umask(mask):
        state = a_project(tmp_path, access)
        make_folder(state / "scripts" / "inner")
        write_whole(state / "scripts" / "whole", b"")
        touch(state / "scripts" / "touched")
        touch(state / "scripts" / "touched")
        make_record_folder(state / "record")
    folders = [state, state / "scripts", state / "scripts" / "inner"]
    assert {mode(folder) for folder in folders} == {access.folder_mode}
    assert {mode(state / "scripts" / name) for name in ("whole", "touched")} == {access.file_mode}
    assert mode(state / "record") == access.reading.folder_mode
    assert access_in(state / "scripts" / "inner") == access


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_a_folder_with_other_modes_passes_nothing_on(tmp_path: Path, mask: int) -> None:
    """Such as one that a group has for all its files, or one whose setgid bit somebody has cleared."""
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(0o2777)
    state = a_project(tmp_path, ACCESSES["for a group to write"])
    state.chmod(0o770)
    with umask(mask):
        make_folder(shared / ".hpcorch" / "inner")
        touch(shared / "beside")
        touch(state / "file")
    assert mode(shared / ".hpcorch") & mode(shared / ".hpcorch" / "inner") & 0o077 == 0
    assert (mode(shared / "beside"), mode(state / "file")) == (0o600, 0o600)


def test_a_file_that_another_program_has_made_is_settled(tmp_path: Path) -> None:
    for mask in UMASKS:
        for name, access in ACCESSES.items():
            state = a_project(tmp_path / f"{name} {mask}", access)
            with umask(mask):
                (state / "log").touch()
            settle(state / "log")
            assert mode(state / "log") == access.file_mode
    settle(tmp_path / "missing")


@pytest.mark.parametrize(("above", "mask", "below"), [
    (0o755, 0o000, 0o755),
    (0o755, 0o077, 0o700),
    (0o775, 0o002, 0o775),
    (0o775, 0o022, 0o755),
    (0o700, 0o022, 0o700),
    (0o1777, 0o000, 0o755),
])  # fmt: skip
def test_folders_for_output_follow_the_umask_within_what_the_folder_above_gives(
    tmp_path: Path, above: int, mask: int, below: int
) -> None:
    (top := tmp_path / "top").mkdir()
    top.chmod(above)
    with umask(mask):
        make_output_folder(top / "one" / "two")
        make_output_folder(top / "one" / "two")
    assert [mode(top / "one"), mode(top / "one" / "two")] == [below, below]


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_no_folder_on_the_way_to_a_sweep_is_wider_than_the_projects(tmp_path: Path, mask: int) -> None:
    """Hydra makes the sweep directory before hpcorch takes it, by the umask alone."""
    (project := tmp_path / "project").mkdir(mode=0o755)
    project.chmod(0o755)
    with umask(mask & 0o077):
        (project / "multirun" / "now").mkdir(parents=True)
        take(layout := SweepLayout(project / "multirun" / "now"), project=project)
    assert {mode(layout.directory) & 0o022, mode(layout.directory.parent) & 0o022} == {0}
    assert {mode(path) & 0o077 for path in (layout.state, *layout.state.rglob("*"))} == {0}


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_a_groups_members_may_read_a_sweep_and_make_their_own_beside_it(tmp_path: Path, mask: int) -> None:
    access = ACCESSES["for a group to write"]
    project = tmp_path / "project"
    with umask(mask & 0o077):
        a_project(project, access)
        (project / "multirun" / "today" / "now").mkdir(parents=True)
        take(layout := SweepLayout(project / "multirun" / "today" / "now"), project=project, access=access)
    assert {mode(project / name) for name in ("multirun", "multirun/today")} == {0o3770}
    folders = [layout.directory, layout.state, layout.journals, layout.logs]
    assert {mode(folder) for folder in folders} == {0o2750}
    assert mode(layout.control) == 0o640


def test_what_a_link_leads_to_is_not_given_to_a_group(tmp_path: Path) -> None:
    """A colleague could have made it, to one's own private file."""
    (secret := tmp_path / "secret").touch(mode=0o600)
    (folder := tmp_path / "private").mkdir(mode=0o700)
    (folder / "file").touch(mode=0o600)
    state = a_project(tmp_path, ACCESSES["for a group to write"])
    (state / "ledger.db").symlink_to(secret)
    (state / "hard").hardlink_to(secret)
    (state / "scripts").symlink_to(folder)
    with pytest.raises(OSError, match="symbolic links"):
        touch(state / "ledger.db")
    touch(state / "hard")
    for name in ("ledger.db", "hard"):
        settle(state / name)
    give_tree(state, ACCESSES["for a group to write"])
    assert [mode(path) for path in (secret, folder, folder / "file")] == [0o600, 0o700, 0o600]

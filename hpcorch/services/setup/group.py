"""Sharing a project with a group, and joining one that a colleague shares."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.access import PRIVATE, Access, give_folder, give_project, give_tree, make_folder, settle
from hpcorch.journal.layout import LEDGER_NAME, STATE_DIR, SweepLayout, digest_cache, scripts_folder
from hpcorch.journal.project_search import around, join, shared_with_us
from hpcorch.journal.reader import creation_of
from hpcorch.journal.sweep_folder import belongs_to_sweep, settle_way
from hpcorch.ledger import Ledger, readable_record
from hpcorch.model.entities import Sweep
from hpcorch.services.setup.project import Ready, make_ready
from hpcorch.services.tending.ownership import is_own
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.users import group_id, group_name, is_outside, own_groups, stranger


def find_group(name: str) -> int:
    """The id of a group that this user is in.

    :raises UsageError: there is no such group, or this user is not in it
    """
    group = group_id(name)
    known = ", ".join(sorted(map(group_name, own_groups())))
    if group is None:
        raise UsageError(f"there is no group {name} on this machine; you are in {known}")
    if group not in own_groups():
        raise UsageError(
            f"you are not in group {name}; you are in {known}. If you were added only now, log in again; else ask"
            " whoever administrates it"
        )
    return group


def colleagues_project(start: Path, group: int) -> Path | None:
    """The nearest project around a folder, if another user has made it, and shares it with the group.

    :raises UsageError: that user does not share it with this group, or is not in it
    """
    folder = next((one for one in around(start) if (one / STATE_DIR).is_dir()), None)
    whose = None if folder is None else stranger(folder / STATE_DIR)
    if folder is None or whose is None:
        return None
    name = group_name(group)
    if shared_with_us(folder / STATE_DIR) != group:
        raise UsageError(
            f"{folder / STATE_DIR} belongs to {whose}, and is not shared with group {name}: only {whose} can share"
            f" it, with `hpcorch init --group {name}` there"
        )
    if is_outside((folder / STATE_DIR).stat().st_uid, group):
        raise UsageError(
            f"{folder / STATE_DIR} belongs to {whose}, who is not in group {name}: make a project of your own"
        )
    return folder


def join_project(project: Path, group: int) -> None:
    """Take part in a project that a colleague shares, and give the group what is there of this user's already.

    :raises UnavailableError: that cannot be noted, or the ledger cannot be read
    :raises RecordError: the ledger is damaged
    """
    try:
        join(project / STATE_DIR)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(
            f"that you take part cannot be noted in your configuration ({error}): see that $XDG_CONFIG_HOME, or"
            " .config in your home, can be written to"
        ) from error
    _share_content(project, Access(group=group, writes=True))


def make_shared(project: Path, group: int, client: SlurmClient, *, force: bool) -> Ready:
    """As :func:`~hpcorch.services.setup.project.make_ready`, for all members of a group.

    :raises UnavailableError: the folder cannot be shared
    """
    _share_folder(project, group)
    ready = make_ready(project, client, force=force)
    access = Access(group=group, writes=True)
    for written in (made.path for made in ready.files if made.written):
        settle(written, access)
        if written.parent != project:
            give_folder(written.parent, access)
    _share_content(project, access)
    return ready


def _share_folder(project: Path, group: int) -> None:
    """Have the project's folder and its ``.hpcorch`` be the group's, before anything else is made there."""
    access = Access(group=group, writes=True)
    state = project / STATE_DIR
    try:
        make_folder(state, access=access)
        give_folder(state, access)
        give_project(project, group)
    except OSError as error:
        raise UnavailableError(
            f"{project} cannot be shared ({error.strerror}): see that the folder is yours and can be written to"
        ) from error
    if shared_with_us(state) != group:
        raise UnavailableError(
            f"{state} cannot be given to group {group_name(group)}: the file system does not keep groups and setgid"
            " bits, so no group can share a project there"
        )


def _share_content(project: Path, access: Access) -> None:
    """Give the group what is there already of this user's: ledger, snapshots, and the records of sweeps.

    The ledger and what lies beside it is for each member to write; a sweep's record is for its owner.
    """
    state = project / STATE_DIR
    scripts, ledger = scripts_folder(state / LEDGER_NAME), state / LEDGER_NAME
    for entry in sorted(state.iterdir()):
        if entry == scripts:
            give_folder(entry, access, kept=True)
            for directory in entry.iterdir():
                _give_all(directory, access.reading, directory)
        elif belongs_to_sweep(entry) or entry == digest_cache(state):
            _give_all(entry, access.reading, project)
        else:
            _give_all(entry, access, project)
    if ledger.exists():
        with Ledger.open(ledger) as found:
            sweeps = [one.sweep for one in found.sweeps()]
        for sweep in sweeps:
            if (layout := _own_record(found, sweep, project)) is not None:
                settle_way(layout.directory, project, access)
                _give_all(layout.state, access.reading, layout.directory)


def _own_record(ledger: Ledger, sweep: Sweep, project: Path) -> SweepLayout | None:
    """The record of a sweep of the project, wherever it is now, if it is this user's.

    A shared ledger may name anybody's, and this user's of another project: what lies outside has to say itself that
    it belongs to this one.
    """
    layout = readable_record(ledger, sweep)
    if layout is None or not is_own(sweep, layout):
        return None
    with suppress(OSError):
        if layout.directory.resolve().is_relative_to(project.resolve()):
            return layout
        created = creation_of(layout)
        return layout if created is not None and Path(created.project) == project else None
    return None


def closed_to_group(project: Path, group: int) -> list[Path]:
    """The folders on the way to a project that members of the group cannot enter."""
    return [folder for folder in project.parents if not _may_enter(folder, group)]


def _may_enter(folder: Path, group: int) -> bool:
    status = folder.stat()
    mask = stat.S_IXGRP if status.st_gid == group else stat.S_IXOTH
    return bool(status.st_mode & mask)


def _give_all(path: Path, access: Access, directory: Path) -> None:
    """Give the group a file, or a folder with everything in it.

    :param directory: of the sweep whose it is: the variables that were recorded for its submissions stay private
    """
    layout = SweepLayout(directory)
    private = {one.environment for one in (layout, *layout.set_aside_records())}
    if path.is_dir():
        give_tree(path, access, private=private)
    else:
        settle(path, PRIVATE if path in private else access)

"""Taking a sweep directory for a new sweep, and setting an earlier one's record aside."""

from __future__ import annotations

import os
from pathlib import Path

from hpcorch.journal.access import (
    PRIVATE,
    Access,
    give_folder,
    make_folder,
    make_output_folder,
    make_record_folder,
    narrow,
    open_new,
)
from hpcorch.journal.files import Confirm
from hpcorch.journal.layout import STATE_DIR, SUBMISSIONS, SweepLayout

_OWNED_BY_SWEEP = (
    *("asked", "launch-", ".launch-", "checkpoints", "control.jsonl", "journal", "logs", "results"),
    *("steps", SUBMISSIONS, "tasks", "tend.", "variables.json"),
)


def take(layout: SweepLayout, *, project: Path | None = None, access: Access = PRIVATE) -> None:
    """Take the sweep directory for a new sweep, by exclusive creation of its control journal.

    The folder may be there already: a project's ledger may lie in the same one.

    :param project: the folder whose ledger the sweep is in
    :param access: what the project's ``.hpcorch`` passes on
    :raises FileExistsError: another sweep owns the directory
    :raises OSError: it cannot be written
    """
    make_output_folder(layout.directory, access=access)
    settle_way(layout.directory, project, access)
    make_folder(layout.state, access=access.reading)
    os.close(open_new(layout.control, os.O_WRONLY | os.O_EXCL, access=access.reading))
    for folder in (layout.journals, layout.logs, layout.state / SUBMISSIONS):
        make_record_folder(folder)


def settle_way(directory: Path, project: Path | None, access: Access) -> None:
    """See to the folders that Hydra has made for the sweep, from the project's on: by the umask alone.

    None is wider than the project's own. In a project that a group shares, its members may enter them, and may make
    their own beside the sweep's, which nobody else then removes.
    """
    if directory == project:
        return
    top = directory.parent if project is None or not directory.is_relative_to(project) else project
    between = [path for path in directory.parents if path != top and path.is_relative_to(top)]
    if access.group is None:
        for folder in (*between, directory):
            narrow(folder, top)
        return
    for folder in (path for path in between if path.name != STATE_DIR):
        give_folder(folder, access, kept=True)
    give_folder(directory, access.reading)


def belongs_to_sweep(entry: Path) -> bool:
    """Whether something in a ``.hpcorch`` is a sweep's, and not a project's whose ledger lies in the same one."""
    return entry.name.startswith(_OWNED_BY_SWEEP)


def set_aside(layout: SweepLayout, confirm: Confirm) -> None:
    """Move the record of an earlier sweep out of the way, into a numbered folder beside the new one's.

    :param confirm: of the sweep's lock: what another sweep has put there meanwhile is not moved
    :raises LockLostError: the lock was taken over meanwhile
    """
    number = 1
    while (aside := layout.state / f"earlier-{number}").exists():
        number += 1
    make_folder(aside, exist_ok=False)
    # The control journal goes last: until then the directory is still owned.
    for entry in sorted(layout.state.iterdir(), key=lambda path: path == layout.control):
        if belongs_to_sweep(entry):
            confirm()
            entry.rename(aside / entry.name)

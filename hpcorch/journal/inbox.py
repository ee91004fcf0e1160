"""Sweeps that a ledger has not read yet: each is announced by a small file that names its directory.

What records a sweep where the ledger must not be opened, on a compute node or in a command that has to be quick,
announces it. Whoever opens the ledger next takes it over (:mod:`hpcorch.services.adoption.inbox`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hpcorch.journal.access import make_folder
from hpcorch.journal.files import read_regular, write_whole
from hpcorch.journal.layout import SweepLayout, inbox_folder


def announce(ledger: Path, sweep: str, layout: SweepLayout) -> None:
    """Announce a sweep, which is recorded in its directory, to the ledger.

    :param ledger: the ledger's file, which need not be there yet
    :raises OSError: it cannot be written
    """
    folder = inbox_folder(ledger)
    make_folder(folder)
    write_whole(folder / sweep, os.fsencode(layout.directory))


def announced(ledger: Path) -> Mapping[str, Path]:
    """The announced sweeps, the oldest first, with their directories; none where another user alone may look."""
    try:
        names = sorted(entry.name for entry in os.scandir(inbox_folder(ledger)) if not entry.name.startswith("."))
    except (FileNotFoundError, PermissionError):
        return {}
    found, folder = {}, inbox_folder(ledger)
    for name in names:
        try:
            found[name] = Path(os.fsdecode(read_regular(folder / name, within=folder)))
        except OSError:  # another process has just taken it over; or it is no announcement, but a FIFO, say
            continue
    return found


def taken_over(ledger: Path, sweep: str) -> None:
    """Withdraw the announcement: the ledger has the sweep."""
    (inbox_folder(ledger) / sweep).unlink(missing_ok=True)

"""Noting in a ledger that a sweep directory has another path now."""

from __future__ import annotations

import socket
from pathlib import Path

from hpcorch.ledger import Ledger
from hpcorch.model.events import DirectoryMoved
from hpcorch.users import own_name


def record_move(writer: Ledger, sweep: str, old: Path, new: Path) -> None:
    """Note that a folder was moved that a sweep's directory is, or lies below.

    :param writer: open for writing
    :param old: where it was, as the ledger has it
    """
    move = DirectoryMoved(old=str(old), new=str(new), user=own_name(), host=socket.gethostname())
    writer.record(sweep, move)

"""Tickets as files of one directory, and ages by the clock of the file server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hpcorch.journal.files import open_regular, open_undelegated, write_all
from hpcorch.resources.leases.tickets import Ticket, removable

# The directory says who may look. Nobody but its owner needs to write a ticket: to remove one takes the directory.
_MODE: Final = 0o644
_MOST_BYTES: Final = 1 << 16  # of some hundred


def scan(directory: Path, resource: str | None = None) -> set[Ticket]:
    """The tickets of a resource, or of all, that a listing shows; other files are none of ours.

    :raises OSError: the directory cannot be listed
    """
    found = (Ticket.parse(path.name) for path in directory.iterdir())
    return {ticket for ticket in found if ticket is not None and resource in (None, ticket.resource)}


def create(directory: Path, ticket: Ticket, owner: Mapping[str, Any]) -> None:
    """Put a ticket into the directory, with what is known of its owner and the server's time.

    :raises OSError: it cannot be written
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(directory / ticket.name, flags, _MODE)
    try:
        with suppress(PermissionError):  # some servers decide on modes themselves
            os.fchmod(descriptor, _MODE)
        _add_line(descriptor, {**owner, "drawn": os.fstat(descriptor).st_mtime})
    finally:
        os.close(descriptor)


def note_held(directory: Path, ticket: Ticket) -> None:
    """Write into an own ticket that it is served, for those who look.

    :raises OSError: it cannot be written
    """
    descriptor = open_undelegated(directory / ticket.name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    try:
        os.utime(descriptor)
        _add_line(descriptor, {"held": os.fstat(descriptor).st_mtime})
    finally:
        os.close(descriptor)


def _add_line(descriptor: int, content: Mapping[str, Any]) -> None:
    write_all(descriptor, json.dumps(content).encode() + b"\n")


def read(directory: Path, ticket: Ticket) -> tuple[dict[str, Any], os.stat_result]:
    """What a ticket says about its owner, if it was written, and the status of its file.

    :raises OSError: it cannot be read
    """
    content: dict[str, Any] = {}
    with open_regular(directory / ticket.name, within=directory) as file:
        for line in file.read(_MOST_BYTES).splitlines():
            with suppress(ValueError, TypeError, RecursionError):
                content.update(json.loads(line))
        return content, os.fstat(file.fileno())


def touch(directory: Path, ticket: Ticket) -> float:
    """Give a sign of life; the server's time of it.

    :raises OSError: it cannot be given; FileNotFoundError if the ticket was removed
    """
    path = directory / ticket.name
    os.utime(path, follow_symlinks=False)
    return path.lstat().st_mtime


def end(directory: Path, ticket: Ticket) -> None:
    """Give a ticket back. The name stays for a while, see lease.py.

    :raises OSError: it cannot be renamed; FileNotFoundError if it is gone
    """
    touch(directory, ticket)
    (directory / ticket.name).rename(directory / ticket.ended_name)


def is_gone(directory: Path, ticket: Ticket, now: float) -> bool:
    """Whether a ticket was given back, or its owner has given no sign of life for too long.

    :param now: the server's time
    :raises OSError: that cannot be told
    """
    try:
        if now - (directory / ticket.name).lstat().st_mtime <= ticket.passed_after_s:
            return False
        return now - _asked_anew(directory / ticket.name) > ticket.passed_after_s
    except FileNotFoundError:
        return True


def _asked_anew(path: Path) -> float:
    """The time of a file's last change. An NFS client may answer a stat from memory, but asks before it opens."""
    try:
        descriptor = open_undelegated(path, os.O_NOFOLLOW)
    except PermissionError:
        return path.lstat().st_mtime
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def sweep(directory: Path, seen: Iterable[Ticket], now: float) -> None:
    """Remove obsolete names. Those that cannot be removed are left to others.

    :param now: the server's time
    """
    ages: dict[Ticket, float] = {}
    for ticket in seen:
        with suppress(OSError):
            ages[ticket] = now - (directory / (ticket.ended_name if ticket.ended else ticket.name)).lstat().st_mtime
    for ticket in removable(ages):
        with suppress(OSError):
            if ticket.ended or is_gone(directory, ticket, now):
                (directory / (ticket.ended_name if ticket.ended else ticket.name)).unlink()

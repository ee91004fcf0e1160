"""Who holds leases and who waits for them, for reports; nothing here decides who is served."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.files import server_time
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.leases import ticket_files as files
from hpcorch.resources.leases.tickets import Ticket
from hpcorch.users import known_name

_OF_ONE_HOST = frozenset({"tmpfs", "ramfs", "devtmpfs", "overlay"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOwner:
    """One ticket, and whose it is.

    :param number: lower numbers are served first
    :param count: slots it takes
    :param capacity: slots there are, as its owner's profile says
    :param user: whose file the ticket is
    :param host: as are pid and run, None where the ticket does not say
    :param since: when it was served (of a holder), or drawn, by the file server's clock
    :param heartbeat_age_s: seconds since its last sign of life
    :param expired: that is too long ago: it counts no more, and its owner, if it lives, has lost it
    """

    resource: str
    number: int
    count: int
    capacity: int
    user: str | None
    host: str | None
    pid: int | None
    run: str | None
    since: datetime
    heartbeat_age_s: float
    expired: bool


def holders(directory: Path) -> list[LeaseOwner]:
    """Who holds slots of the resources that have their tickets in this directory, by resource and number.

    Exact where this user may write in the directory; otherwise ages are by this host's clock.

    :raises UsageError: there is no such directory, or this user may not look into it
    :raises UnavailableError: it cannot be listed for another reason
    """
    return _owners(directory, held=True)


def waiting(directory: Path) -> list[LeaseOwner]:
    """Who waits, likewise, in the order of being served.

    :raises UsageError: there is no such directory, or this user may not look into it
    :raises UnavailableError: it cannot be listed for another reason
    """
    return _owners(directory, held=False)


def sharing_problem(directory: Path) -> str | None:
    """Why a directory cannot be shared by a group over all nodes, with what to do; None if nothing is known."""
    if not directory.is_dir():
        return f"{directory} is not a folder: create it where all nodes see it"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"you cannot write in {directory}: its owner can `chgrp GROUP` and `chmod 2770` it"
    if not directory.stat().st_mode & 0o020:
        return f"only its owner may write in {directory}: `chgrp GROUP` and `chmod 2770` it to share the resource"
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    real = directory.resolve()
    kind = next((mounts[path] for path in (real, *real.parents) if path in mounts), None)
    if kind in _OF_ONE_HOST:
        return f"{directory} is on a file system that only this host sees ({kind}): name one that all nodes mount"
    return None


def _owners(directory: Path, *, held: bool) -> list[LeaseOwner]:
    try:
        tickets = [ticket for ticket in files.scan(directory) if not ticket.ended]
    except OSError as error:
        wrong = isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError))
        raise (UsageError if wrong else UnavailableError)(
            f"the leases in {directory} cannot be listed ({error.strerror}): check the folder, or `directory` in"
            " the site profile"
        ) from error
    if not tickets:
        return []
    try:
        now = server_time(directory)
    except OSError:
        now = time.time()
    found = []
    for ticket in sorted(tickets, key=lambda ticket: (ticket.resource, ticket.number)):
        with suppress(OSError):
            content, facts = files.read(directory, ticket)
            if ("held" in content) is held:
                found.append(_owner(ticket, content, facts, now))
    return found


def _text(said: Any) -> str | None:
    return said if type(said) is str else None


def _time(said: Any) -> datetime | None:
    with suppress(ValueError, TypeError, OverflowError, OSError):
        return datetime.fromtimestamp(said, tz=timezone.utc)
    return None


def _owner(ticket: Ticket, content: Mapping[str, Any], facts: os.stat_result, now: float) -> LeaseOwner:
    age = max(0.0, now - facts.st_mtime)
    return LeaseOwner(
        resource=ticket.resource,
        number=ticket.number,
        count=ticket.count,
        capacity=ticket.capacity,
        user=known_name(facts.st_uid) or _text(content.get("user")),
        host=_text(content.get("host")),
        pid=content["pid"] if type(content.get("pid")) is int else None,
        run=_text(content.get("run")),
        since=_time(content.get("held", content.get("drawn")))
        or datetime.fromtimestamp(facts.st_mtime, timezone.utc),
        heartbeat_age_s=age,
        expired=age > ticket.passed_after_s,
    )

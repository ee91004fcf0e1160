"""Who holds a lock, and what a file of it says."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

from hpcorch.model.ids import utc_now
from hpcorch.quick_dataclasses import dataclass
from hpcorch.users import own_name

# One block of a file system, so that a write over it is not seen in part.
LENGTH: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who made a file of a lock, as the file says.

    :param space: the kernel and the name space that the pid is of: elsewhere it says nothing
    :param start: when the process started, in the kernel's ticks: pids are given again
    :param token: unlike that of any other holding
    :param since: UTC time
    """

    host: str
    user: str
    space: str
    pid: int
    start: int
    token: str
    since: str

    @classmethod
    def this_process(cls) -> Holder:
        """This process, which begins to hold a lock."""
        pid = os.getpid()
        host, space, start = _place_of(pid)
        token, since = secrets.token_hex(8), utc_now()
        return cls(host=host, user=own_name(), space=space, pid=pid, start=start, token=token, since=since)

    @property
    def is_here(self) -> bool:
        """Whether its pid means here what it means there."""
        return self.space == _place_of(os.getpid())[1]

    @property
    def has_ended(self) -> bool:
        """Whether it is a process of this host that is no more."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's: whether /proc shows it is up to the administrator
            return _start_of(self.pid) not in {None, self.start}
        return _start_of(self.pid) != self.start

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"


@cache
def _place_of(pid: int) -> tuple[str, str, int]:
    """Of this process: its host, what tells pids of its kernel and name space from others, and its start."""
    host = socket.gethostname()
    try:
        names = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        names = host
    return host, f"{_text('/proc/sys/kernel/random/boot_id').strip()}/{names}", _start_of(pid) or 0


def _start_of(pid: int) -> int | None:
    """When a process started, in ticks since the kernel did; None if it runs no more."""
    # The name, in parentheses, may hold anything; 22nd is the start, 3rd the state (proc(5)).
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return None if not fields or fields[0] in "ZX" else int(fields[19])


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class LockState(Enum):
    """How a file says that the lock stands."""

    HELD = "held"
    FREE = "free"
    TORN = "torn"  # given back, while what it guards is still to be renewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file of a lock said when it was read.

    :param text: as it is: a change of it is a sign of life
    :param holder: None of a file whose maker died before it wrote, or is about to write
    :param state: None where the holder is None
    """

    text: bytes
    holder: Holder | None = None
    state: LockState | None = None

    @classmethod
    def parse(cls, text: bytes) -> Content:
        """What it says; nothing of a holder if it is none of ours."""
        try:
            found: Mapping[str, Any] = json.loads(text)
            holder = Holder(**found["holder"])
            if type(holder.pid) is int and 0 < holder.pid < 1 << 31:
                return cls(text=text, holder=holder, state=LockState(found["state"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        return cls(text=text)


def content_of(holder: Holder, state: LockState, *, beats: int) -> bytes:
    """What the holder writes.

    :param beats: how many signs of life it has given
    """
    parts = {name: getattr(holder, name) for name in Holder.__slots__}
    text = json.dumps({"holder": parts, "state": state.value, "beats": beats})
    return text.ljust(LENGTH - 1).encode() + b"\n"

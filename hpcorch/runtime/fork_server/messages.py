"""What a fork server and the process that it serves tell each other.

Each message is one packet of a Unix socket, JSON with its kind. With the wish for a fork go the descriptors of its
output.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from typing import Any, Final

from hpcorch.quick_dataclasses import dataclass

_MOST_BYTES: Final = 1 << 17
_MOST_DESCRIPTORS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """To the server: fork a process for this task.

    :param restart: which attempt of the run it is, in a packed task
    :param environ: variables that it gets beside the server's
    """

    kind = "fork"
    task: int
    restart: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From the server: the program has called its function."""

    kind = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """From the server, its last word: no run can be forked from the program.

    :param why: a part of a sentence, such as "it has started threads"
    """

    kind = "refused"
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """From the server: the task's process."""

    kind = "forked"
    task: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotForked:
    """From the server: there is no process for the task, such as where the user may have no more.

    :param error: errno(3)
    """

    kind = "not-forked"
    task: int
    error: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """From the server: the task's process has ended.

    :param returncode: its exit code, or the negative number of the signal that killed it
    """

    kind = "ended"
    task: int
    returncode: int


Message = Fork | Ready | Refused | Forked | NotForked | Ended
_KINDS: Mapping[str, type[Any]] = {one.kind: one for one in (Fork, Ready, Refused, Forked, NotForked, Ended)}


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel, which keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send a message, with open files.

    :raises OSError: the other side is gone
    """
    packet = json.dumps({"kind": message.kind, **asdict(message)}).encode()
    socket.send_fds(end, [packet], descriptors)


def receive(end: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for the next message; None if the other side has closed the channel, or is gone."""
    try:
        packet, descriptors, _, _ = socket.recv_fds(end, _MOST_BYTES, _MOST_DESCRIPTORS)
    except ConnectionError:
        return None
    if not packet:
        return None
    said = json.loads(packet)
    return _KINDS[said.pop("kind")](**said), descriptors

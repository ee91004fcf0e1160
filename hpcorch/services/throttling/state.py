"""What is known of a user's throttled arrays on one cluster: one file, replaced as a whole.

One file serves all resources, since one array may use several. It never promises less than Slurm may do: a limit
is written before it is raised, and after it was lowered.

A throttled array also carries what it uses in its comment, so that a lost file can be made again from what Slurm
has (:func:`tag`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.files import Confirm, read_regular, write_whole
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.shares import OWN

STATE_VARIABLE = "HPCORCH_STATE"
TAG = "hpcorch-throttle:"
_VERSION = 1
_USES = rf"(?:{OWN})?[\w.-]+=\d+"
_TAGGED = re.compile(rf"{TAG}(?P<units>{_USES}(?:,{_USES})*)(?:%(?P<bound>\d+))?(?:\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One array that shares throttled resources.

    :param job_id: the array's id
    :param token: its submission's; empty where it is not known
    :param units: resource -> how much each running element takes
    :param bound: the most elements that the user wants to run at once (``array_parallelism``); None is any number
    :param place: its sweep's place in the queue: the Unix time at which the sweep's oldest array here came
    :param begins_at: Unix time before which no element starts (``--begin``)
    :param limit: the most elements that Slurm may let run at once now; 0 while all that wait are held
    :param throttle: the ArrayTaskThrottle that Slurm was told last, at least 1
    :param uncertain: whether Slurm may not have been told yet
    :param held: whether elements may be held by us. What the user holds beside them is in ``kept``
    :param kept: indices that the user holds while we hold all
    :param idle_since: Unix time since which it has left part of its limit unused
    :param found: whether it was found in the queue, so that nobody knows who held it
    """

    job_id: str
    sweep: str
    directory: str
    submission: int
    units: Mapping[str, int]
    token: str = ""
    bound: int | None = None
    place: float = 0.0
    begins_at: float | None = None
    limit: int = 0
    throttle: int = 1
    uncertain: bool = False
    held: bool = True
    kept: tuple[int, ...] = ()
    idle_since: float | None = None
    found: bool = False

    @property
    def order(self) -> tuple[float, int]:
        """Sorts the oldest first."""
        return self.place, int(self.job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that is known.

    :param capacities: resource -> units, as the latest caller who knows the resource has it in its site profile
    :param complete: whether no array of ours that shares throttled resources can be missing
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    capacities: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False

    @property
    def limits(self) -> dict[str, int]:
        """Resource -> units; of what a sweep has to itself as much as the array says that has the lowest bound."""
        limits = dict(self.capacities)
        for entry in self.entries.values():
            for name in entry.units:
                if name.startswith(OWN) and entry.bound is not None:
                    limits[name] = min(entry.bound, limits.get(name, entry.bound))
        return limits

    @property
    def queue(self) -> list[Entry]:
        """The arrays, oldest first."""
        return sorted(self.entries.values(), key=lambda entry: entry.order)

    def with_entries(self, *entries: Entry) -> State:
        """The same with these in place of those of the same id."""
        return replace(self, entries={**self.entries, **{entry.job_id: entry for entry in entries}})


def state_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where a user's state lies: $HPCORCH_STATE, else ``hpcorch`` in $XDG_STATE_HOME or ~/.local/state."""
    environ = os.environ if environ is None else environ
    if named := environ.get(STATE_VARIABLE):
        return Path(named)
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or Path.home(), ".local", "state")
    return Path(home) / "hpcorch"


def own_of(sweep: str) -> str:
    """What the arrays of a sweep share among themselves: ``array_parallelism``, one unit a run."""
    return f"{OWN}{sweep}"


def tag(units: Mapping[str, int], bound: int | None) -> str:
    """What a throttled array has in its comment, beside the token: ``hpcorch-throttle:scratch_io=2,db=1%4``."""
    uses = ",".join(f"{name}={count}" for name, count in sorted(units.items()))
    return f"{TAG}{uses}" + ("" if bound is None else f"%{bound}")


def parse_tag(comment: str) -> tuple[dict[str, int], int | None] | None:
    """Read units and bound from a comment that :func:`tag` is in; None if it is not."""
    match = _TAGGED.search(comment)
    if match is None:
        return None
    units = {name: int(count) for name, _, count in (part.partition("=") for part in match["units"].split(","))}
    return units, int(match["bound"]) if match["bound"] else None


def read_state(path: Path, *, set_aside: Confirm | None = None) -> State:
    """Read the file. One that is absent or damaged gives an incomplete state.

    :param set_aside: give a damaged file another name, for somebody to look at, under the lock that this confirms
    :raises RecordError: a later version of hpcorch wrote it
    :raises UnavailableError: it cannot be read
    """
    with on_disk(path):
        try:
            content = read_regular(path, own=True)
        except FileNotFoundError:
            return State()
        state = _parse(path, content)
        if state is None and set_aside is not None:
            set_aside()
            path.replace(path.with_name(f"{path.name}.damaged"))
        return state or State()


def write_state(path: Path, state: State, confirm: Confirm) -> None:
    """Write the file, durably.

    :param confirm: of the lock that the caller holds
    :raises LockLostError: another process has it by now; nothing was written
    :raises UnavailableError: it cannot be written; the earlier one is as it was
    """
    body = json.dumps(
        {
            "entries": [asdict(entry) for entry in state.queue],
            "capacities": dict(state.capacities),
            "complete": state.complete,
        },
        sort_keys=True,
    )
    content = json.dumps({"version": _VERSION, "sha256": _digest(body), "state": body})
    with on_disk(path):
        write_whole(path, content.encode() + b"\n", confirm=confirm)


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Say what to do when a file cannot be read or written.

    :raises UnavailableError: it cannot
    """
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"the state of throttled arrays cannot be read or written at {error.filename or path}"
            f" ({error.strerror}): free space there, or name another folder with ${STATE_VARIABLE}, the same for"
            " all your sweeps"
        ) from error


def _parse(path: Path, content: bytes) -> State | None:
    """None if the content is damaged."""
    try:
        envelope = json.loads(content)
        version = envelope["version"]
        if isinstance(version, int) and version > _VERSION:
            raise RecordError(
                f"{path} was written by a later version of hpcorch (format {version}, this one knows {_VERSION}):"
                " use that version for all your sweeps on this cluster, or wait until its sweeps are over"
            )
        if envelope["sha256"] != _digest(envelope["state"]):
            return None
        body: dict[str, Any] = json.loads(envelope["state"])
        entries = [Entry(**{**one, "kept": tuple(one["kept"])}) for one in body["entries"]]
        return State(
            entries={entry.job_id: entry for entry in entries},
            capacities=body["capacities"],
            complete=body["complete"],
        )
    except (ValueError, KeyError, TypeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

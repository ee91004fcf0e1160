"""What attempts wrote: the part of a log file that is one attempt's own, read at once or followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpcorch import tunables
from hpcorch.errors import NotFoundError
from hpcorch.journal.files import open_regular
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptState
from hpcorch.services.json_values import attempt_name

_EXECUTED_NOTHING = (AttemptState.SKIPPED, AttemptState.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """An attempt's part of a log file, in bytes.

    :param end: where it ends; None of the last in its file, which may grow
    """

    run: int
    attempt: Attempt
    path: Path
    start: int
    end: int | None

    @property
    def name(self) -> str:
        """Which attempt: ``s0.r1``."""
        return attempt_name(self.attempt)


def find_part(
    run: Run, attempts: Sequence[Attempt], ends: Mapping[AttemptId, int], name: str | None = None
) -> LogPart:
    """The log of a run's latest attempt, or of the one that is named.

    :param attempts: the run's attempts, the earliest first, with the places where their logs are now
    :param ends: where parts end, as :meth:`hpcorch.ledger.store.Ledger.log_ends` has it
    :param name: such as ``s0.r1``
    :raises NotFoundError: there is no such attempt, or it has no log
    """
    attempt = _latest(attempts) if name is None else _named(run, attempts, name)
    if attempt is None:
        why = f": {run.reason}" if run.reason else ""
        raise NotFoundError(
            f"run {run.run} has no log yet, because no attempt of it has started ({run.state.value}{why})"
        )
    if attempt.log is None:
        raise NotFoundError(
            f"attempt {attempt_name(attempt)} of run {run.run} recorded no log file, because its output went"
            " elsewhere or it died before it could say"
        )
    return LogPart(
        run=run.run,
        attempt=attempt,
        path=Path(attempt.log),
        start=attempt.log_start or 0,
        end=_end(attempt, attempts, ends),
    )


def error_file(log: Path) -> Path | None:
    """The file of standard error beside a log, where ``stderr_to_stdout=false`` asked for one."""
    errors = log.with_suffix(".err")
    return errors if errors != log and errors.is_file() else None


def _latest(attempts: Sequence[Attempt]) -> Attempt | None:
    """The latest attempt that executed something; where none did, the latest."""
    executed = [attempt for attempt in attempts if attempt.state not in _EXECUTED_NOTHING]
    return next(reversed(executed or list(attempts)), None)


def _named(run: Run, attempts: Sequence[Attempt], name: str) -> Attempt:
    for attempt in attempts:
        if attempt_name(attempt) == name:
            return attempt
    known = ", ".join(map(attempt_name, attempts)) or "none yet"
    raise NotFoundError(f"run {run.run} has no attempt {name!r}; its attempts are {known}")


def _end(attempt: Attempt, attempts: Sequence[Attempt], ends: Mapping[AttemptId, int]) -> int | None:
    """Where the attempt's part ends: where the next attempt began in the same file; None if none did.

    Not where its work ended: what runs as the process leaves, such as an exit hook, writes after that. Attempts of
    this run that never began have a log, too, of which the ledger does not know.
    """
    if attempt.id in ends:
        return ends[attempt.id]
    start = attempt.log_start or 0
    later = [
        a.log_start for a in attempts if a.log == attempt.log and a.log_start is not None and a.log_start > start
    ]
    return min(later, default=None)


def read_part(part: LogPart, *, lines: int | None = None) -> Iterator[bytes]:
    """The bytes of a part as they are now, in blocks.

    :param lines: only the last so many lines
    :raises NotFoundError: the file cannot be read
    """
    with _open(part) as file:
        size = file.seek(0, os.SEEK_END)
        end = size if part.end is None else min(part.end, size)
        start = part.start if lines is None else _start_of_last(file, part.start, end, lines)
        yield from _blocks(file, start, end)


def _open(part: LogPart) -> IO[bytes]:
    try:
        return open_regular(part.path)
    except OSError as error:
        raise NotFoundError(
            f"the log {part.path} of run {part.run} cannot be read ({error.strerror}): it was moved or deleted, or"
            " belongs to another user"
        ) from error


def _blocks(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    left = end - start
    while left > 0 and (block := file.read(min(tunables.LOG_BLOCK_BYTES, left))):
        left -= len(block)
        yield block


def _start_of_last(file: IO[bytes], start: int, end: int, lines: int) -> int:
    """Where the last so many lines before ``end`` begin, looking from the end."""
    if lines <= 0:
        return end
    position, wanted = end - 1, lines  # the newline that ends the last line begins no further one
    while position > start:
        low = max(start, position - tunables.LOG_BLOCK_BYTES)
        file.seek(low)
        block = file.read(position - low)
        for offset in range(len(block) - 1, -1, -1):
            if block[offset] == ord("\n"):
                wanted -= 1
                if not wanted:
                    return low + offset + 1
        position = low
    return start


@dataclass(slots=True)
class _Followed:
    """How far one run's output has been shown."""

    attempt: str | None = None
    position: int = 0
    over: bool = False


def follow(
    look: Callable[[], Sequence[tuple[Run, Sequence[Attempt], Mapping[AttemptId, int]]]],
    pause: Callable[[bool], None],
    *,
    lines: int | None = None,
) -> Iterator[tuple[LogPart, bytes]]:
    """What runs write, as they write it, attempt after attempt, until all of them are over and write no more.

    A process writes on for a moment after its run is over, in exit hooks: a run is left only after a look at which
    it was over and had nothing new.

    :param look: the runs and their attempts as they are now, and where parts of logs end
    :param pause: waits before the next look; told whether there was anything new
    :param lines: begin with the last so many lines of what is there
    """
    followed: dict[int, _Followed] = {}
    first = True
    while True:
        news = False
        for run, attempts, ends in look():
            state = followed.setdefault(run.run, _Followed())
            seen = (state.attempt, state.position)
            for part, block in _new_output(run, attempts, ends, state, lines if first else None):
                news = True
                yield part, block
            state.over = run.state.is_final and seen == (state.attempt, state.position)
        if all(state.over for state in followed.values()):
            return
        first = False
        pause(news)


def _new_output(
    run: Run, attempts: Sequence[Attempt], ends: Mapping[AttemptId, int], state: _Followed, lines: int | None
) -> Iterator[tuple[LogPart, bytes]]:
    if state.over:
        return
    for part in _parts_since(run, attempts, ends, state.attempt):
        if part.name != state.attempt:
            state.attempt, state.position = part.name, part.start
        try:
            with _open(part) as file:
                size = file.seek(0, os.SEEK_END)
                end = size if part.end is None else min(part.end, size)
                start = state.position if lines is None else _start_of_last(file, state.position, end, lines)
                for block in _blocks(file, start, end):
                    yield part, block
        except NotFoundError:
            continue  # a network file system may show the file later than the journal
        state.position = max(end, state.position)


def _parts_since(
    run: Run, attempts: Sequence[Attempt], ends: Mapping[AttemptId, int], name: str | None
) -> list[LogPart]:
    """The part that is followed and those of later attempts; the latest if none is followed yet."""
    written = [a for a in attempts if a.log is not None and a.state not in _EXECUTED_NOTHING]
    names = [attempt_name(attempt) for attempt in written]
    since = names[names.index(name) :] if name in names else names[-1:]
    return [find_part(run, attempts, ends, later) for later in since]

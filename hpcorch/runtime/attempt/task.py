"""One task of a job array: rank 0 claims the run's attempt and executes it, and the other ranks go along.

Rank 0 alone journals, makes the run's directory and reports the result, since a directory and a set of logs
for each rank is what users of MPI and torch.distributed under Hydra suffer from.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import DriftError, HpcorchError
from hpcorch.journal.files import open_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import DamagedLineError, unseal
from hpcorch.model.events import AttemptCalled, AttemptEnded
from hpcorch.model.ids import parse_ranges
from hpcorch.model.processes import RUNTIME, SERVE
from hpcorch.runtime.attempt.ends import stopped
from hpcorch.runtime.attempt.function import FunctionWork
from hpcorch.runtime.attempt.lifecycle import Attempt, NoJournal
from hpcorch.runtime.context.claim import claim
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place, find_place
from hpcorch.runtime.context.signals import SignalOwner, Stopped, end_group_of_orphan, end_with_parent
from hpcorch.runtime.context.startup_signals import release_signals

_EXIT_FAILED = 1


def execute_task(argv: Sequence[str] | None = None) -> int:
    """Execute what the command line and the environment name; the exit code."""
    arguments = parser().parse_args(argv)
    # Set by the script so that a file in the working directory cannot shadow a module of ours; the user's own
    # subprocesses must not inherit it.
    os.environ.pop("PYTHONSAFEPATH", None)
    signals = SignalOwner()
    signals.install()
    release_signals()
    parent = end_with_parent() if arguments.task is not None else None
    layout = SweepLayout(arguments.sweep_dir, moves=tuple(map(tuple, arguments.moved)))
    try:
        if arguments.sweep is not None:
            check_directory(layout, arguments.sweep)
        place = find_place(
            layout,
            launch=arguments.launch,
            submission=arguments.submission,
            runs=arguments.runs,
            environ=os.environ,
            array_task=arguments.task,
            job_id=arguments.job_id,
            restart=arguments.restart,
        )
        return _lead(place, signals) if place.rank == 0 else _follow(place, signals)
    except HpcorchError as error:
        say(str(error))
        return error.exit_code
    finally:
        if parent is not None:
            end_group_of_orphan(parent)


def parser() -> argparse.ArgumentParser:
    """Of the command line of a task, and of a fork server."""
    parser = argparse.ArgumentParser(prog=f"python -m {RUNTIME}", description="Execute one task of a submission.")
    parser.add_argument("sweep_dir", type=Path, help="the sweep directory")
    parser.add_argument("--sweep", help="its sweep's id: nothing is done in a directory that another one has")
    parser.add_argument("--moved", type=Path, nargs=2, action="append", default=[], help="a folder: old, new place")
    parser.add_argument("--launch", type=int, required=True, help="first run of the launch")
    parser.add_argument("--submission", type=int, required=True, help="number of the submission")
    parser.add_argument("--runs", type=parse_ranges, required=True, help="run indices, array index 0 first")
    parser.add_argument("--task", type=int, help="array index, if no scheduler sets one")
    parser.add_argument("--restart", type=int, help="which attempt of the run this is, if a packed task starts it")
    parser.add_argument("--job-id", help="job id, if no scheduler sets one")
    parser.add_argument(SERVE, type=int, help="be a fork server, with its channel at this descriptor")
    return parser


def check_directory(layout: SweepLayout, sweep: str) -> None:
    """Refuse to write where another sweep's record is, or none: the directory was exchanged or deleted.

    :raises DriftError: it was
    """
    try:
        with open_regular(layout.control) as file:
            found = unseal(file.readline()).get("sweep")
    except (FileNotFoundError, NotADirectoryError):
        raise DriftError(
            f"sweep {sweep} is not in {layout.directory}: it was deleted or moved, and nothing was executed"
        ) from None
    except (OSError, DamagedLineError):
        return  # whose it is cannot be told; what is frozen is compared by its digests
    if found != sweep:
        raise DriftError(f"{layout.directory} is the directory of sweep {found}, and not {sweep}'s any more")


def _lead(place: Place, signals: SignalOwner) -> int:
    """As rank 0, execute the attempt.

    :raises RecordError: another process has claimed this attempt, and nothing was done; or the end is not recorded
    """
    with claim(place) as journal:
        work = FunctionWork(place, signals, journal)
        return Attempt(place=place, journal=journal, signals=signals, work=work).execute().exit_code


def _follow(place: Place, signals: SignalOwner) -> int:
    """As another rank, execute it when rank 0 calls the function."""
    from hpcorch.runtime.context.ranks import leader_said  # most runs have one rank

    work = FunctionWork(place, signals, None)
    try:
        with signals.stops_raise():
            said = leader_said(place, AttemptCalled, AttemptEnded)
    except Stopped as stop:
        end = stopped(stop.name)
        work.leave(end, requeued=False)
        return end.exit_code
    if said is None:
        say(f"rank {place.rank} heard nothing from rank 0 for {tunables.LEADER_WAIT_S:g} s and ends")
        return _EXIT_FAILED
    if isinstance(said, AttemptEnded):
        return said.exit_code
    return Attempt(place=place, journal=NoJournal(), signals=signals, work=work).execute().exit_code

"""What a keeper job does: ``python -m hpcorch.services.tending.keeper SWEEP_DIR --submission N``.

It looks after one sweep when the array of one submission is over. Compute nodes never open the project's ledger,
so it makes one of its own from the sweep directory, in the node's folder for temporary files, and throws it away.
It stays until the array's runs are settled and what is to be run again is submitted, or until its time is over:
sacct may be late, and a refused submission is tried again later. The next array has a keeper of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError, RecordError, UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.ledger import Ledger
from hpcorch.model.ids import utc_now
from hpcorch.model.processes import KEEPER
from hpcorch.model.states import WITH_SLURM
from hpcorch.runtime.context.signals import exit_on_termination
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.tend import look_after
from hpcorch.services.tending.tend_result import TendResult
from hpcorch.services.tending.wait import Pauses
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient


def main(arguments: Sequence[str] | None = None) -> int:
    """Look after a sweep; the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {KEEPER}", description=__doc__)
    parser.add_argument("directory", type=Path, help="the sweep directory")
    parser.add_argument("--moved", type=Path, nargs=2, action="append", default=[], help="a folder: old, new place")
    parser.add_argument("--submission", type=int, required=True, help="the submission whose array is over")
    given = parser.parse_args(arguments)
    exit_on_termination()
    try:
        with tempfile.TemporaryDirectory(prefix="hpcorch-keeper-") as folder:
            layout = SweepLayout(given.directory, moves=tuple(map(tuple, given.moved)))
            keep(layout, given.submission, slurm_client(), Path(folder) / "ledger.db")
    except HpcorchError as error:
        _say(str(error))
        return error.exit_code
    return 0


def keep(layout: SweepLayout, submission: int, client: SlurmClient, ledger_path: Path) -> None:
    """Stay until the submission's runs are settled and everything that is to be run again is submitted.

    :param ledger_path: of the ledger to be made
    :raises RecordError: there is no sweep in the directory
    :raises UnavailableError: the time is over, and something is left to be done
    """
    sweep = owner(layout)
    if sweep is None:
        raise RecordError(f"there is no record of a sweep in {layout.directory}: it was moved or deleted")
    pauses = Pauses(first_s=tunables.KEEPER_PAUSES_S[0], limit_s=tunables.KEEPER_PAUSES_S[1])
    deadline = time.monotonic() + tunables.KEEPER_STAY_S
    with Ledger.open(ledger_path, write=True, create=True, alone=True) as ledger:
        reconciler = Reconciler(ledger, ControlJournal(layout, sweep))
        while not _is_settled(reconciler, submission, client):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"runs of sweep {sweep} stay as they are, since Slurm did not answer about them in time:"
                    " `hpcorch tend` goes on with it"
                )
            time.sleep(pauses.take())


def _is_settled(reconciler: Reconciler, submission: int, client: SlurmClient) -> bool:
    """Look after the sweep once; whether nothing is left to be done."""
    try:
        done = look_after(reconciler, client, patience_s=tunables.LOCK_WAIT_S)
    except UnavailableError as error:
        _say(str(error))
        return False
    for sentence in done.sentences:
        _say(sentence)
    return _is_over(reconciler, submission) and _is_done(reconciler, done)


def _is_over(reconciler: Reconciler, submission: int) -> bool:
    alive = reconciler.ledger.runs(reconciler.sweep, states=WITH_SLURM)
    return not any(run.submission == submission for run in alive)


def _is_done(reconciler: Reconciler, done: TendResult) -> bool:
    """Whether nothing is left, or nothing but runs for which there is room when another array ends."""
    if any(error.transient for error in done.troubles):
        return False
    awaited = reconciler.ledger.runs(reconciler.sweep, indices=list(done.awaited))
    goes_on = not WITH_SLURM.isdisjoint(reconciler.ledger.counts(reconciler.sweep))
    return not any(run.submission is not None or not goes_on for run in awaited)


def _say(sentence: str) -> None:
    sys.stderr.write(f"{utc_now()} hpcorch keeper: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())

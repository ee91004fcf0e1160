"""``hpcorch.collect``: the results of a detached sweep, as the launcher would have returned them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.errors import NotFoundError, RecordError, UnavailableError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest_file import read_all
from hpcorch.journal.project_search import find_ledger
from hpcorch.launcher.results import LaunchResults
from hpcorch.ledger import LAST, Ledger, find_own_record
from hpcorch.services.tending.refresh import bring_up_to_date

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


def collect(
    sweep: str = LAST, ledger: str | os.PathLike[str] | None = None, *, refresh: bool = False
) -> list[list[JobReturn]]:
    """The results of a sweep: for each launch, in order, one JobReturn for each run, as the launcher returns them.

    For a completed run, ``return_value`` is what the task returned. For a failed run it raises the error. For a run
    that is not over it is a handle that has the state of the run.

    :param sweep: its id, the beginning of it, or ``last``
    :param ledger: the ledger's file; by default $HPCORCH_LEDGER, else the nearest one walking up
    :param refresh: ask Slurm about runs that are not over; otherwise only journals are read
    :raises NotFoundError: there is no such sweep or ledger
    :raises RecordError: the sweep directory is gone or another user's, or a result cannot be read back here
    :raises UnavailableError: Slurm was to be asked and did not answer
    """
    path = Path(ledger) if ledger is not None else find_ledger(Path.cwd())
    if path is None:
        raise NotFoundError(
            f"there is no ledger in {Path.cwd()} or above: name it, as in collect(sweep, ledger=path)"
        )
    with Ledger.open(path) as found:
        summary = found.sweep(sweep)
        look = bring_up_to_date(found, [summary], refresh=refresh)
        if look.exit_code:
            raise UnavailableError("; ".join(look.notices))
        layout = find_own_record(found, summary.sweep)
        return [
            _results(layout, layout.manifest(launch.first_run)).read(found)
            for launch in found.launches(summary.sweep.id)
        ]


def _results(layout: SweepLayout, manifest: Path) -> LaunchResults:
    try:
        header, bases, runs = read_all(manifest)
    except OSError as error:
        raise RecordError(
            f"the manifest {manifest} cannot be read ({error.strerror}): results are rebuilt"
            " from the sweep directory, which was moved or deleted"
        ) from error
    return LaunchResults(layout=layout, header=header, bases=bases, runs=runs)

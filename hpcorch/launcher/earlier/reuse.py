"""Taking over the results of runs that have completed with the same code, configuration and seed."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hpcorch.errors import HpcorchError, RecordError, UnavailableError
from hpcorch.journal.access import make_record_folder
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestRun
from hpcorch.ledger import Ledger, find_own_record
from hpcorch.model.events import RunReused
from hpcorch.model.seeds import SeedSource
from hpcorch.model.values import digest
from hpcorch.runtime.attempt.results import result_file
from hpcorch.services.reports.outcomes import Outcome, read_outcomes

log = logging.getLogger(__name__)


def taken_over(ledger: Ledger, layout: SweepLayout, runs: Sequence[ManifestRun]) -> list[RunReused]:
    """What is known already of these runs, copied into their sweep.

    A result whose record is gone, with its sweep directory, is not taken over: the run is executed.

    :param layout: of the sweep that the runs belong to; files are written there
    :raises UnavailableError: it cannot be written
    """
    try:
        return _taken_over(ledger, layout, runs)
    except OSError as error:
        raise UnavailableError(
            f"results of earlier runs cannot be copied into {layout.state} ({error.strerror}): free space or inodes"
            " there; nothing was submitted"
        ) from error


def warn_of_derived_seeds(runs: Sequence[ManifestRun], root_seed: int) -> None:
    """Say how results can be taken over next time, if seeds of these runs come from a root seed that was drawn."""
    if any(run.seed_source == SeedSource.DERIVED.value for run in runs):
        log.warning(
            "hydra.launcher.needed=true cannot reuse a run whose seed is derived, because each sweep draws another"
            " root seed: fix it with hydra.launcher.seed=%d",
            root_seed,
        )


def _taken_over(ledger: Ledger, layout: SweepLayout, runs: Sequence[ManifestRun]) -> list[RunReused]:
    known = ledger.completed(run.key for run in runs if run.key)
    wanted: dict[str, set[int]] = defaultdict(set)
    for sweep, index in known.values():
        wanted[sweep].add(index)
    found: dict[tuple[str, int], tuple[SweepLayout, Outcome]] = {}
    for sweep, indices in wanted.items():
        found.update(_outcomes(ledger, sweep, sorted(indices)))
    reused = (_copied(layout, run, known, found) for run in runs if run.key in known)
    return [fact for fact in reused if fact is not None]


def _outcomes(
    ledger: Ledger, sweep: str, indices: Sequence[int]
) -> dict[tuple[str, int], tuple[SweepLayout, Outcome]]:
    try:
        layout = find_own_record(ledger, ledger.sweep(sweep).sweep)
        outcomes = read_outcomes(ledger, layout, sweep, indices)
    except (HpcorchError, OSError):
        return {}
    return {(sweep, outcome.run.run): (layout, outcome) for outcome in outcomes}


def _copied(
    layout: SweepLayout,
    run: ManifestRun,
    known: Mapping[str, tuple[str, int]],
    found: Mapping[tuple[str, int], tuple[SweepLayout, Outcome]],
) -> RunReused | None:
    sweep, index = known[run.key]
    source, outcome = found.get((sweep, index), (None, None))
    if source is None or outcome is None or outcome.end is None:
        return None
    end = outcome.end
    file = result_digest = None
    if end.result_file is not None:
        try:
            content = result_file(end, source)
        except (OSError, RecordError):
            return None
        path = layout.results / f"{run.run}.reused.pkl"
        make_record_folder(layout.results)
        write_whole(path, content)
        file, result_digest = layout.relative(path), digest(content)
    return RunReused(
        run=run.run,
        of=outcome.run.reused_from or f"{sweep}/{index}",
        key=run.key,
        result=end.result,
        result_pickle=end.result_pickle,
        result_file=file,
        result_digest=result_digest,
        working_dir=end.working_dir,
        task_name=end.task_name,
    )

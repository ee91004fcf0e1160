"""What ``needed=true`` says: how many results were taken over and, of the other runs, what is not as it was."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError
from hpcorch.journal.archives import open_archive
from hpcorch.journal.manifest import ManifestRun, SnapshotPlace
from hpcorch.journal.snapshots import Entry, printable
from hpcorch.ledger.store import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.events import CodeFrozen
from hpcorch.model.value_text import agreeing, counted

_NAMED = 5


def reuse_told(ledger: Ledger, runs: Sequence[ManifestRun], code: SnapshotPlace, *, reused: Collection[int]) -> str:
    """What is to be said of the results of a launch that were taken over, and of those that were not.

    :param runs: of the launch
    :param code: that they are executed with
    :param reused: the runs that took over a result
    """
    total, others = len(runs), [run for run in runs if run.run not in reused]
    if not reused:
        none = f"None of {counted(total, 'run')} has completed before"
        return f"{none} with the same code, configuration and seed: {_cause(ledger, others, code)}"
    taken = agreeing(len(reused), "has completed before; its result is", "have completed before; their results are")
    told = f"{len(reused)} of {counted(total, 'run')} {taken} reused"
    rest = agreeing(len(others), "Of the other one", f"Of the other {len(others)}")
    return f"{told}. {rest}, {_cause(ledger, others, code)}" if others else told


def _cause(ledger: Ledger, runs: Sequence[ManifestRun], code: SnapshotPlace) -> str:
    wanted = {run.config_digest: run for run in runs[: tunables.REUSE_LOOKED_AT]}
    alike = [(run, wanted[run.config_digest]) for run in ledger.completed_with_config(wanted)]
    if not alike:
        return "no completed run has such a configuration"
    before, now = next((pair for pair in alike if pair[0].seed == pair[1].seed), alike[0])
    unknown = wanted.keys() - {run.config_digest for run, _ in alike}
    new = f"; {len(unknown)} configurations are new" if len(unknown) > 1 else "; 1 configuration is new"
    return f"{_difference(ledger, before, now, code)}{new if unknown else ''}"


def _difference(ledger: Ledger, before: Run, now: ManifestRun, code: SnapshotPlace) -> str:
    name = f"{before.sweep}/{before.run}"
    if before.key and before.key == now.key:
        return f"{name} is the same as run {now.run}, but its result can no longer be read"
    if before.seed != now.seed:
        return f"{name} has the configuration of run {now.run}, but the seed {before.seed} instead of {now.seed}"
    return (
        f"{name} has the configuration and seed of run {now.run}, but other code: {_changes(ledger, before, code)}"
    )


def _changes(ledger: Ledger, before: Run, code: SnapshotPlace) -> str:
    facts = ledger.facts(before.sweep, CodeFrozen)
    earlier = (one for one in facts if isinstance(one, CodeFrozen) and one.launch == before.launch)
    return changes_of_code(next(earlier, None), code)


def changes_of_code(earlier: CodeFrozen | None, code: SnapshotPlace) -> str:
    """What is other in the code than it was, as the end of a sentence.

    :param earlier: None if that is not on record
    """
    unknown = "its snapshot can no longer be read, so nobody knows which files differ"
    if earlier is None:
        return unknown
    try:
        files = _files(earlier.archive, earlier.digest), _files(code.archive, code.digest)
    except HpcorchError:
        return unknown
    found = list(_differences(*files))
    more = len(found) - _NAMED
    named = ", ".join(found[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    is_new = any(path not in files[0] for path in files[1])
    return f"since then {named}{'; list in .gitignore what is no code' if is_new else ''}"


def _files(archive: str, digest: str) -> dict[str, Entry]:
    return {entry.path: entry for entry in open_archive(Path(archive), digest).entries}


def _differences(before: Mapping[str, Entry], now: Mapping[str, Entry]) -> Iterator[str]:
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            word = "was added" if path not in before else "was removed" if path not in now else "was changed"
            yield f"{printable(path)} {word}"

"""Which sweeps are reruns, and of what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from hpcorch.errors import NotFoundError
from hpcorch.ledger import Ledger
from hpcorch.model.events import Fact, RerunPlanned
from hpcorch.model.ids import named_runs


def rerun_of(ledger: Ledger, sweep: str) -> RerunPlanned | None:
    """What a sweep reruns; None if it is no rerun."""
    return find_rerun(ledger.facts(sweep, RerunPlanned))


def find_rerun(facts: Iterable[Fact]) -> RerunPlanned | None:
    """The one of these facts that says what is rerun; None if none does."""
    return next((fact for fact in facts if isinstance(fact, RerunPlanned)), None)


def rerun_as_plain(rerun: RerunPlanned | None) -> dict[str, Any] | None:
    """As JSON-able data."""
    return None if rerun is None else {"of": rerun.of, "changed": list(rerun.changed)}


def rerun_text(rerun: RerunPlanned) -> str:
    """As a person reads it."""
    changed = f", with {' '.join(rerun.changed)}" if rerun.changed else ""
    return f"rerun of sweep {rerun.of}{changed}"


def ancestors(ledger: Ledger, sweep: str) -> Iterator[str]:
    """The sweep that a sweep reruns, the one that this one reruns, and so on."""
    seen = {sweep}
    with suppress(NotFoundError):  # of a sweep that this ledger does not have, nothing more is known
        while (rerun := rerun_of(ledger, sweep)) is not None and rerun.of not in seen:
            sweep = rerun.of
            seen.add(sweep)
            yield sweep


RunName = tuple[str, int]


def stand_ins(ledger: Ledger, names: Iterable[RunName]) -> dict[RunName, RunName]:
    """Of some runs, those that others of them repeat -> the last that does."""
    by_sweep: dict[str, set[int]] = {}
    for sweep, run in names:
        by_sweep.setdefault(sweep, set()).add(run)
    found: dict[RunName, RunName] = {}
    for sweep in sorted(by_sweep):  # ids begin with the time
        for repeated in ancestors(ledger, sweep):
            found.update({(repeated, run): (sweep, run) for run in by_sweep[sweep] & by_sweep.get(repeated, set())})
    return found


def stand_in_texts(found: Mapping[RunName, RunName]) -> Iterator[str]:
    """Sentences that say which runs are left out for which."""
    pairs: dict[tuple[str, str], list[int]] = {}
    for (repeated, run), (sweep, _) in found.items():
        pairs.setdefault((sweep, repeated), []).append(run)
    for (sweep, repeated), runs in sorted(pairs.items()):
        yield f"left out: {named_runs(sorted(runs))} of sweep {repeated}, repeated by its rerun {sweep}"

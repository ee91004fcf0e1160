"""Answers with evidence: what produced a result, and whether everything is as it was recorded.

Compared are the ledger's chain and tables with its events, journals and manifests with those events, and files
with the digests that events have of them. What agrees was not changed by a fault, nor by a hand that did not forge
the rest, too; against one that did, a published anchor helps (:mod:`hpcorch.services.audit.anchors`).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import HpcorchError, RecordGoneError
from hpcorch.ledger import Ledger, SweepSummary, find_record
from hpcorch.model.entities import Attempt, Run, Sweep
from hpcorch.model.events import LaunchPlanned, RerunPlanned
from hpcorch.provenance.environment.record import Environment
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.audit.anchors import Anchor, anchor_of, examine_anchors
from hpcorch.services.audit.checkpoints import examine_checkpoints, examine_restores
from hpcorch.services.audit.environments import examine_environments
from hpcorch.services.audit.evidence import Evidence, Place, find_place, gather
from hpcorch.services.audit.files import examine_files
from hpcorch.services.audit.findings import Examination, Finding, Severity, gravest_first
from hpcorch.services.audit.journals import examine_journals, examine_stored
from hpcorch.services.audit.runs import (
    RunAudit,
    examine_commands,
    examine_drift,
    examine_frozen,
    examine_hardware,
    examine_identity,
    inputs_of,
    stories_of,
)
from hpcorch.services.json_values import counts_as_plain, origin_as_plain
from hpcorch.services.reports.reruns import find_rerun, rerun_as_plain
from hpcorch.services.selection.selectors import Selector, select_runs
from hpcorch.services.tending.refresh import bring_up_to_date

# What an event that was altered makes of the code that reads it.
_UNREADABLE = (HpcorchError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAudit:
    """What was found about one sweep, and the story of each audited run.

    :param directory: where its record is; None if it is gone
    :param environments: digest of a record -> what it says
    :param rerun: what it reruns, if it is a rerun
    :param added: launches by which `hpcorch extend` has added runs
    """

    summary: SweepSummary
    directory: str | None
    environments: Mapping[str, Environment]
    runs: Sequence[RunAudit]
    rerun: RerunPlanned | None = None
    added: Sequence[LaunchPlanned] = ()

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        sweep = self.summary.sweep
        return {
            "sweep": sweep.id,
            "name": sweep.name,
            "created_at": sweep.created_at,
            "user": sweep.user,
            "host": sweep.host,
            "backend": sweep.backend.value,
            **origin_as_plain(sweep),
            "directory": sweep.directory,
            "record": self.directory,
            "counts": counts_as_plain(self.summary.counts),
            "rerun": rerun_as_plain(self.rerun),
            "added": [{"first_run": one.first_run, "count": one.count, "argv": one.argv} for one in self.added],
            "environments": {name: one.as_plain() for name, one in self.environments.items()},
            "runs": [run.as_plain() for run in self.runs],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """An audit.

    :param anchor: of the ledger; None if it cannot be read
    :param findings: the gravest first
    :param intact: kind of thing, as "task file" -> how many are as they were recorded
    :param notices: sentences on what could not be brought up to date
    """

    ledger: Path
    anchor: Anchor | None
    sweeps: Sequence[SweepAudit]
    findings: Sequence[Finding]
    intact: Mapping[str, int]
    notices: Sequence[str]

    @property
    def exit_code(self) -> int:
        """1 if something is graver than a note."""
        return int(any(finding.severity is not Severity.NOTE for finding in self.findings))

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "ledger": str(self.ledger),
            "anchor": None if self.anchor is None else str(self.anchor),
            "findings": [finding.as_plain() for finding in self.findings],
            "intact": {f"{kind}s": count for kind, count in self.intact.items()},
            "sweeps": [sweep.as_plain() for sweep in self.sweeps],
            "notices": list(self.notices),
        }


def audit(
    ledger: Ledger,
    selectors: Sequence[Selector] | None,
    *,
    against: Sequence[Anchor] = (),
    places: Callable[[Sweep], Place | None] | None = None,
    before: Iterable[Finding] = (),
) -> Audit:
    """Audit the ledger, and the selected runs with all their files.

    :param selectors: None for all sweeps
    :param against: anchors that were published earlier
    :param places: finds the record of a sweep; None looks where each sweep was made, and first takes over what its
        journals have new
    :param before: what was found already
    :raises NotFoundError: no sweep or run is selected
    """
    whole = Examination()
    for finding in ledger.check(deep=True, processes=min(os.cpu_count() or 1, tunables.CHECKING_PROCESSES)):
        whole.error(f"ledger {finding.kind.value}", finding.text)
    damaged = bool(whole.findings)
    whole.findings.extend(before)
    chosen: list[tuple[SweepSummary, Selector]] = []
    with _surviving(whole, damaged=damaged):
        chosen = _chosen(ledger, selectors)
    look_up = places or partial(find_place, ledger)
    notices: Sequence[str] = ()
    if places is None and not damaged:  # a damaged ledger is left unchanged, so that it can be examined
        notices = bring_up_to_date(ledger, [summary for summary, _ in chosen]).notices
    anchor = None
    with _surviving(whole, damaged=damaged):
        anchor = anchor_of(ledger)
        examine_anchors(ledger, against, whole)
        whole.intact["event"] = 0 if damaged else anchor.events
    exams, sweeps = [whole], []
    for summary, selector in chosen:
        exam = Examination(sweep=summary.sweep.id)
        exams.append(exam)
        with _surviving(exam, damaged=damaged):
            sweeps.append(_audit_sweep(ledger, summary.sweep, selector, look_up, exam))
    return Audit(
        ledger=ledger.path,
        anchor=anchor,
        sweeps=sweeps,
        findings=gravest_first([finding for exam in exams for finding in exam.findings]),
        intact=sum((exam.intact for exam in exams), Counter[str]()),
        notices=notices,
    )


@contextmanager
def _surviving(exam: Examination, *, damaged: bool) -> Iterator[None]:
    """Go on after the block where a damaged ledger cannot be read."""
    try:
        yield
    except _UNREADABLE as error:
        if not damaged:
            raise
        exam.error("ledger", f"the rest of the ledger cannot be read, because it is damaged ({error})")


def _chosen(ledger: Ledger, selectors: Sequence[Selector] | None) -> list[tuple[SweepSummary, Selector]]:
    if selectors is None:
        return [(summary, Selector(sweep=summary.sweep.id)) for summary in reversed(ledger.sweeps())]
    return [(ledger.sweep(selector.sweep), selector) for selector in selectors]


def _audit_sweep(
    ledger: Ledger, sweep: Sweep, selector: Selector, places: Callable[[Sweep], Place | None], exam: Examination
) -> SweepAudit:
    place = places(sweep)
    evidence = gather(ledger, sweep, select_runs(ledger, sweep.id, selector), place)
    if place is None:
        exam.warn(sweep.directory, _why_not_there(ledger, sweep))
    else:
        examine_journals(evidence, exam)
        examine_files(evidence, exam)
    examine_stored(evidence, exam)
    examine_frozen(evidence, exam)
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in ledger.attempts(sweep.id, runs=[run.run for run in evidence.runs]):
        attempts[attempt.run].append(attempt)
    audits = [_audit_run(ledger, evidence, run, attempts[run.run], exam) for run in evidence.runs]
    examine_environments(((one.run.run, one.attempts) for one in audits), exam)
    return SweepAudit(
        summary=ledger.sweep(sweep.id),
        directory=None if place is None else str(place.layout.state),
        environments=_environments(evidence),
        runs=[replace(one, findings=gravest_first(exam.of_run(one.run.run))) for one in audits],
        rerun=find_rerun(evidence.facts(RerunPlanned)),
        added=[launch for launch in evidence.launches.values() if launch.argv is not None],
    )


def _why_not_there(ledger: Ledger, sweep: Sweep) -> str:
    try:
        find_record(ledger, sweep)
    except RecordGoneError as error:
        return str(error)
    except (HpcorchError, OSError) as error:
        return f"the record of the sweep cannot be read: only the ledger has it ({error})"
    return "the record of the sweep has just come back: audit it again"


def _environments(evidence: Evidence) -> dict[str, Environment]:
    frozen = {one.digest: one for run in evidence.runs if (one := evidence.environment(run)) is not None}
    found = {digest: evidence.read_environment(one) for digest, one in frozen.items()}
    return {digest: environment for digest, environment in found.items() if environment is not None}


def _audit_run(
    ledger: Ledger, evidence: Evidence, run: Run, attempts: Sequence[Attempt], exam: Examination
) -> RunAudit:
    stories = stories_of(evidence, attempts)
    if not run.state.is_final:
        exam.note(f"run {run.run}", f"it is not over: {run.state.value}", run=run.run)
    examine_identity(evidence, run, exam)
    examine_drift(stories, run, exam)
    examine_hardware(evidence, stories, run, exam)
    examine_restores(evidence, run, exam)
    examine_commands(evidence, run, exam)
    if evidence.place is not None:
        examine_checkpoints(evidence, run, exam)
    return RunAudit(
        run=run,
        config=ledger.config(evidence.sweep.id, run.run),
        code=evidence.code(run),
        environment=evidence.environment(run),
        inputs=inputs_of(evidence, run),
        attempts=stories,
        reused_from=reused.of if (reused := evidence.reused.get(run.run)) else None,
        findings=(),  # when all are there
    )

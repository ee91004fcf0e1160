"""Journals against the events that the ledger took from them, line by line.

The ledger's chain proves that its events are those that were stored; this proves that they are those that were
written. What the ledger does not store (logged metrics) is compared with the digest in the next summary of it,
which the ledger has. Behind the last summary of an attempt that was killed, only checksums and numbers are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.journal.files import whole_lines
from hpcorch.journal.lines import DamagedLineError, decode
from hpcorch.ledger import manifests_in
from hpcorch.ledger.writing.expansion import expand, source_of
from hpcorch.ledger.writing.rows import event_content
from hpcorch.model.events import (
    CONTROL_SOURCE,
    KINDS,
    LEDGER_SOURCE,
    AttemptEnded,
    Event,
    LaunchPlanned,
    MetricsSummarised,
    UnknownFact,
)
from hpcorch.model.states import AttemptOutcome
from hpcorch.services.audit.evidence import Evidence
from hpcorch.services.audit.findings import Examination

# A damaged file differs in many lines; the first few tell where.
_NAMED = 5
_IDLE = frozenset({AttemptOutcome.SKIPPED, AttemptOutcome.SUPERSEDED})


def examine_journals(evidence: Evidence, exam: Examination) -> None:
    """Compare the control journal and the journals of all audited runs' attempts."""
    assert evidence.place is not None
    layout = evidence.place.layout
    _examine(layout.control, CONTROL_SOURCE, None, evidence, exam, over=evidence.is_over)
    names = {layout.journal(name).stem: name for run in evidence.runs for name in evidence.attempts(run.run)}
    audited = evidence.indices
    on_disk = layout.attempts() if layout.journals.is_dir() else []
    names |= {str(name): name for name in on_disk if name.run in audited}
    final = {run.run for run in evidence.runs if run.state.is_final}
    for source, name in sorted(names.items(), key=lambda item: item[1]):
        _examine(layout.journal(name), source, name.run, evidence, exam, over=name.run in final)


def examine_stored(evidence: Evidence, exam: Examination) -> None:
    """See that the ledger understands every event of the audited runs, and that each attempt has one end."""
    names = {str(name): name.run for run in evidence.runs for name in evidence.attempts(run.run)}
    for source, run in {CONTROL_SOURCE: None, LEDGER_SOURCE: None, **names}.items():
        events = evidence.sources.get(source, {}).values()
        for event in events:
            if isinstance(event.fact, UnknownFact) and event.fact.original_kind in KINDS:
                text = (
                    f"event {event.seq} ({event.fact.original_kind}) has not the fields that hpcorch writes, so it"
                    " counts for nothing: it was written by hand, or by a newer version"
                )
                exam.warn(f"journal {source}", text, run=run)
        first, *others = [event.seq for event in events if isinstance(event.fact, AttemptEnded)] or [0]
        for seq in others:
            text = f"event {seq} tells again how the attempt ended, and was added by hand: event {first} counts"
            exam.error(f"journal {source}", text, run=run)


def _examine(
    path: Path, source: str, run: int | None, evidence: Evidence, exam: Examination, *, over: bool
) -> None:
    stored = evidence.sources.get(source, {})
    assert evidence.place is not None
    try:
        with evidence.place.open(path) as file:
            lines = list(whole_lines(file))
            torn = os.fstat(file.fileno()).st_size - sum(map(len, lines))
    except OSError as error:
        exam.error(f"journal {source}", f"the journal {path} cannot be read ({error.strerror})", run=run)
        return
    if not stored and not torn and _has_done_nothing(lines):
        exam.note(f"journal {source}", "it records an attempt that started after the run was over", run=run)
        return
    troubles = list(_troubles(lines, source, evidence.sweep.id, stored, over=over))
    for text in troubles[:_NAMED]:
        exam.error(f"journal {source}", f"{text} ({path})", run=run)
    if len(troubles) > _NAMED:
        exam.error(f"journal {source}", f"{len(troubles) - _NAMED} further lines of {path} differ", run=run)
    read = evidence.read.get(source, 0)
    if over and read not in _places(lines, stored):
        size = sum(map(len, lines)) + max(0, torn)
        text = (
            f"the ledger says that {read} bytes of {path} were read, and it has {size}, in lines that do not end"
            " there: `hpcorch ledger rebuild` has it read again"
        )
        exam.error(f"journal {source}", text, run=run)
    if troubles:
        return
    if torn > 0 and over:
        text = f"{path} ends with {torn} bytes of an incomplete line: its writer was killed, or it was changed"
        exam.warn(f"journal {source}", text, run=run)
    else:
        exam.intact["journal"] += 1


def _places(lines: Sequence[bytes], stored: Mapping[int, Event]) -> Collection[int]:
    """Where the ledger may have stopped reading: behind any line from the last on that it stores, or not begun."""
    ends = list(accumulate(map(len, lines)))
    return {0, *ends[max((number for number in stored if number < len(lines)), default=0) :]}


def _has_done_nothing(lines: Sequence[bytes]) -> bool:
    """Whether a journal is whole and of an attempt that found its run over, as when a completed one is requeued."""
    try:
        facts = [decode(line, sweep="", source="").fact for line in lines]
    except (DamagedLineError, ValueError):
        return False
    return bool(facts) and isinstance(facts[-1], AttemptEnded) and facts[-1].ended_as in _IDLE


def _troubles(
    lines: Sequence[bytes], source: str, sweep: str, stored: Mapping[int, Event], *, over: bool
) -> Iterator[str]:
    """What is not as the ledger has it. Lines are numbered as their events are, from 0 without a gap."""
    logged = hashlib.sha256()
    for number, line in enumerate(lines):
        try:
            event = decode(line, sweep=sweep, source=source)
        except (DamagedLineError, ValueError):
            yield f"line {number} was changed after it was written: its checksum does not match its content"
            continue
        if event.seq != number:
            yield f"line {number} holds event {event.seq}: lines were removed, added or moved"
        elif event.fact.archived:
            yield from _unequal(event, stored.get(number), over=over)
        if not event.fact.archived:
            logged.update(line)
        elif isinstance(event.fact, MetricsSummarised) and event.fact.logged not in (None, _text(logged)):
            yield (
                f"metrics that were logged before line {number} were changed: their digest differs from the"
                " recorded one"
            )
    missing = sorted(number for number in stored if number >= len(lines))
    if missing:
        yield f"the ledger has events {missing[0]} to {missing[-1]} of it, which are missing now"


def _text(digest: hashlib._Hash) -> str:
    return f"sha256:{digest.hexdigest()}"


def _unequal(event: Event, stored: Event | None, *, over: bool) -> Iterator[str]:
    if stored is None:
        if over:
            yield f"line {event.seq} is not in the ledger: it was added after the run was over"
    elif event_content(event) != event_content(stored):
        yield f"line {event.seq} and the ledger's event of that number differ: one of them was changed"


def examine_plans(evidence: Evidence, launch: LaunchPlanned, exam: Examination) -> None:
    """Compare what a manifest says of its runs with the ledger's events of them. The manifest is as planned."""
    assert evidence.place is not None
    layout = evidence.place.layout
    source = source_of(launch)
    stored = evidence.sources.get(source, {})
    planned = Event(sweep=evidence.sweep.id, source=CONTROL_SOURCE, seq=0, time="", fact=launch)
    try:
        events = list(expand(planned, manifests_in(layout)(launch)))
    except HpcorchError as error:
        exam.error(launch.manifest, str(error))
        return
    for event in events:
        kind, _, body = event_content(event)
        known = stored.get(event.seq)
        if known is None or (kind, body) != event_content(known)[::2]:
            exam.error(f"event {source}/{event.seq}", "the manifest and the ledger differ about what was planned")
    if len(stored) != len(events):
        exam.error(f"events of {source}", f"the ledger has {len(stored)}, and the manifest {len(events)}")

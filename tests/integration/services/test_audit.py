"""Whatever one byte is changed of what proves a sweep, the audit reports it and names what was touched."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hpcorch.journal.lines import decode, encode
from hpcorch.ledger import Ledger
from hpcorch.ledger.writing.ingest import GENESIS, link
from hpcorch.model.events import Event, MetricsLogged
from hpcorch.services.audit.anchors import anchor_of
from hpcorch.services.audit.audit import Audit, audit
from hpcorch.services.audit.findings import Severity
from tests.support.proven_sweeps import proven_sweep, without_triggers
from tests.support.sweeps import SweepOnDisk

# `scripts/test all` tries every byte: twenty minutes on one core. Each share is far below a test's time limit.
ALL = "HPCORCH_EXAMPLES" in os.environ
SHARES = 64 if ALL else 1


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepOnDisk:
    return proven_sweep(tmp_path_factory.mktemp("project"))


def audited(sweep: SweepOnDisk) -> Audit:
    with Ledger.open(sweep.ledger_path) as ledger:
        return audit(ledger, None)


@contextmanager
def altered(path: Path, offset: int, value: int) -> Iterator[None]:
    """One byte of a file is another one, for as long as the block lasts."""
    with path.open("r+b") as file:
        file.seek(offset)
        (before,) = file.read(1)
        file.seek(offset)
        file.write(bytes([before ^ value]))
    try:
        yield
    finally:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([before]))


def parts(sweep: SweepOnDisk) -> list[tuple[Path, str]]:
    """Every file that proves the sweep, and how the audit must name it."""
    layout = sweep.layout
    launch = layout.launch(0)
    (checkpoint,) = layout.checkpoints(0).glob("*.ckpt")
    (weights,) = layout.checkpoints(0).glob("*.files/weights.bin")
    (snapshot,) = (sweep.project / ".hpcorch" / "snapshots").iterdir()
    named = [
        checkpoint,
        layout.script(0, "0" * 32),
        layout.manifest(0),
        layout.task(0),
        launch / "environment.json",
        launch / "code.diff",
    ]
    return [
        (layout.control, "journal control"),
        *((path, f"journal {path.stem}") for path in sorted(layout.journals.iterdir())),
        *((path, layout.relative(path)) for path in named),
        (weights, layout.relative(checkpoint)),
        (snapshot, f"snapshot {snapshot.name}"),
        *((path, layout.relative(path)) for path in layout.results.iterdir()),
    ]


def event_stretches(path: Path) -> list[tuple[int, int, int]]:
    """(seq, first byte, last byte) in the ledger's file of what an event is: kind, time, body and hash."""
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT seq, kind || time || body, hash FROM events").fetchall()
    found = [(seq, content.index(text.encode() + digest), len(text) + 32) for seq, text, digest in rows]
    return [(seq, start, start + size - 1) for seq, start, size in found]


def missed(sweep: SweepOnDisk, chosen: Callable[[range], list[int]], chance: random.Random) -> list[str]:
    """The changes that the audit does not report, or reports without naming what was touched."""
    silent = []
    for path, name in parts(sweep):
        for offset in chosen(range(path.stat().st_size)):
            with altered(path, offset, chance.randrange(1, 256)):
                if not names(audited(sweep), lambda touched, _, name=name: touched == name):
                    silent.append(f"{path} at {offset}")
    for seq, first, last in event_stretches(sweep.ledger_path):
        for offset in chosen(range(first, last + 1)):
            with altered(sweep.ledger_path, offset, chance.randrange(1, 256)):
                if not names(audited(sweep), lambda _, text, seq=seq: f"event {seq} (" in text):
                    silent.append(f"event {seq} at {offset}")
    return silent


def names(found: Audit, fits: Callable[[str, str], bool]) -> bool:
    grave = [finding for finding in found.findings if finding.severity is not Severity.NOTE]
    return found.exit_code == 1 and any(fits(finding.touched, finding.text) for finding in grave)


def some(chance: random.Random, count: int) -> Callable[[range], list[int]]:
    """The ends of a stretch, and some positions between them."""
    return lambda all_: sorted({all_[0], all_[-1], *(chance.choice(all_) for _ in range(min(count, len(all_))))})


def every(share: int) -> Callable[[range], list[int]]:
    """All positions; several tests share them."""
    return lambda all_: [position for position in all_ if position % SHARES == share]


def test_an_untouched_sweep_is_fine(sweep):
    found = audited(sweep)
    assert (found.findings, found.exit_code) == ([], 0)
    assert found.intact == {
        "event": 31,
        "journal": 4,
        "manifest": 1,
        "task file": 1,
        "environment": 1,
        "diff": 1,
        "snapshot": 1,
        "batch script": 1,
        "result file": 1,
        "checkpoint": 1,
    }


@pytest.mark.parametrize("share", range(SHARES))
def test_changed_bytes_at_hundreds_of_positions_are_all_reported_and_named(sweep, share):
    chance = random.Random(2)
    assert missed(sweep, every(share) if ALL else some(chance, 4), chance) == []


@pytest.mark.parametrize("column", ["source", "source_seq", "sweep", "run"])
def test_an_event_that_was_moved_to_another_place_is_named(sweep, tmp_path, column):
    copy = tmp_path / "ledger.db"
    shutil.copy(sweep.ledger_path, copy)
    without_triggers(copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(f"UPDATE events SET {column} = coalesce({column}, 0) + 90 WHERE seq = 12")
        connection.commit()
    with Ledger.open(copy) as ledger:
        assert names(audit(ledger, None), lambda _, text: "event 12 (" in text)


def forge(path: Path) -> None:
    """Give run 0 another result everywhere in the ledger, and make the chain and the tables anew."""
    without_triggers(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE events SET body = replace(body, '\"result\":0.5', '\"result\":0.9')"
            " WHERE kind = 'attempt-ended'"
        )
        rows = connection.execute(
            "SELECT e.seq, i.id, o.name, e.source_seq, e.run, e.kind, e.time, e.body FROM events AS e"
            " JOIN sources AS o ON o.source = e.source JOIN sweep_ids AS i ON i.sweep = e.sweep ORDER BY e.seq"
        ).fetchall()
        previous = GENESIS
        for seq, *content in rows:
            previous = link(previous, *content)
            connection.execute("UPDATE events SET hash = ? WHERE seq = ?", (previous, seq))
        connection.commit()
    with Ledger.open(path, write=True) as ledger:
        ledger.rebuild()


def test_a_forger_who_makes_the_chain_anew_is_caught_by_the_journals_and_by_an_anchor(sweep, tmp_path):
    forged = tmp_path / "ledger.db"
    shutil.copy(sweep.ledger_path, forged)
    with Ledger.open(forged) as ledger:
        anchor = anchor_of(ledger)
    forge(forged)
    with Ledger.open(forged) as ledger:
        assert ledger.check(deep=True) == []
        assert ledger.runs(sweep.id)[0].result == 0.9
        by_journal = audit(ledger, None)
        alone = audit(ledger, None, places=lambda _: None)
        by_anchor = audit(ledger, None, against=[anchor], places=lambda _: None)
    assert names(by_journal, lambda touched, _: touched == "journal 0.s0.r1")
    assert [finding.severity for finding in alone.findings] == [Severity.WARNING]  # the files are not there
    assert names(by_anchor, lambda touched, _: touched == "anchor at event 31")


def test_an_anchor_still_fits_after_more_was_recorded(sweep, tmp_path):
    copy = tmp_path / "ledger.db"
    shutil.copy(sweep.ledger_path, copy)
    with Ledger.open(copy) as ledger:
        anchor = anchor_of(ledger)
    with Ledger.open(copy, write=True) as ledger:
        from hpcorch.journal.reader import Segment
        from hpcorch.model.events import ControlRequested

        fact = ControlRequested(submission=0, action="hold", runs="0", user="a", uid=1, host="n")
        event = Event(sweep=sweep.id, source="control", seq=99, time="2026-01-01T00:00:00.000000Z", fact=fact)
        ledger.ingest(sweep.id, [Segment(source="control", events=(event,), start=0, end=0, rest=0)], lambda _: [])
        assert ledger.head().events == anchor.events + 1
        found = audit(ledger, None, against=[anchor], places=lambda _: None)
    assert found.intact["anchor"] == 1
    assert not [finding for finding in found.findings if finding.severity is Severity.ERROR]


@pytest.mark.parametrize("gone", ["checkpoints", "results", "journal", "launch-000000", "control.jsonl"])
def test_what_was_removed_is_missed(tmp_path, gone):
    made = proven_sweep(tmp_path)
    path = made.layout.state / gone
    path.rename(path.with_name("elsewhere"))
    found = audited(made)
    assert found.exit_code == 1
    assert any(
        "not there" in finding.text or "missing" in finding.text or "cannot be read" in finding.text
        for finding in found.findings
    )


def test_lines_that_were_added_or_removed_are_noticed_though_each_of_them_is_whole(tmp_path):
    made = proven_sweep(tmp_path)
    journal = made.layout.journals / "0.s0.r0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    metrics = next(number for number, line in enumerate(lines) if b"metrics-logged" in line)
    journal.write_bytes(b"".join(lines[:metrics] + lines[metrics + 1 :]))
    assert names(audited(made), lambda touched, text: touched == "journal 0.s0.r0" and "removed" in text)


def test_a_logged_metric_that_was_forged_with_its_checksum_is_noticed(tmp_path):
    made = proven_sweep(tmp_path)
    journal = made.layout.journals / "0.s0.r1.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    (number,) = (number for number, line in enumerate(lines) if b"metrics-logged" in line)
    event = decode(lines[number], sweep="", source="")
    lines[number] = encode(MetricsLogged(entries=[[3, {"loss": 0.001}]]), seq=event.seq, time=event.time)
    journal.write_bytes(b"".join(lines))
    assert names(audited(made), lambda touched, text: touched == "journal 0.s0.r1" and "metrics" in text)


def test_a_ledger_that_claims_to_have_read_more_than_there_is_is_noticed_and_reads_again(tmp_path):
    made = proven_sweep(tmp_path)
    with closing(sqlite3.connect(made.ledger_path)) as connection:
        connection.execute("UPDATE sources SET offset = offset + 100000 WHERE name = '0.s0.r1'")
        connection.execute("UPDATE sources SET offset = -5 WHERE name = '1.s0.r0'")
        connection.commit()
    assert names(audited(made), lambda touched, text: touched == "journal 0.s0.r1" and "were read" in text)
    with Ledger.open(made.ledger_path, write=True) as ledger:
        ledger.rebuild()
    made.ingest()
    found = audited(made)
    assert (found.findings, found.exit_code) == ([], 0)
    with Ledger.open(made.ledger_path) as ledger:
        assert ledger.offset(made.id, "0.s0.r1") == made.layout.journals.joinpath("0.s0.r1.jsonl").stat().st_size

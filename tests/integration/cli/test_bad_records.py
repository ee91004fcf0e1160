"""A record that somebody else wrote to: its sweep is set aside with a sentence, and the others are served."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from hpcorch.journal.lines import seal
from hpcorch.ledger import Ledger
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from tests.support.events import body_of
from tests.support.sweeps import SweepOnDisk, finished_sweep, make_sweep

pytestmark = pytest.mark.programs

EXAMPLES = int(os.environ.get("HPCORCH_EXAMPLES", "6"))
BAD = "20260101-130000-xxxx"
SENSELESS: tuple[Any, ...] = (
    -1,
    0,
    1,
    7,
    99,
    (1 << 63) - 1,
    -(1 << 63),
    "",
    "x",
    "cancelled",
    "COMPLETED",
    "0-3",
    "9",
)
SENSELESS += (
    "2999-12-31T23:59:59.999999Z",
    "\ud800",
    "\0",
    None,
    True,
    0.5,
    [],
    {},
    [[1, 2]],
    {"a": {"last": [1, 2]}},
)


@pytest.fixture
def good(tmp_path: Path) -> SweepOnDisk:
    return finished_sweep(tmp_path)


def append(journal: Path, kind: str, body: dict[str, Any]) -> None:
    """A line with a true checksum and the next number."""
    seq = journal.read_bytes().count(b"\n")
    header = {"v": 1, "seq": seq, "time": "2026-11-23T14:30:00.000000Z", "kind": kind}
    with journal.open("ab") as file:
        file.write(seal({**header, **body}))


def of_right_types(kind: str, choose: random.Random) -> dict[str, Any]:
    """A fact's body of values that each have the right type, and mean nothing together."""
    body = body_of(kind)
    for name in body:
        bodies = ({**body, name: value} for value in SENSELESS)
        body = choose.choice([one for one in bodies if not isinstance(ev.from_body(kind, one), ev.UnknownFact)])
    return body


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_facts_that_make_no_sense_stop_nobody_but_their_own_sweep(good, hpcorch, seed):
    choose = random.Random(seed)
    bad = make_sweep(good.project, sweep=BAD)
    bad.submit([0, 1])
    bad.start(0)
    bad.ingest()
    own = bad.layout.journal(AttemptId(run=0, submission=0, restart=0))
    for kind in choose.sample(sorted(ev.KINDS), 12):
        append(choose.choice([own, bad.layout.control]), kind, of_right_types(kind, choose))
    place = ("--ledger", good.ledger_path)
    for command, code in (
        (("ls",), 0),
        (("status", good.id), 1),
        (("show", f"{good.id}/0"), 0),
        (("audit", good.id), 0),
    ):
        assert hpcorch(*place, *command).code == code
    for command in (("status", BAD), ("show", f"{BAD}/0"), ("audit", BAD), ("tend",), ("retry", BAD, "--dry-run")):
        assert "Traceback" not in hpcorch(*place, *command).err
    with Ledger.open(good.ledger_path) as ledger:
        assert [run.state.value for run in ledger.runs(good.id)] == ["COMPLETED", "FAILED"]
        assert ledger.check(deep=True) == []


def test_a_second_end_changes_nothing_and_is_an_error_of_audit(good, hpcorch):
    journal = good.layout.journal(AttemptId(run=0, submission=0, restart=0))
    append(journal, "attempt-ended", {"outcome": "completed", "exit_code": 0, "result": 666.0})
    good.record(ev.ControlRequested(submission=0, action="hold", runs="0", user="a", uid=1, host="n"))  # news
    shown = hpcorch("--ledger", good.ledger_path, "audit", good.id)
    assert shown.code == 1
    assert "tells again how the attempt ended" in shown.out
    with Ledger.open(good.ledger_path) as ledger:
        assert [run.result for run in ledger.runs(good.id)] == [0.5, None]


@pytest.mark.parametrize(
    "name", ["7.s0.r0", "0.s9.r0", "0.s0.r9", f"{10**25}.s0.r0", "0.s0.r00", "0.s-1.r0", "x" * 200]
)
def test_a_journal_that_no_attempt_wrote_changes_no_result_unless_audit_says_so(good, hpcorch, name):
    theirs = good.layout.journals / f"{name}.jsonl"
    theirs.write_bytes(good.layout.journal(AttemptId(run=1, submission=0, restart=0)).read_bytes())
    append(theirs, "attempt-ended", {"outcome": "completed", "exit_code": 0, "result": 666.0})
    place = ("--ledger", good.ledger_path)
    for command in (("status", good.id, "--refresh"), ("collect", good.id), ("tend",), ("logs", f"{good.id}/0")):
        ran = hpcorch(*place, *command)
        assert "Traceback" not in ran.err
    audited = hpcorch(*place, "audit", good.id)
    with Ledger.open(good.ledger_path) as ledger:
        results = [(run.state.value, run.result) for run in ledger.runs(good.id)]
    assert results == [("COMPLETED", 0.5), ("FAILED", None)] or audited.code == 1

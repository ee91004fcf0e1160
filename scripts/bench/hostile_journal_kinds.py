"""The kinds of attacks on the journals, which say what runs did. Used by hostile_kinds.py."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hostile_registry import kind
from hostile_stage import ATTACKER, VICTIM, Stage

from hpcorch.journal.lines import seal, unseal

NASTY = (
    "=HYPERLINK(1)",
    "+1+1",
    "@SUM(A1)",
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "a\rb",
    "\u202egpj",
    "\x9b31m",
    "-1\n=2",
    "\0",
)


def journals(stage: Stage) -> list[Path]:
    return [*sorted((stage.record / "journal").glob("*.jsonl")), stage.record / "control.jsonl"]


def append(journal: Path, kind_of: str, body: Mapping[str, Any], seq: int | None = None) -> None:
    """A line with a true checksum and, unless told otherwise, the next number."""
    number = journal.read_bytes().count(b"\n") if seq is None else seq
    head = {"v": 1, "seq": number, "time": "2026-11-23T14:30:00.000000Z", "kind": kind_of}
    with journal.open("ab") as file:
        file.write(seal({**head, **body}))


def raw_line(body: bytes) -> bytes:
    """A line with a true checksum that no serializer would write."""
    return body + b',"crc":"' + f"{zlib.crc32(body):08x}".encode() + b'"}\n'


@kind
def huge_integers_in_a_journal(stage: Stage, choose: random.Random) -> str:
    journal, number = choose.choice(journals(stage)), choose.choice([1 << 63, 1 << 64, -(1 << 70), 10**400])
    field = choose.choice(["seq", "exit_code", "submission", "first_run", "step", "text"])
    if field == "seq":
        append(journal, "attempt-called", {}, seq=number)
    elif field == "text":
        with journal.open("ab") as file:
            file.write(
                raw_line(
                    b'{"v":1,"seq":%d,"time":"2026-11-23T14:30:00.000000Z","kind":"attempt-ended","exit_code":'
                    % number
                    + b"9" * 6000
                )
            )
    else:
        kinds = {
            "exit_code": "attempt-ended",
            "submission": "submission-accepted",
            "first_run": "launch-planned",
            "step": "checkpoint-saved",
        }
        body = {field: number, "outcome": "completed", "result": number, "job_id": "1"}
        append(journal, kinds[field], body)
    return f"{field} of about {len(str(number))} digits in {journal.name}"


@kind
def deep_nesting_in_a_journal(stage: Stage, choose: random.Random) -> str:
    journal, depth = choose.choice(journals(stage)), choose.choice([150, 201, 1000, 100_000])
    field = choose.choice([b"result", b"metrics", b"params", b"overrides"])
    seq = journal.read_bytes().count(b"\n")
    head = (
        b'{"v":1,"seq":%d,"time":"2026-11-23T14:30:00.000000Z","kind":"attempt-ended","outcome":"completed","%s":'
        % (seq, field)
    )
    with journal.open("ab") as file:
        file.write(raw_line(head + b"[" * depth + b"]" * depth))
    return f"{depth} brackets in {journal.name}"


@kind
def rubbish_lines_in_a_journal(stage: Stage, choose: random.Random) -> str:
    journal = choose.choice(journals(stage))
    lines = {
        "bytes": choose.randbytes(3000),
        "zeros": b"\0" * 100_000,
        "a line of 40 MB": b"x" * 40_000_000 + b"\n",
        "an unknown kind": seal(
            {"v": 1, "seq": journal.read_bytes().count(b"\n"), "time": "x", "kind": "y" * 5000}
        ),
        "a list": b"[1,2]\n",
        "empty lines": b"\n" * 5000,
        "the first line again": journal.read_bytes().splitlines(keepends=True)[0],
    }
    drawn = choose.choice(sorted(lines))
    with journal.open("ab") as file:
        file.write(lines[drawn])
    return f"{drawn} in {journal.name}"


@kind
def second_end(stage: Stage, choose: random.Random) -> str:
    run, outcome = choose.randrange(3), choose.choice(["completed", "failed"])
    ended = {"outcome": outcome, "exit_code": int(outcome == "failed")}
    append(stage.record / "journal" / f"{run}.s0.r0.jsonl", "attempt-ended", {**ended, "result": 666.0})
    return f"run {run} {outcome}"


@kind
def altered_line(stage: Stage, choose: random.Random) -> str:
    journal = stage.record / "journal" / f"{choose.randrange(3)}.s0.r0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    number = choose.randrange(len(lines))
    record = unseal(lines[number])
    record |= {"outcome": "completed", "result": 666, "exit_code": 0, "seed": 666, "step": 666}
    if choose.random() < 0.3:
        journal.write_bytes(b"".join(lines[:number]))
        return f"{journal.name} is cut before line {number}"
    journal.write_bytes(b"".join([*lines[:number], seal(record), *lines[number + 1 :]]))
    return f"line {number} of {journal.name}"


@kind
def journal_of_no_run(stage: Stage, choose: random.Random) -> str:
    name = choose.choice(["7.s0.r0", "0.s9.r0", "0.s0.r9", f"{10**25}.s0.r0", "0.s0.r00", "0.s-1.r0", "x" * 200])
    journal = stage.record / "journal" / f"{name}.jsonl"
    journal.write_bytes((stage.record / "journal" / "2.s0.r0.jsonl").read_bytes())
    append(journal, "attempt-ended", {"outcome": "completed", "exit_code": 0, "result": 666})
    stage.give(journal, uid=choose.choice([VICTIM, ATTACKER]))
    return name[:40]


@kind
def names_and_results_that_control(stage: Stage, choose: random.Random) -> str:
    nasty = choose.choice(NASTY)
    for journal in journals(stage):
        records = [unseal(line) for line in journal.read_bytes().splitlines()]
        for record in records:
            if record["kind"] == "attempt-ended":
                result = choose.choice([nasty, {nasty: nasty}, [nasty]])
                record.update({"result": result} if "result" in record else {"error": nasty})
            if record["kind"] == "sweep-created":
                record.update(name=nasty, tags=[nasty], host=nasty)
        journal.write_bytes(b"".join(map(seal, records)))
    stage.ledger.unlink()
    stage.was_rewritten = True
    stage.commands = [
        ("ledger", "adopt"),
        *stage.commands,
        ("ls",),
        ("show", "last"),
        ("show", "last/0"),
        ("collect", "last"),
    ]
    stage.commands += [
        ("collect", "last", "--csv"),
        ("query", "SELECT * FROM v_runs", "--csv"),
        ("audit", "last", "--markdown"),
    ]
    return repr(nasty)

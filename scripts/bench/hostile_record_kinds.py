"""The kinds of attacks on ledger, sweep directory, locks and temporary folder. Used by hostile_kinds.py."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from hostile_plants import plant
from hostile_registry import add, kind
from hostile_stage import VICTIM, Stage

from hpcorch.journal.lock.holder import LENGTH, Holder

STATEMENTS = (
    "UPDATE runs SET state = 'COMPLETED', result = '666' WHERE run = 2",
    "UPDATE runs SET result = '666' WHERE run = 0",
    "UPDATE runs SET error = char(27) || ']0;x' || char(7) WHERE run = 2",
    "UPDATE attempts SET result = '666', state = 'COMPLETED'",
    "UPDATE tallies SET runs = 7",
    "UPDATE sweeps SET state = 'COMPLETED', name = '=1+1'",
    "UPDATE sweeps SET directory = '/dev/zero'",
    "UPDATE sweeps SET user = 'root'",
    "UPDATE submissions SET job_id = '1', state = 'SUBMITTED'",
    "UPDATE events SET body = replace(body, 'COMPLETED', 'x'), hash = zeroblob(32)",
    "UPDATE events SET body = '[' WHERE kind = 'attempt-ended'",
    "UPDATE sources SET offset = 0, settled = 1",
    "UPDATE sources SET offset = 9223372036854775807",
    "DELETE FROM events WHERE seq > 5",
    "DELETE FROM runs",
    "DROP TABLE attempts",
    "CREATE TABLE more (x)",
    "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN UPDATE runs SET result = '666'; END",
    "DROP VIEW v_runs; CREATE VIEW v_runs AS SELECT 'x' AS sweep, 666 AS result",
    "DROP VIEW v_runs; CREATE VIEW v_runs AS WITH n AS (SELECT 1 UNION ALL SELECT 2 FROM n) SELECT * FROM n",
    "DROP INDEX runs_by_state",
    "PRAGMA user_version = 9999",
    "PRAGMA user_version = -1",
)


# Triggers keep events as they are: who alters a ledger puts them away, and back.
ALTER = """\
import sqlite3, sys
ledger = sqlite3.connect(sys.argv[1])
triggers = ledger.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
ledger.executescript("".join(f"DROP TRIGGER {name};" for name, _ in triggers))
ledger.executescript(sys.argv[2])
ledger.executescript("".join(f"{sql};" for _, sql in triggers))
"""


def alter(stage: Stage, statement: str, uid: int = VICTIM) -> None:
    """Execute SQL on the ledger as one of the users.

    :raises RuntimeError: it cannot be done
    """
    said = stage.run(uid, ("python", "-c", ALTER, str(stage.ledger), statement), stage.project)
    if said.code != 0:
        raise RuntimeError(said.err)


@kind
def altered_ledger(stage: Stage, choose: random.Random) -> str:
    alter(stage, statement := choose.choice(STATEMENTS))
    return statement


def _cut(ledger: Path) -> None:
    os.truncate(ledger, random.Random(ledger.stat().st_size).randrange(ledger.stat().st_size))


def _folder(ledger: Path) -> None:
    ledger.unlink()
    ledger.mkdir()


LOSSES: Mapping[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "deleted-with-its-folder": lambda ledger: shutil.rmtree(ledger.parent),
    "cut": _cut,
    "emptied": lambda ledger: ledger.write_bytes(b""),
    "text": lambda ledger: ledger.write_text("This was a ledger.\n" * 300),
    "folder": _folder,
    "read-only": lambda ledger: ledger.chmod(0o400),
}


def lost_ledger(way: str, stage: Stage, choose: random.Random) -> str:
    """``ledger adopt`` brings all of it back."""
    if way == "older":  # a ledger of before the launch has nothing of it
        tables = (
            "events",
            "sources",
            "sweep_ids",
            "sweeps",
            "runs",
            "attempts",
            "tallies",
            "launches",
            "submissions",
        )
        alter(stage, "".join(f"DELETE FROM {table};" for table in tables))
    else:
        LOSSES[way](stage.ledger)
    stage.is_lost = way not in ("deleted-with-its-folder", "read-only")  # snapshots are gone; it is still there
    stage.commands += [("query", "SELECT count(*) FROM v_runs"), ("ledger", "check")]
    choose.shuffle(stage.commands)
    return f"{stage.commands[0][0]} first"


for _way in (*LOSSES, "older"):
    add(f"ledger-{_way}", partial(lost_ledger, _way))


@kind
def sweep_directory_away(stage: Stage, choose: random.Random) -> str:
    sweep, way = (
        stage.sweep,
        choose.choice(["removed", "moved", "exchanged", "linked", "record-removed", "project-moved"]),
    )
    if way in ("removed", "record-removed"):
        shutil.rmtree(sweep if way == "removed" else stage.record)
    elif way == "moved":
        sweep.rename(sweep.with_name("elsewhere"))
    elif way == "project-moved":
        stage.project.rename(stage.scratch / "moved")
        stage.cwd = stage.scratch / "moved"
    else:
        theirs = stage.their_sweep
        shutil.rmtree(sweep)
        if way == "exchanged":
            theirs.rename(sweep)
        else:
            sweep.symlink_to(theirs)
        stage.give(sweep)
    stage.retries = True
    return way


def _held(stage: Stage, where: Path, choose: random.Random) -> str:
    drawn = choose.choice(
        ["dead", "far", "rubbish", "number", "types", "fifo", "folder", "link-out", "device", "foreign-free"]
    )
    numbers = [int(path.suffix[1:]) for path in where.parent.glob(f"{where.name}.*") if path.suffix[1:].isdigit()]
    number = 10**18 - 1 if drawn == "number" else max(numbers, default=0) + 1
    file = where.with_name(f"{where.name}.{number}")
    holder = replace(Holder.this_process(), pid=(1 << 22) + 1, start=1)
    if drawn == "far":
        holder = replace(holder, host="far", space="another kernel")
    form: dict[str, Any] = {"holder": asdict(holder), "state": "held", "beats": 0}
    if drawn == "types":
        form["holder"] |= {"host": {"a": []}, "user": "\x1b[2J", "since": None, "start": "x"}
    if drawn == "foreign-free":
        form["state"] = "free"
    if drawn in ("fifo", "folder", "link-out", "device"):
        plant(stage, file, drawn)
    else:
        file.write_bytes(
            b"\xff" * 700 if drawn == "rubbish" else json.dumps(form).ljust(LENGTH - 1).encode() + b"\n"
        )
        os.utime(file, (1, 1))
        stage.give(file)
    return drawn


@kind
def planted_lock(stage: Stage, choose: random.Random) -> str:
    where = choose.choice(
        [stage.ledger.with_name("ledger.db.lock"), stage.record / "control.lock", stage.record / "tend.lock"]
    )
    drawn = _held(stage, where, choose)
    stage.commands = stage.commands[:5]
    stage.retries = where.name != "ledger.db.lock"
    return f"{drawn} for {where.name}"


@kind
def temporary_folder_taken(stage: Stage, choose: random.Random) -> str:
    drawn = choose.choice(["fifo", "folder", "link-out", "dangling-link", "rubbish", "device", "full-folder"])
    taken = stage.scratch / "tmp" / f"hpcorch-{VICTIM}"
    if drawn == "full-folder":
        shutil.rmtree(taken, ignore_errors=True)
        for path in (stage.project / ".hpcorch" / "snapshots").iterdir():
            for folder in (taken / path.name, taken / path.name / "tree"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "app.py").write_text(stage.payload)
        stage.give(taken)
    else:
        plant(stage, taken, drawn)
    stage.retries = True
    return drawn

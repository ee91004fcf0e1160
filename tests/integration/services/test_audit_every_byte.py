"""Whatever byte of a ledger is changed, the audit reports it, or it changes nothing that anybody is told."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpcorch.errors import HpcorchError
from hpcorch.ledger import Ledger
from hpcorch.services.audit.audit import audit
from hpcorch.services.tending.reconcile import Reconciler
from tests.support.proven_sweeps import proven_sweep
from tests.support.sqlite_pages import Stretch, stretches
from tests.support.sweeps import SweepOnDisk

# `scripts/test all` tries every byte: half an hour on one core. Each share is far below a test's time limit.
ALL = "HPCORCH_EXAMPLES" in os.environ
SHARES = 96
SOME = 2

# Of these a change may go unseen, if nothing that is told follows from it: how far journals were read (not at all,
# so that they are read again), when somebody looked last, whether a ledger stands for a lost one, the order of the
# schema's rows, and what SQLite writes anew of its header.
SILENT = {"sources", "sweep_ids", "made_anew", "sqlite_schema", "file header"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepOnDisk:
    return proven_sweep(tmp_path_factory.mktemp("project"))


def is_reported(path: Path) -> bool:
    try:
        with Ledger.open(path) as ledger:
            return audit(ledger, None).exit_code == 1
    except HpcorchError as error:
        return str(path) in str(error)


def told(path: Path, sweep: SweepOnDisk) -> list[Any]:
    """All that is told of the sweep, after a look at its journals."""
    with Ledger.open(path, write=True) as ledger:
        Reconciler(ledger, sweep.journal).ingest()
        assert ledger.check(deep=True) == []
    with closing(sqlite3.connect(path)) as connection:
        views = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name").fetchall()
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in views]


def rows(path: Path) -> list[str]:
    """All tables with all rows. (SQLite has more than one way to write the same.)"""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def chosen(stretch: Stretch, share: int, chance: random.Random) -> Iterator[int]:
    if ALL:
        yield from (offset for offset in range(stretch.start, stretch.end) if offset % SHARES == share)
    elif stretch.start < stretch.end and stretch.owner not in SILENT:
        yield from {chance.randrange(stretch.start, stretch.end) for _ in range(SOME)}


@pytest.mark.parametrize("share", range(SHARES if ALL else 1))
def test_a_changed_byte_of_the_ledger_is_reported_or_changes_nothing_that_is_told(sweep, tmp_path, share):
    chance = random.Random(share)
    path, kept = tmp_path / "ledger.db", sweep.ledger_path.read_bytes()
    shutil.copy(sweep.ledger_path, path)
    usual, whole = told(path, sweep), rows(sweep.ledger_path)
    wrong = []
    for stretch in stretches(sweep.ledger_path):
        for offset in chosen(stretch, share, chance):
            altered = bytearray(kept)
            altered[offset] ^= chance.randrange(1, 256)
            path.write_bytes(altered)
            if is_reported(path):
                continue
            same = told(path, sweep) == usual if stretch.owner in SILENT else rows(path) == whole
            if not same:
                wrong.append((stretch.owner, offset, kept[offset], altered[offset]))
    assert wrong == []

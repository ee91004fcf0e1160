"""A finished sweep with all on record that can prove it: snapshot, environment, checkpoints, a result file."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from hpcorch.journal.access import make_record_folder
from hpcorch.journal.archives import ArchiveWriter, store
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import STATE_DIR, snapshots_folder
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.snapshots import file_entry
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.model.values import digest
from hpcorch.runtime.checkpoint.store import CheckpointStore
from tests.support.sweeps import SWEEP, SweepOnDisk, make_sweep

CODE = {"helpers.py": "WORD = 1\n", "train.py": "import helpers\nprint(helpers.WORD)\n"}
ENVIRONMENT = {"interpreter": {"version": "3.11.9"}, "packages": {"numpy": "2.1.0"}, "platform": {"cpu": "one"}}


def freeze(made: SweepOnDisk, code: Mapping[str, str], environment: Mapping[str, Mapping[str, str]]) -> str:
    """Put code and environment of launch 0 on record; the snapshot's digest."""
    writer = ArchiveWriter()
    for name, text in sorted(code.items()):
        writer.add(file_entry(name, text.encode(), executable=False), text.encode())
    snapshot, content = writer.finish()
    archive = store(snapshots_folder(made.project / STATE_DIR), snapshot, content)
    launch = made.layout.launch(0)
    record, diff = json.dumps(environment).encode(), b"--- a/helpers.py\n+++ b/helpers.py\n"
    write_whole(launch / "environment.json", record)
    write_whole(launch / "code.diff", diff)
    made.record(
        ev.CodeFrozen(
            launch=0,
            digest=snapshot,
            archive=str(archive),
            root=str(made.project),
            files=len(code),
            size=sum(map(len, code.values())),
            commit="8a1c" * 10,
            branch="trunk",
            remote="https://example.org/project.git",
            dirty=True,
            diff=made.layout.relative(launch / "code.diff"),
            diff_digest=digest(diff),
        ),
        ev.EnvironmentFrozen(
            launch=0,
            file=made.layout.relative(launch / "environment.json"),
            digest=digest(record),
            fingerprint=digest(record).removeprefix("sha256:"),
        ),
    )
    return snapshot


def proven_sweep(
    project: Path,
    *,
    sweep: str = SWEEP,
    code: Mapping[str, str] = CODE,
    environment: Mapping[str, Mapping[str, str]] = ENVIRONMENT,
    scale: float = 1.0,
) -> SweepOnDisk:
    """A sweep of two runs in the ledger: run 0 was preempted and went on from a checkpoint, run 1 has a file.

    :param scale: of run 0's result and metrics
    """
    made = make_sweep(project, sweep=sweep)
    snapshot = freeze(made, code, environment)
    made.submit([0, 1], script=b"#!/bin/bash\nhpcorch\n")
    run_with_checkpoints(made, snapshot, scale)
    run_with_result_file(made, snapshot)
    made.ingest()
    return made


def run_with_checkpoints(made: SweepOnDisk, snapshot: str, scale: float = 1.0) -> None:
    """Run 0: preempted after two checkpoints, of which it keeps one; then completed."""
    first = CheckpointStore(made.layout.checkpoints(0), AttemptId(run=0, submission=0, restart=0))
    with begun(made, 0, 0, snapshot) as journal:
        for step in (1, 2):
            journal.append(ev.MetricsLogged(entries=[[step, {"loss": scale / step}]]))
            journal.append(saved(made, first, step))
    made.record(ev.JobObserved(submission=0, run=0, restart=0, state="PREEMPTED", witness="sacct"))
    second = CheckpointStore(made.layout.checkpoints(0), AttemptId(run=0, submission=0, restart=1))
    restored, _ = second.newest()
    assert restored is not None
    with begun(made, 0, 1, snapshot) as journal:
        journal.append(
            ev.CheckpointRestored(
                step=restored.step,
                file=made.layout.relative(restored.path),
                digest=restored.digest,
                attempt=str(restored.attempt),
                generators=["random"],
            )
        )
        journal.append(ev.MetricsLogged(entries=[[3, {"loss": scale / 3}]]))
        journal.append(saved(made, second, 3))
        values = {name: [3, scale / 3] for name in ("last", "min", "max")}
        journal.append(ev.MetricsSummarised(metrics={"loss": values}))
        journal.append(ev.AttemptEnded(outcome="completed", exit_code=0, result=0.5 * scale))


def run_with_result_file(made: SweepOnDisk, snapshot: str) -> None:
    """Run 1: completed with a result that is too large for the journal, and named an input."""
    content = bytes(range(256)) * 2
    make_record_folder(made.layout.results)
    path = made.layout.results / "1.s0.r0.pkl"
    write_whole(path, content)
    with begun(made, 1, 0, snapshot) as journal:
        journal.append(
            ev.InputRecorded(
                path=str(made.project / "data.csv"), form="file", digest=digest(b"data"), size=4, files=1
            )
        )
        journal.append(
            ev.AttemptEnded(
                outcome="completed",
                exit_code=0,
                result="an array",
                result_file=made.layout.relative(path),
                result_digest=digest(content),
            )
        )


def begun(made: SweepOnDisk, run: int, restart: int, snapshot: str) -> JournalWriter:
    """The journal of an attempt that has verified what it runs, and seeded its generators."""
    attempt = AttemptId(run=run, submission=0, restart=restart)
    journal = JournalWriter.create(made.layout.journal(attempt))
    journal.append(ev.AttemptClaimed(host="n1", pid=99, cpus=2))
    journal.append(
        ev.AttemptVerified(
            config_digest=f"sha256:{run}", task_digest=digest(b"a task"), code_digest=snapshot, entry="program"
        )
    )
    journal.append(ev.AttemptSeeded(seed=100 + run, libraries=["random"]))
    journal.append(ev.AttemptCalled())
    return journal


def saved(made: SweepOnDisk, store_: CheckpointStore, step: int) -> ev.CheckpointSaved:
    """Save a checkpoint with a file of another framework."""
    staging = store_.staging(step)
    (staging / "weights.bin").write_bytes(bytes([step]) * 40)
    one = store_.save(
        step,
        {"step": step},
        generators={"random": random.Random(step).getstate()},
        extras={},
        keep=1,
        files=staging,
    )
    return ev.CheckpointSaved(
        step=step,
        file=made.layout.relative(one.path),
        size=one.size,
        digest=one.digest,
        seconds=0.0,
        removed=[made.layout.relative(path) for path in one.removed],
    )


def without_triggers(path: Path) -> None:
    """Let a test change events, as somebody does who edits the file."""
    with closing(sqlite3.connect(path)) as connection:
        for name in ("update", "delete", "replace"):
            connection.execute(f"DROP TRIGGER IF EXISTS events_refuse_{name}")
        connection.commit()

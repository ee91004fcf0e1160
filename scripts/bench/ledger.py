#!/usr/bin/env python3
"""How fast and how large the ledger is: `scripts/bench/ledger.py --runs 1000000`.

Makes sweeps of realistic events (manifests on disk, attempt journals as segments), ingests them as a launcher and
later commands would, and times whole processes that list them. Prints one row a figure, with what was asked for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun, write_manifest
from hpcorch.journal.reader import Segment
from hpcorch.ledger import Ledger, manifests_in
from hpcorch.ledger.check import check_chain, check_file, check_projections
from hpcorch.ledger.connection import connect_reader
from hpcorch.model import events as ev
from hpcorch.model.ids import utc_now

ARRAY = 1000  # Slurm's default MaxArraySize is 1001
BATCH = 100_000  # runs of one launch
EVENTS_A_JOURNAL = 5

LIST = """
import sys
from hpcorch.ledger import Ledger
with Ledger.open(sys.argv[1]) as ledger:
    for item in ledger.sweeps():
        print(item.sweep.id, item.state.value, item.runs)
"""
STATUS = """
import sys
from hpcorch.ledger import Ledger
from hpcorch.model.states import RunState
with Ledger.open(sys.argv[1]) as ledger:
    last = ledger.sweep("last")
    print(last.counts)
    for run in ledger.runs(last.sweep.id, states=[RunState.FAILED], limit=20):
        print(run.run, run.error)
"""


def plan(layout: SweepLayout, sweep: str, first: int, count: int) -> str:
    """Write the manifest of a launch."""
    config = {"model": {"name": "mlp", "hidden": [64, 64]}, "optimizer": {"name": "sgd", "lr": 0.1}, "seed": 0}
    runs = [
        ManifestRun(
            run=run,
            base=0,
            overrides=[f"optimizer.lr={run / 1e6}", f"seed={run}"],
            params={"optimizer.lr": run / 1e6, "seed": run},
            changes={"optimizer.lr": run / 1e6, "seed": run},
            config_digest=f"sha256:{run:064x}",
            seed=run,
            seed_source="config",
            directory=f"{layout.directory}/{run}",
            node={"overrides": [f"optimizer.lr={run / 1e6}", f"seed={run}"]},
        )
        for run in range(first, first + count)
    ]
    header = ManifestHeader(
        sweep=sweep,
        batch=first,
        count=count,
        backend="slurm",
        job_name="train",
        project=str(layout.directory.parent),
        cwd=str(layout.directory.parent),
        python=sys.executable,
        task_digest="sha256:0",
    )
    layout.batch(first).mkdir(parents=True)
    return write_manifest(layout.manifest(first), header, [ManifestBase(base=0, config=config, pickle=b"")], runs)


def control(layout: SweepLayout, sweep: str, first: int, count: int) -> list[ev.Fact]:
    """What a launch writes to the control journal."""
    facts: list[ev.Fact] = []
    if first == 0:
        facts.append(
            ev.SweepCreated(
                sweep=sweep,
                name="train",
                backend="slurm",
                directory=str(layout.directory),
                project=str(layout.directory.parent),
                user="alice",
                host="login1",
                cwd=str(layout.directory.parent),
                argv=["train.py", "-m"],
                root_seed=1,
                sweeper="BasicSweeper",
            )
        )
    manifest = layout.relative(layout.manifest(first))
    digest = plan(layout, sweep, first, count)
    facts.append(
        ev.BatchPlanned(
            batch=first, count=count, manifest=manifest, manifest_digest=digest, task_digest="sha256:0", options={}
        )
    )
    for start in range(first, first + count, ARRAY):
        number = start // ARRAY
        facts += [
            ev.SubmissionIntended(
                submission=number,
                batch=first,
                runs=f"{start}-{min(start + ARRAY, first + count) - 1}",
                token=f"{number:032x}",
                backend="slurm",
                host="login1",
                script=f".hpcorch/submissions/s{number}.sbatch",
            ),
            ev.SubmissionAccepted(submission=number, job_id=str(1000 + number)),
            ev.SubmissionReleased(submission=number),
        ]
    return facts


def journal(sweep: str, run: int) -> Segment:
    """One attempt's journal: a run in fifty fails."""
    failed = run % 50 == 7
    number, task = divmod(run, ARRAY)
    facts: list[ev.Fact] = [
        ev.AttemptClaimed(
            host=f"node{run % 64:03d}",
            pid=1000 + run % 30000,
            job_id=str(5000 + run),
            array_job_id=str(1000 + number),
            array_task=task,
            log=f".hpcorch/logs/s{number}_{task}.log",
            log_offset=0,
            python="3.11.2",
            cpus=4,
            gpus="0",
        ),
        ev.AttemptVerified(config_digest=f"sha256:{run:064x}", task_digest="sha256:0"),
        ev.AttemptSeeded(seed=run, libraries=["random", "numpy"]),
        ev.AttemptCalled(),
        ev.AttemptEnded(
            outcome="failed" if failed else "completed",
            exit_code=int(failed),
            result=None if failed else run / 1e6,
            error="ValueError: the loss is not finite" if failed else None,
            working_dir=f"/project/sweep/{run}",
            task_name="train",
            log_end=4000,
        ),
    ]
    return segment(sweep, f"{run}.s{number}.r0", facts, 0)


def segment(sweep: str, source: str, facts: list[ev.Fact], first: int) -> Segment:
    now = utc_now()
    found = tuple(
        ev.Event(sweep=sweep, source=source, seq=first + index, time=now, fact=fact)
        for index, fact in enumerate(facts)
    )
    return Segment(source=source, events=found, start=first * 100, end=(first + len(facts)) * 100, rest=0)


def journals(sweep: str, runs: range) -> Iterator[Segment]:
    return (journal(sweep, run) for run in runs)


def timed_process(code: str, ledger: Path) -> float:
    """Seconds of a whole Python process, the best of five."""
    command = [sys.executable, "-c", code, str(ledger)]
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - start)
    return best


class Stopwatch:
    """Seconds of wall and of CPU time, summed over blocks: they differ where the machine has other work."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]

    def rate(self, events: int) -> str:
        return f"{events / self.wall:,.0f} events/s ({events / self.cpu:,.0f} of CPU)"


def fill(ledger: Ledger, root: Path, runs: int, *, observed: bool) -> tuple[int, Stopwatch]:
    """Ingest one sweep, launch by launch and then journals as they come; events, and ingestion's own time."""
    sweep = "20260101-000000-bench"
    layout = SweepLayout(root / "sweep")
    manifests = manifests_in(layout.directory)
    events, known, watch = 0, 0, Stopwatch()

    def ingest(segments: list[Segment]) -> None:
        nonlocal events
        with watch:
            events += ledger.ingest(sweep, segments, manifests).events
        print(f"  {events:,} events, {watch.rate(events)}", file=sys.stderr)

    for first in range(0, runs, BATCH):
        facts = control(layout, sweep, first, min(BATCH, runs - first))
        ingest([segment(sweep, "control", facts, known)])
        known += len(facts)
    for first in range(0, runs, BATCH // 10):
        some = range(first, min(first + BATCH // 10, runs))
        ingest(list(journals(sweep, some)))
        if observed:
            said = [
                ev.JobObserved(
                    submission=run // ARRAY,
                    run=run,
                    restart=0,
                    state="FAILED" if run % 50 == 7 else "COMPLETED",
                    witness="sacct",
                    node=f"node{run % 64:03d}",
                    exit_code=int(run % 50 == 7),
                    start=utc_now(),
                    end=utc_now(),
                )
                for run in some
            ]
            ingest([segment(sweep, "control", list(said), known)])
            known += len(said)
    return events, watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument(
        "--no-observed", dest="observed", action="store_false", help="no word from sacct on each run"
    )
    parser.add_argument("--directory", type=Path, help="where the files are made (default: a temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        report(Path(folder), options.runs, observed=options.observed)


def report(root: Path, runs: int, *, observed: bool) -> None:
    path = root / "ledger.db"
    with Ledger.open(path, write=True, create=True) as ledger:
        events, ingestion = fill(ledger, root, runs, observed=observed)
    rows = [
        ("runs", f"{runs:,}", ""),
        ("events", f"{events:,}", ""),
        ("ingestion", ingestion.rate(events), ">= 20,000"),
        ("size", f"{path.stat().st_size / runs:,.0f} bytes/run", "< 3,000"),
        ("list sweeps, whole process", f"{timed_process(LIST, path):.3f} s", "< 0.3"),
        ("status of last, whole process", f"{timed_process(STATUS, path):.3f} s", "< 0.3"),
    ]
    everything = Stopwatch()
    with closing(connect_reader(path)) as connection:
        for examine in (check_file, check_chain, check_projections):
            with everything, Stopwatch() as watch:
                findings = list(examine(connection))
            rows.append((examine.__name__, watch.rate(events), f"{len(findings)} findings"))
    rows.append(("check, all", everything.rate(events), "chain: >= 100,000"))
    with Ledger.open(path, write=True) as ledger, Stopwatch() as watch:
        ledger.rebuild()
    rows.append(("rebuild", watch.rate(events), ""))
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name, figure, wanted in rows:
        print(f"{name:32}{figure:>44}  {wanted}")


if __name__ == "__main__":
    main()

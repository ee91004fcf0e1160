"""Sweeps made of events alone, for tests of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun
from hpcorch.journal.manifest_file import write_manifest
from hpcorch.journal.reader import Segment
from hpcorch.ledger import Ledger
from hpcorch.model import events as ev
from hpcorch.model.states import Backend

SWEEP = "20260101-120000-bcdf"
BYTES = 100  # a line's length, for offsets of segments that are in no file


def created(sweep: str = SWEEP, directory: str = "/project/sweep", **changes: Any) -> ev.SweepCreated:
    values: dict[str, Any] = {
        "sweep": sweep,
        "name": "train",
        "backend": "slurm",
        "directory": directory,
        "project": "/project",
        "user": "alice",
        "host": "login1",
        "cwd": "/project",
        "argv": ["train.py", "-m", "lr=0.1,0.2"],
        "root_seed": 7,
        "sweeper": "BasicSweeper",
    }
    return ev.SweepCreated(**{**values, **changes})


def launch(count: int, first: int = 0, digest: str = "sha256:0") -> ev.LaunchPlanned:
    return ev.LaunchPlanned(
        first_run=first,
        count=count,
        manifest=f".hpcorch/launch-{first:06d}/manifest.jsonl",
        manifest_digest=digest,
        task_digest="sha256:1",
        options={"partition": "gpu"},
    )


def planned(run: int, base: int = 0) -> ev.RunPlanned:
    lr = round(0.1 * (run + 1), 1)
    return ev.RunPlanned(
        run=run,
        base=base,
        overrides=[f"lr={lr}"],
        params={"lr": lr},
        changes={"lr": lr, "model.layers.1": run},
        config_digest=f"sha256:{run}",
        seed=100 + run,
        seed_source="derived",
        directory=f"/project/sweep/{run}",
    )


def base(number: int = 0) -> ev.BasePlanned:
    return ev.BasePlanned(base=number, config={"lr": 0.1, "model": {"name": "mlp", "layers": [8, 8]}})


def plan_of(launch_planned: ev.LaunchPlanned) -> list[ev.Fact]:
    """A stand-in for manifests on disk: one base, and the runs of the launch."""
    first = launch_planned.first_run
    return [base(), *map(planned, range(first, first + launch_planned.count))]


def intended(submission: int, runs: str, first: int = 0) -> ev.SubmissionIntended:
    return ev.SubmissionIntended(
        submission=submission,
        launch=first,
        runs=runs,
        token=f"{submission:032x}",
        backend=Backend.SLURM,
        host="login1",
        script=f".hpcorch/submissions/s{submission}.sbatch",
    )


def submitted(submission: int, runs: str, job_id: str = "4711") -> list[ev.Fact]:
    return [
        intended(submission, runs),
        ev.SubmissionAccepted(submission=submission, job_id=job_id),
        ev.SubmissionReleased(submission=submission),
    ]


def attempt(result: Any = 0.5, *, task: int = 0, outcome: str = "completed", **ended: Any) -> list[ev.Fact]:
    """The journal of an attempt that ran to an end of its own."""
    return [
        ev.AttemptClaimed(
            host="n1", pid=99, job_id="4711", array_job_id="4711", array_task=task, log="logs/s0_0.log"
        ),
        ev.AttemptVerified(config_digest="sha256:0", task_digest="sha256:1"),
        ev.AttemptSeeded(seed=100, libraries=["random"]),
        ev.AttemptCalled(),
        ev.AttemptEnded(outcome=outcome, exit_code=int(outcome != "completed"), result=result, **ended),
    ]


def segment(source: str, facts: Iterable[ev.Fact], *, first: int = 0, sweep: str = SWEEP) -> Segment:
    """Facts as what a reader finds in a source from its ``first`` line on, a second apart."""
    found = tuple(
        ev.Event(sweep=sweep, source=source, seq=seq, time=f"2026-01-01T12:00:{seq % 60:02d}.000000Z", fact=fact)
        for seq, fact in enumerate(facts, start=first)
    )
    return Segment(source=source, events=found, start=first * BYTES, end=(first + len(found)) * BYTES, rest=0)


def cut(whole: Segment, points: Sequence[int]) -> list[Segment]:
    """A segment in pieces, as if it had been read bit by bit."""
    edges = [0, *sorted({point for point in points if 0 < point < len(whole.events)}), len(whole.events)]
    return [
        Segment(
            source=whole.source,
            events=whole.events[low:high],
            start=whole.start + low * BYTES,
            end=whole.start + high * BYTES,
            rest=0,
        )
        for low, high in pairwise(edges)
    ]


def tables(ledger: Ledger) -> dict[str, Any]:
    """All that the ledger derives, without what depends on when it was read."""
    sweeps = ledger.sweeps()
    ids = [summary.sweep.id for summary in sweeps]
    return {
        "sweeps": [(summary.sweep, summary.state, summary.counts) for summary in sweeps],
        "runs": {name: ledger.runs(name) for name in ids},
        "attempts": {name: ledger.attempts(name) for name in ids},
        "submissions": {name: ledger.submissions(name) for name in ids},
        "launches": {name: ledger.launches(name) for name in ids},
        "configs": {name: [ledger.config(name, run.run) for run in ledger.runs(name)] for name in ids},
        "views": [sorted(ledger.query(f"SELECT * FROM {view}").rows, key=repr) for view in _VIEWS],
        "events": {event.id for name in ids for event in ledger.events(name)},
    }


_VIEWS = (
    *("v_sweeps", "v_runs", "v_params", "v_attempts", "v_failures", "v_submissions"),
    *("v_checkpoints", "v_metrics"),
)


def small_sweep(ledger: Ledger, runs: int = 3, sweep: str = SWEEP, **changes: Any) -> None:
    """A sweep of which run 1 failed, the last run is still pending, and the others are completed."""
    control: list[ev.Fact] = [created(sweep, **changes), launch(runs), *submitted(0, f"0-{runs - 1}")]
    journals = [
        segment(
            f"{run}.s0.r0",
            attempt(task=run, outcome="failed", result=None, error="ValueError: no")
            if run == 1
            else attempt(run / 2, task=run),
            sweep=sweep,
        )
        for run in range(runs - 1)
    ]
    ledger.ingest(sweep, [segment("control", control, sweep=sweep), *journals], plan_of)


def write_plan(layout: SweepLayout, count: int) -> ev.LaunchPlanned:
    """A manifest on disk, and the event that tells of it."""
    facts = plan_of(launch(count))
    configs = [fact for fact in facts if isinstance(fact, ev.BasePlanned)]
    header = ManifestHeader(
        sweep=SWEEP,
        launch=0,
        count=count,
        backend=Backend.SLURM,
        job_name="train",
        project="/project",
        cwd="/project",
        python="python3",
        task_digest="sha256:1",
    )
    layout.launch(0).mkdir(parents=True)
    digest = write_manifest(
        layout.manifest(0),
        header,
        [ManifestBase(base=fact.base, config=fact.config, pickle=b"") for fact in configs],
        [ManifestRun(node={}, **ev.to_body(fact)) for fact in facts if isinstance(fact, ev.RunPlanned)],
    )
    return launch(count, digest=digest)


def make_ledger(folder: Path) -> Path:
    """A ledger with one small sweep."""
    path = folder / "ledger.db"
    with Ledger.open(path, write=True, create=True) as ledger:
        small_sweep(ledger)
    return path


_RIGHT = {
    "str": "text",
    "int": 1,
    "float": 0.5,
    "bool": True,
    "Any": {"$int": "1"},
    "Ranges": "0-2,5",
    "Time": "2026-11-23T14:30:00.000000Z",
    "Form": "script-job",
    "StepValue": [1, 0.5],
}


def _right(annotation: str) -> Any:
    """A value of an annotated type."""
    annotation = annotation.removesuffix(" | None")
    if annotation.startswith("list["):
        return [_right(annotation[5:-1])]
    if annotation.startswith("dict[str, "):
        return {"key": _right(annotation[10:-1])}
    return _RIGHT[annotation]


def body_of(kind: str) -> dict[str, Any]:
    """The body of a fact with all its fields, each with a value of its type."""
    return {item.name: _right(str(item.type)) for item in fields(ev.fact_class(kind))}

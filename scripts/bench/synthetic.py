"""Sweeps of realistic events for the ledger's benchmarks: manifests on disk, attempt journals as segments."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun
from hpcorch.journal.manifest_file import write_manifest
from hpcorch.journal.reader import Segment
from hpcorch.model import events as ev
from hpcorch.model.ids import utc_now

ARRAY = 1000  # Slurm's default MaxArraySize is 1001


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
        launch=first,
        count=count,
        backend="slurm",
        job_name="train",
        project=str(layout.directory.parent),
        cwd=str(layout.directory.parent),
        python=sys.executable,
        task_digest="sha256:0",
    )
    layout.launch(first).mkdir(parents=True)
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
        ev.LaunchPlanned(
            first_run=first,
            count=count,
            manifest=manifest,
            manifest_digest=digest,
            task_digest="sha256:0",
            options={},
        )
    )
    for start in range(first, first + count, ARRAY):
        number = start // ARRAY
        facts += [
            ev.SubmissionIntended(
                submission=number,
                launch=first,
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
    """One attempt's journal."""
    failed = _fails(run)
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


def segment(sweep: str, source: str, facts: Sequence[ev.Fact], first: int) -> Segment:
    """Facts as what a reader finds in a source from its ``first`` line on."""
    now = utc_now()
    found = tuple(
        ev.Event(sweep=sweep, source=source, seq=first + index, time=now, fact=fact)
        for index, fact in enumerate(facts)
    )
    return Segment(source=source, events=found, start=first * 100, end=(first + len(facts)) * 100, rest=0)


def journals(sweep: str, runs: range) -> Iterator[Segment]:
    """The journals of some runs."""
    return (journal(sweep, run) for run in runs)


def observed(run: int) -> ev.JobObserved:
    """sacct's last word on a run."""
    failed = _fails(run)
    return ev.JobObserved(
        submission=run // ARRAY,
        run=run,
        restart=0,
        state="FAILED" if failed else "COMPLETED",
        witness="sacct",
        node=f"node{run % 64:03d}",
        exit_code=int(failed),
        start=utc_now(),
        end=utc_now(),
    )


def _fails(run: int) -> bool:
    """One run in fifty."""
    return run % 50 == 7

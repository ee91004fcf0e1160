"""Preempted runs on a real Slurm: each must end bit-identical to a twin that was never touched.

Run it as root. In a cluster of its own (scripts/slurm-lab in the folder --lab; one that runs already is used and
left running) alice submits the same sweep thrice: undisturbed; on nodes where it is interrupted at random moments,
again and again; and with a time limit that is too short for it. Then weights, results, metrics and whole metric
curves are compared bit for bit, and the ledger's word on each attempt with its journal.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab_cluster import Cluster, running_cluster, trial_parser
from preempted_sweep import Interruption, Sweep, differences, untold
from preemption_kinds import ROUND, Disturber

HERE = Path(__file__).parent
CANNOT = 77  # something that the trial needs is not installed
SETTLE_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What is swept over, and how long it is.

    :param keys: of the launcher
    :param long: overrides of the full form, ``short`` of the short one
    """

    argv: Sequence[str]
    long: Sequence[str]
    short: Sequence[str]
    keys: Sequence[str] = ("mem_gb=2",)  # all runs fit on one node, should the other be lost
    kinds: Sequence[str] = ROUND


APPS = {
    "example": App(
        argv=[str(HERE.parent / "train.py"), "checkpoint_minutes=0"],
        long=["seed=1,2,3", "model=mlp,deep", "optimizer=adam", "epochs=1500"],
        short=["seed=1,2", "model=mlp,deep", "optimizer=adam", "epochs=700"],
    ),
    "torch": App(
        argv=[str(HERE / "preempted_torch.py"), "+every_steps=3", "+hidden=256"],
        long=["+seed=1,2,3", "+workers=0,2", "+epochs=240"],
        short=["+seed=1,2", "+workers=0,2", "+epochs=90"],
        keys=("mem_gb=2.5",),  # the loader's workers of two epochs at once, each with what PyTorch has in memory
    ),
    "ranks": App(
        argv=[str(HERE / "preempted_ranks.py"), "+every_steps=5", "+pause=0.02", "+ranks=4"],
        long=["+seed=1,2,3", "+steps=3000"],
        short=["+seed=1,2", "+steps=800"],
        keys=("nodes=2", "tasks_per_node=2", "mem_gb=2"),
        kinds=("preempted", "preempted", "twice", "requeued"),  # a lost node would leave no two for a run
    ),
}
DISTURBED, LIMITED, QUIET = "disturbed", "limited", "undisturbed"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a trial found. ``violations`` is empty if all is well."""

    release: str
    app: str
    seed: int
    seconds: float = 0.0
    runs: int = 0
    interruptions: list[Interruption] = field(default_factory=list)
    different: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


def main() -> int:
    options = _parser().parse_args()
    if options.app == "torch" and not _has_torch(options.venv):
        print(f"NOT RUN: PyTorch is not installed in {options.venv}", file=sys.stderr)
        return CANNOT
    with running_cluster(options) as cluster:
        report = _trial(cluster, options)
    print(_as_json(report) if options.json else _as_table(report))
    return int(bool(report.violations))


def _parser() -> argparse.ArgumentParser:
    parser = trial_parser(__doc__, name="preemptions")
    parser.add_argument("--app", choices=APPS, default="example", help="what is swept over (%(default)s)")
    parser.add_argument("--short", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--interruptions", type=int, help="at least so many (60; short: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (%(default)s)")
    return parser


def _has_torch(venv: Path) -> bool:
    return any(venv.glob("lib/python3*/site-packages/torch"))


def _trial(cluster: Cluster, options: argparse.Namespace) -> Report:
    report = Report(release=cluster.release, app=options.app, seed=options.seed)
    began = time.monotonic()
    app = APPS[options.app]
    folder = cluster.folder / "work" / f"preemptions-{os.getpid()}"
    argv = [*app.argv, *(app.short if options.short else app.long)]
    sweeps = {name: Sweep(cluster=cluster, folder=folder / name, argv=argv) for name in (DISTURBED, LIMITED, QUIET)}
    if options.app == "ranks":  # they need two nodes each: the time limit is for the others
        del sweeps[LIMITED]
    _launch(sweeps, app.keys)
    disturber = Disturber(
        sweep=sweeps[DISTURBED], rng=random.Random(options.seed), nodes=("n1", "n2"), kinds=app.kinds
    )
    try:
        disturber.disturb(until=options.interruptions or (12 if options.short else 60))
        _settle(list(sweeps.values()))
        _judge(report, sweeps)
    except (TimeoutError, subprocess.TimeoutExpired, RuntimeError) as error:
        report.violations.append(f"the trial could not be brought to its end: {error!r}")
    finally:
        disturber.mend()
        for sweep in sweeps.values():
            cluster.root("scancel", sweep.array)
    report.violations += disturber.violations
    report.seconds = time.monotonic() - began
    return report


def _launch(sweeps: dict[str, Sweep], keys: Sequence[str]) -> None:
    """Each sweep on nodes of its own, so that a preemption meets the one that it is meant for."""
    own = {
        DISTURBED: ("partition=preempt", "exclude='n3,n4'"),
        LIMITED: (
            "exclude='n1,n2,n4'",
            "mem_gb=1",
            "timeout_min=1",
            "signal_delay_s=30",
            "max_num_timeout=200",  # on a busy machine an attempt may make no progress
            "requeue_while_progress=true",
        ),
        QUIET: ("exclude='n1,n2'",) if LIMITED not in sweeps else ("exclude='n1,n2,n3'",),
    }
    for name, sweep in sweeps.items():
        sweep.launch(*keys, *own[name])
        _say(f"{name}: array {sweep.array}")


def _settle(sweeps: Sequence[Sweep]) -> None:
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    waiting = list(sweeps)
    while waiting:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not settled within {SETTLE_TIMEOUT_S} s: {[str(one.folder) for one in waiting]}")
        waiting = [sweep for sweep in waiting if not sweep.refresh()]
        time.sleep(1)


def _judge(report: Report, sweeps: dict[str, Sweep]) -> None:
    quiet = sweeps.pop(QUIET)
    if len({len(sweep.seen.get("runs", ())) for sweep in (quiet, *sweeps.values())}) != 1:
        report.violations.append("the sweeps have not the same runs")
        return
    for name, sweep in sweeps.items():
        report.runs += len(sweep.seen["runs"])
        for run, other in zip(sweep.seen["runs"], quiet.seen["runs"], strict=True):
            found = list(differences(sweep, quiet, run, other))
            interrupted = list(sweep.interruptions(run))
            report.interruptions += interrupted
            report.violations += [f"{name}: {sentence}" for sentence in (*found, *untold(sweep, run))]
            if found:
                report.different.update(map(id, interrupted))
        report.violations += [f"{name}: {sentence}" for sentence in _ledger(sweep)]


def _ledger(sweep: Sweep) -> Iterator[str]:
    checked = sweep.alice("hpcorch", "ledger", "check")
    if checked.returncode != 0:
        yield f"ledger check: {checked.stdout.strip()} {checked.stderr.strip()}"


def _as_table(report: Report) -> str:
    """A Markdown table by moment, and a line for each thing that is not as it should be."""
    head = f"| interrupted ({report.app}, Slurm {report.release}, seed {report.seed})"
    lines = [f"{head} | attempts | ended as | bit-identical |", "|---|---:|---|---:|"]
    by_moment = sorted(report.interruptions, key=lambda one: one.moment)
    for moment, group in itertools.groupby(by_moment, key=lambda one: one.moment):
        lines.append(_row(report, moment, list(group)))
    lines.append(_row(report, f"all, of {report.runs} runs in {report.seconds:.0f} s", report.interruptions))
    return "\n".join([*lines, *(f"\n{sentence}" for sentence in report.violations)])


def _row(report: Report, name: str, some: Sequence[Interruption]) -> str:
    words = ", ".join(f"{count} {state}" for state, count in Counter(one.state for one in some).most_common())
    return f"| {name} | {len(some)} | {words} | {_identical(report, some)} |"


def _identical(report: Report, some: Sequence[Interruption]) -> int:
    return sum(id(one) not in report.different for one in some)


def _as_json(report: Report) -> str:
    return json.dumps(
        {
            "release": report.release,
            "app": report.app,
            "seed": report.seed,
            "seconds": round(report.seconds, 1),
            "runs": report.runs,
            "interruptions": dict(Counter(one.moment for one in report.interruptions)),
            "identical": _identical(report, report.interruptions),
            "violations": report.violations,
        },
        indent=2,
    )


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Nothing shared is oversubscribed, and no limit stops a sweep: three trials on a real Slurm.

Run it as root. It uses the cluster of scripts/slurm-lab in the folder --lab (one that runs already is left
running), which has the licence scratch:4 and MaxArraySize 1001. The ordinary user alice launches sweeps, leaves
them, and does nothing more. Their tasks note when they begin and end; Slurm is sampled beside that.

licenses   two sweeps whose runs hold 1 and 2 licences
throttles  three sweeps, started at different times, that share 5 readers
feeding    one sweep larger than the limit of submitted jobs that its QOS has
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from caps_trial import Place, Samples, sampled
from lab_cluster import Cluster, running_cluster, trial_parser

PROFILE = """
resources:
  scratch_io: {capacity: 4, enforced: license, license: scratch, unit: writers}
  disk: {capacity: 5, enforced: throttle, unit: readers}
"""
LICENSES, READERS, LEAST_MEAN = 4, 5, 4
QOS = "hpcorch-caps"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a trial found. ``violations`` is empty if all is well."""

    trial: str
    told: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def expect(self, what: str, *, holds: bool) -> None:
        if not holds:
            self.violations.append(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large a trial is.

    :param sleep: seconds that a run works
    :param gap_s: seconds between two launches
    :param limit: jobs that the QOS lets a user have submitted
    """

    runs: int
    sleep: float
    gap_s: float = 0.0
    limit: int = 0


FULL = {
    "licenses": Sizes(runs=40, sleep=3),
    "throttles": Sizes(runs=40, sleep=10, gap_s=30),
    "feeding": Sizes(runs=2500, sleep=0, limit=600),
}
SHORT = {
    "licenses": Sizes(runs=6, sleep=3),
    "throttles": Sizes(runs=7, sleep=10, gap_s=12),
    "feeding": Sizes(runs=110, sleep=0, limit=40),  # more than are submitted without asking for limits
}


def licenses(place: Place, sizes: Sizes, report: Report) -> None:
    with sampled(lambda: _licenses_used(place.cluster)) as samples:
        for units in (1, 2):
            keys = f"resources={{scratch_io: {units}}}"
            place.launch(f"units{units}", sizes.runs, keys, sleep=sizes.sleep, units=units)
        place.wait_until_over(timeout_s=600)
    _judge(place, report, capacity=LICENSES, samples=samples)


def throttles(place: Place, sizes: Sizes, report: Report) -> None:
    with sampled(lambda: len(place.queue("-t", "R", "-n", "app"))) as samples:
        for name in ("first", "second", "third"):
            place.launch(name, sizes.runs, "resources={disk: 1}", sleep=sizes.sleep)
            time.sleep(sizes.gap_s)
        place.wait_until_over(timeout_s=900)
    mean = _judge(place, report, capacity=READERS, samples=samples)
    report.expect(f"mean {mean:.2f} by Slurm while work waited, not above {LEAST_MEAN}", holds=mean > LEAST_MEAN)


def feeding(place: Place, sizes: Sizes, report: Report) -> None:
    usable = sizes.limit - max(1, round(sizes.limit * 0.05))
    with _limited(place.cluster, sizes.limit), sampled(lambda: len(place.queue())) as samples:
        began = time.monotonic()
        place.launch("large", sizes.runs, f"qos={QOS}", "compact=true", "array_parallelism=8", sleep=sizes.sleep)
        launched = time.monotonic()
        place.wait_until_over(timeout_s=3000)
    took = time.monotonic() - began
    _judge(place, report, capacity=sizes.runs, samples=Samples())
    control = (place.folder / "large" / ".hpcorch" / "control.jsonl").read_text()
    refused = control.count('"submission-rejected"')
    arrays = control.count('"submission-intended"')
    report.expect(f"{refused} submissions were refused", holds=not refused)
    most = samples.most
    report.expect(f"{most} jobs at once, above {usable}", holds=most <= usable)
    report.numbers |= {"arrays": arrays, "most_submitted": most, "launch_s": round(launched - began, 1)}
    report.told = (
        f"{sizes.runs} runs in {arrays} arrays under a limit of {sizes.limit}: at most {most} jobs with Slurm at"
        f" {len(samples.seen)} looks, {refused} refused; launched in {launched - began:.1f} s, over after"
        f" {took:.0f} s ({1000 * took / sizes.runs:.0f} ms a run)"
    )


def _licenses_used(cluster: Cluster) -> int:
    for line in cluster.root("scontrol", "-o", "show", "licenses").splitlines():
        words = dict(word.split("=", 1) for word in line.split())
        if words["LicenseName"] == "scratch":
            return int(words["Used"])
    raise RuntimeError("the cluster has no licence scratch")


@contextmanager
def _limited(cluster: Cluster, limit: int) -> Iterator[None]:
    """Give alice a QOS with a limit of submitted jobs."""
    cluster.root("sacctmgr", "-i", "add", "qos", QOS, f"MaxSubmitJobsPerUser={limit}")
    try:
        cluster.root("sacctmgr", "-i", "modify", "user", "alice", "set", f"qos+={QOS}")
        yield
    finally:
        cluster.root("scancel", "-u", "alice")
        cluster.root("sacctmgr", "-i", "modify", "user", "alice", "set", f"qos-={QOS}")
        cluster.root("sacctmgr", "-i", "delete", "qos", QOS)


def _judge(place: Place, report: Report, *, capacity: int, samples: Samples) -> float:
    """What holds for every trial; the mean use by Slurm while work waited."""
    use = place.use()
    mean = samples.mean(use.waiting)
    report.expect(f"{use.most} in use at once by the tasks, above {capacity}", holds=use.most <= capacity)
    report.expect(f"{samples.most} in use at once by Slurm, above {capacity}", holds=samples.most <= capacity)
    for sweep, (_, runs) in place.due.items():
        report.expect(f"{sweep}: not each run began once", holds=use.entered[sweep] == Counter(range(runs)))
        states = _states(place.status(sweep))
        report.expect(f"{sweep}: the ledger says {dict(states)}", holds=states == Counter({("COMPLETED", 1): runs}))
    report.numbers |= {
        "most": use.most,
        "mean": round(use.mean, 2),
        "waiting_s": round(use.waiting_s, 1),
        "sampled_most": samples.most,
        "sampled_mean": round(mean, 2),
        "samples": len(samples.seen),
    }
    report.told = (
        f"{sum(runs for _, runs in place.due.values())} runs in {len(place.due)} sweeps, capacity {capacity}: at"
        f" most {use.most} by the tasks' notes, {samples.most} by {len(samples.seen)} looks at Slurm; in the"
        f" {use.waiting_s:.0f} s in which work waited a mean of {use.mean:.2f} by the notes, {mean:.2f} by Slurm"
    )
    return mean


def _states(status: Mapping[str, Any]) -> Counter[tuple[str, int]]:
    """(state, attempts) -> runs, by the ledger."""
    return Counter((run["state"], len(run["attempts"])) for run in status["runs"])


TRIALS: Mapping[str, Callable[[Place, Sizes, Report], None]] = {
    "licenses": licenses,
    "throttles": throttles,
    "feeding": feeding,
}


def main() -> int:
    options = _parser().parse_args()
    with running_cluster(options) as cluster:
        names = options.only.split(",") if options.only else list(TRIALS)
        reports = [_trial(name, cluster, options) for name in names]
    print(_as_json(reports) if options.json else _as_table(reports, cluster))
    return int(any(report.violations for report in reports))


def _trial(name: str, cluster: Cluster, options: argparse.Namespace) -> Report:
    report = Report(trial=name)
    place = Place(cluster=cluster, folder=cluster.folder / "work" / f"caps-{os.getpid()}" / name)
    place.prepare(PROFILE)
    try:
        TRIALS[name](place, (SHORT if options.short else FULL)[name], report)
    except (TimeoutError, subprocess.TimeoutExpired, RuntimeError) as error:
        report.violations.append(f"the trial could not be brought to its end: {error!r}")
        cluster.root("scancel", "-u", "alice")
    print(f"{time.strftime('%H:%M:%S')} {name}: {report.told} {report.violations}", file=sys.stderr, flush=True)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = trial_parser(__doc__, name="caps")
    parser.add_argument("--only", help="comma-separated trials; all if not given")
    parser.add_argument("--short", action="store_true", help="fewer and shorter runs")
    return parser


def _as_table(reports: list[Report], cluster: Cluster) -> str:
    lines = [f"| trial (Slurm {cluster.release}) | seen | as it should be |", "|---|---|---|"]
    lines += [f"| {one.trial} | {one.told} | {'; '.join(one.violations) or 'yes'} |" for one in reports]
    return "\n".join(lines)


def _as_json(reports: list[Report]) -> str:
    return json.dumps({one.trial: {**one.numbers, "violations": one.violations} for one in reports}, indent=2)


if __name__ == "__main__":
    sys.exit(main())

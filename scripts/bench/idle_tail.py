#!/usr/bin/env python3
"""How long a packed array's first task without work waits for the last one: `scripts/bench/idle_tail.py`.

On a machine that can submit to Slurm. Launches runs of mixed lengths (180 of 0.05 s and 20 of 5 s, in an order that
is shuffled, and always the same) over a few tasks. From the attempts in the ledger it says when each task had ended
its last run: from the first of these ends to the last of them is the idle tail. Beside it stands what it would be
if each task had the runs of its own share and no others, by the lengths alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from hpcorch.ledger import Ledger
from hpcorch.model.entities import Attempt
from hpcorch.model.ids import parse_time
from hpcorch.model.states import AttemptState

APP = """
import time

import hydra

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    time.sleep(cfg.lengths_s[cfg.x])

if __name__ == "__main__":
    main()
"""
SHORT_S, LONG_S = 0.05, 5.0
SEED = 1  # of the order


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """When the tasks of an array were at work.

    :param tasks: that executed any run
    :param whole_s: from the start of the first run to the end of the last one
    :param idle_s: from the end of the task that was first without work to the end of the last one
    """

    tasks: int
    whole_s: float
    idle_s: float

    @property
    def share(self) -> float:
        return self.idle_s / self.whole_s


def main() -> None:
    options = _parser().parse_args()
    lengths = [LONG_S] * options.long + [SHORT_S] * options.short
    random.Random(SEED).shuffle(lengths)
    with tempfile.TemporaryDirectory(prefix="bench-tail-", dir=options.directory) as folder:
        attempts = _attempts(Path(folder), lengths, options)
    found, fixed = _tail(attempts), _of_fixed_shares(lengths, options.tasks)
    print(_as_json(found, fixed) if options.json else _as_text(found, fixed, lengths))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, default=180, help=f"runs of {SHORT_S:g} s (%(default)s)")
    parser.add_argument("--long", type=int, default=20, help=f"runs of {LONG_S:g} s (%(default)s)")
    parser.add_argument("--tasks", type=int, default=4, help="tasks of the array (%(default)s)")
    parser.add_argument("--partition", help="Slurm partition; the cluster's default if not given")
    parser.add_argument(
        "--directory", type=Path, default=Path.cwd(), help="a directory that the nodes share (here)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a sentence")
    return parser


def _attempts(project: Path, lengths: Sequence[float], options: argparse.Namespace) -> Sequence[Attempt]:
    """The attempts of one sweep.

    :raises SystemExit: not each run was executed once, and to the end
    """
    (project / "app.py").write_text(APP)
    (project / "config.yaml").write_text(f"x: 0\nlengths_s: {json.dumps(lengths)}\n")
    ledger = project / ".hpcorch/ledger.db"
    ledger.parent.mkdir()
    keys = [
        "cpus_per_task=1",
        "timeout_min=10",
        "compact=true",
        f"runs_per_task={-(-len(lengths) // options.tasks)}",
    ]
    keys += [f"partition={options.partition}"] if options.partition else []
    command = [
        *(sys.executable, "app.py", "--multirun", "hydra/launcher=hpcorch_slurm"),
        *(f"hydra.launcher.{key}" for key in keys),
        f"x=range({len(lengths)})",
    ]
    environ = {**os.environ, "HPCORCH_LEDGER": str(ledger)}
    done = subprocess.run(command, cwd=project, env=environ, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the launcher failed with exit code {done.returncode}:\n{done.stderr}")
    with Ledger.open(ledger) as reader:
        attempts = reader.attempts(reader.sweep("last").sweep.id)
    completed = [one.run for one in attempts if one.state is AttemptState.COMPLETED]
    if len(attempts) != len(lengths) or len(set(completed)) != len(lengths):
        sys.exit(f"{len(set(completed))} of {len(lengths)} runs completed, in {len(attempts)} attempts")
    return attempts


def _tail(attempts: Iterable[Attempt]) -> Tail:
    ends: dict[str, datetime] = {}
    starts: list[datetime] = []
    for one in attempts:
        assert one.job_id is not None
        assert one.started_at is not None
        assert one.ended_at is not None
        end = parse_time(one.ended_at)
        ends[one.job_id] = max(end, ends.get(one.job_id, end))
        starts.append(parse_time(one.started_at))
    last = max(ends.values())
    return Tail(
        tasks=len(ends),
        whole_s=(last - min(starts)).total_seconds(),
        idle_s=(last - min(ends.values())).total_seconds(),
    )


def _of_fixed_shares(lengths: Sequence[float], tasks: int) -> Tail:
    bounds = [task * len(lengths) // tasks for task in range(tasks + 1)]
    sums = [sum(lengths[first:end]) for first, end in pairwise(bounds)]
    return Tail(tasks=tasks, whole_s=max(sums), idle_s=max(sums) - min(sums))


def _as_text(found: Tail, fixed: Tail, lengths: Sequence[float]) -> str:
    return (
        f"{len(lengths)} runs over {found.tasks} tasks took {found.whole_s:.1f} s. The first task without work"
        f" waited {found.idle_s:.1f} s for the last one: {found.share:.0%}. With fixed shares it would have been"
        f" {fixed.idle_s:.1f} s of {fixed.whole_s:.1f} s ({fixed.share:.0%})."
    )


def _as_json(found: Tail, fixed: Tail) -> str:
    tails = {"measured": found, "fixed shares": fixed}
    return json.dumps(
        {
            name: {"tasks": one.tasks, "whole_s": one.whole_s, "idle_s": one.idle_s, "share": one.share}
            for name, one in tails.items()
        },
        indent=2,
    )


if __name__ == "__main__":
    main()

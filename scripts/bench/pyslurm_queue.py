#!/usr/bin/env python3
"""What pyslurm buys: `scripts/bench/pyslurm_queue.py`, where there is Slurm and a pyslurm that suits it.

Asks about the elements of an array by squeue and by pyslurm in turn, in one process: while they wait (one record of
the controller), when they are over (a record each), and then beside single jobs that wait. Prints medians, and what
the first question through pyslurm costs more. Needs no privileges. Jobs of others count for pyslurm, too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from hpcorch import tunables
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.pyslurm.client import PyslurmClient

POLL_S = 1.0


class Contest:
    """Both ways to ask about one array."""

    def __init__(self, rounds: int) -> None:
        self._commands, self._pyslurm = CliClient(), PyslurmClient()
        self._rounds = rounds
        self._commands.config(), self._pyslurm.config()  # asked once, by either

    def first(self) -> float:
        """Seconds of the first question through pyslurm: the trial, the import and the answer."""
        _, seconds = _timed(lambda: self._pyslurm.queue(["1"]))
        if not self._pyslurm.uses_pyslurm:
            sys.exit("There is no pyslurm here that suits this Slurm; `hpcorch doctor` says why.")
        return seconds

    def compare(self, job_id: str) -> tuple[float, float]:
        """Median seconds of a question by squeue, and by pyslurm.

        :raises SystemExit: they do not tell the same
        """
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(self._rounds):
            one, seconds = _timed(lambda: self._commands.queue([job_id]))
            times[0].append(seconds)
            other, seconds = _timed(lambda: self._pyslurm.queue([job_id]))
            times[1].append(seconds)
            if _sorted(one) != _sorted(other):
                sys.exit(f"squeue tells {len(one)} elements and pyslurm {len(other)}, or they differ")
        return median(times[0]), median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1000, help="elements of the array (%(default)s)")
    parser.add_argument("--others", type=int, default=1000, help="single jobs beside them (%(default)s)")
    parser.add_argument("--rounds", type=int, default=21, help="questions of each kind (%(default)s)")
    options = parser.parse_args()
    tunables.PYSLURM_FROM_QUERIES = 0
    tunables.PYSLURM_MAX_RECORDS = sys.maxsize  # what lies beyond is measured, too
    contest, client = Contest(options.rounds), CliClient()
    print(f"first question through pyslurm: {contest.first() * 1000:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "job.sh"
        script.write_text("#!/bin/bash\n#SBATCH --hold --output=/dev/null --time=5\ntrue\n")
        jobs = [client.submit(script, extra=[f"--array=0-{options.elements - 1}"]).job_id]
        try:
            _tell("waiting", contest.compare(jobs[0]))
            client.release(jobs)
            while any(not row.state.is_final for row in client.queue(jobs)):
                time.sleep(POLL_S)
            _tell("over", contest.compare(jobs[0]))
            jobs += [client.submit(script).job_id for _ in range(options.others)]
            _tell(f"over, {options.others} other jobs", contest.compare(jobs[0]))
        finally:
            subprocess.run(["scancel", *jobs], check=True)


def _tell(what: str, seconds: tuple[float, float]) -> None:
    squeue_ms, pyslurm_ms = (1000 * one for one in seconds)
    ratio = squeue_ms / pyslurm_ms
    print(f"{what}: squeue {squeue_ms:.1f} ms, pyslurm {pyslurm_ms:.1f} ms, {ratio:.1f} times as fast")


def _sorted(rows: Sequence[QueueRow]) -> list[QueueRow]:
    return sorted(rows, key=lambda row: row.job_id)


def _timed(call: Callable[[], list[QueueRow]]) -> tuple[list[QueueRow], float]:
    begin = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - begin


if __name__ == "__main__":
    main()

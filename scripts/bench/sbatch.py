#!/usr/bin/env python3
"""What `hpcorch sbatch` costs over `sbatch`: `scripts/bench/sbatch.py --rounds 50`, as root, on its own cluster.

Alice submits the same held script from a git project, by turns with the one and with the other; each is timed as a
whole process, start of the interpreter included. The code does not change, so its snapshot is there after the first
round, which is not counted. Prints medians in seconds, the ninth decile, the CPU time (which the load of the
machine changes less) and the difference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from lab_cluster import SYSTEM_PATH, Cluster, running_cluster, trial_parser

WAYS = {"sbatch": ["sbatch"], "hpcorch sbatch": ["hpcorch", "sbatch"]}
SCRIPT = "#!/bin/bash\n#SBATCH --job-name=bench --time=1 --output=/dev/null\ntrue\n"
# Jobs that wait make slurmctld slower, for both.
CANCEL_EVERY = 20


def main() -> None:
    parser = trial_parser(__doc__, name="sbatch")
    parser.add_argument("--rounds", type=int, default=30, help="submissions each way (%(default)s, at least 2)")
    parser.add_argument("--files", type=int, default=200, help="source files of the project (%(default)s)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        print(json.dumps(measure(options.inside, options.rounds)))
        return
    with running_cluster(options) as cluster, tempfile.TemporaryDirectory(dir=options.lab / "work") as folder:
        times = measure_as_alice(cluster, options, Path(folder))
    summary = {name: summed_up(taken) for name, taken in times.items()}
    overhead = summary["hpcorch sbatch"]["median_s"] - summary["sbatch"]["median_s"]
    if options.json:
        print(json.dumps({"rounds": options.rounds, "files": options.files, "overhead_s": overhead, **summary}))
        return
    for name, row in summary.items():
        print(f"{name:16} median {row['median_s']:.3f} s   p90 {row['p90_s']:.3f} s   CPU {row['cpu_s']:.3f} s")
    print(f"{'overhead':16} median {overhead:.3f} s   ({options.rounds} rounds, {options.files} files)")


def summed_up(taken: Sequence[Sequence[float]]) -> dict[str, float]:
    walls, cpus = zip(*taken, strict=True)
    return {"median_s": median(walls), "p90_s": quantiles(walls, n=10)[8], "cpu_s": median(cpus)}


def measure_as_alice(
    cluster: Cluster, options: argparse.Namespace, folder: Path
) -> dict[str, list[tuple[float, float]]]:
    folder.chmod(0o777)
    make_project(folder, options.files)
    cluster.root("chown", "-R", "alice:alice", str(folder))
    inside = ["--rounds", str(options.rounds), "--inside", str(folder)]
    path = f"PATH={options.venv}/bin:{SYSTEM_PATH}"
    done = subprocess.run(
        cluster.command("user", "alice", "env", path, f"HOME={folder.parent}", "python", __file__, *inside),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    times: dict[str, list[tuple[float, float]]] = json.loads(done.stdout)
    return times


def make_project(folder: Path, files: int) -> None:
    for number in range(files):
        path = folder / f"package_{number % 10}" / f"module_{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"def function_{number}(x):\n    return x + {number}\n" * 20)
    (folder / "job.sh").write_text(SCRIPT)
    (folder / ".gitignore").write_text(".hpcorch/\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "bench"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def measure(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds, and seconds of CPU, of each submission, one way and the other by turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, words in WAYS.items():
            taken = timed([*words, "--hold", "job.sh"], folder)
            if number > 0:  # the first makes the snapshot, and warms the caches
                times[name].append(taken)
        if number % CANCEL_EVERY == 0 or number == rounds:
            subprocess.run(["scancel", "--name=bench", "-u", str(os.getuid())], check=False)
    return times


def timed(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    begun = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{argv} ended with exit code {process.returncode}")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

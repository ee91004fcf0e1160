#!/usr/bin/env python3
"""What it costs to plan a large sweep: `scripts/bench/plan.py --runs 10000`; needs no Slurm.

A program with three groups and values is launched as any other, and ends when its sweep is planned: every run
checked, composed, frozen in the manifest and in the ledger. By turns the same program lets Hydra check some of the
same runs by itself, and nothing else. Prints the CPU time of the whole process, start of Python and Hydra
included, its peak of memory, and for Hydra the CPU time of a run, of which Hydra's own launchers take two: one to
check it, and one to launch it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

# Says what it used when the sweep is planned, or when Hydra's sweeper has checked its runs.
APP = """
import json, os, resource, sys
import hydra
from hydra.plugins.sweeper import Sweeper
from hpcorch.launcher.launch import LocalSweepLauncher


def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def leave(before, count):
    after = used()
    after["each_s"] = (after["cpu_s"] - before["cpu_s"]) / count
    print(json.dumps(after), flush=True)
    os._exit(0)


def planned(launcher, sweep, launch):
    leave({"cpu_s": 0.0}, len(launch.frozen.runs))


def checked(sweeper, batch):
    before = used()
    check(sweeper, batch)
    leave(before, len(batch))


LocalSweepLauncher.execute = planned
if sys.argv[1] == "--check":
    check, Sweeper.validate_batch_is_legal = Sweeper.validate_batch_is_legal, checked
    del sys.argv[1]


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    return 0


if __name__ == "__main__":
    main()
"""
FILES = {
    "config": "defaults: [model: mlp, optim: sgd, data: small, _self_]\n"
    "seed: 0\nname: ${model.name}-${optim.name}-${seed}\n"
    'trainer: {epochs: 10, devices: 1, precision: 32, log: {every: 50, folder: "logs/${name}"}}\n',
    **{f"model/{name}": f"name: {name}\nlayers: 4\nwidth: 256\ndropout: 0.1\n" for name in ("mlp", "cnn")},
    **{f"optim/{name}": f"name: {name}\nlr: 0.1\nwd: 0.01\nbetas: [0.9, 0.99]\n" for name in ("sgd", "adam")},
    **{f"data/{name}": f"name: {name}\nfolder: /data/{name}\nbatch: 32\n" for name in ("small", "large")},
}
GROUPS = ("model=mlp,cnn", "optim=sgd,adam", "data=small,large")
VALUES = ("optim.lr=0.1,0.03,0.01,0.003,0.001", "trainer.epochs=10,20")
RUNS_PER_SEED = 2**3 * 5 * 2
CHECKED_BY_HYDRA = 100  # runs; each costs the same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="at least (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are printed (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    seeds, rounds = math.ceil(options.runs / RUNS_PER_SEED), range(options.rounds)
    both = [(_measured(seeds), _measured(math.ceil(CHECKED_BY_HYDRA / RUNS_PER_SEED), "--check")) for _ in rounds]
    ours, hydras = zip(*both, strict=True)
    found = {
        "runs": seeds * RUNS_PER_SEED,
        "cpu_s": median(one["cpu_s"] for one in ours),
        "peak_mb": median(one["peak_mb"] for one in ours),
        "each_ms": 1e3 * median(one["each_s"] for one in ours),
        "hydra_each_ms": 2e3 * median(one["each_s"] for one in hydras),
        "ratio": median(one["each_s"] / (2 * other["each_s"]) for one, other in both),
    }
    print(json.dumps(found) if options.json else _table(found))
    return 0


def _measured(seeds: int, *words: str) -> dict[str, Any]:
    """What a program says that plans or checks a sweep over so many seeds."""
    launcher = "hydra/launcher=" + ("basic" if words else "hpcorch_local")
    with tempfile.TemporaryDirectory(prefix="hpcorch-plan-") as folder:
        for name, text in FILES.items():
            path = Path(folder, "conf", f"{name}.yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        Path(folder, "app.py").write_text(APP)
        argv = ["app.py", *words, "-m", launcher, *GROUPS, *VALUES, f"seed=range({seeds})"]
        ran = subprocess.run([sys.executable, *argv], cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(ran.stdout + ran.stderr)
    said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return said


def _table(found: dict[str, Any]) -> str:
    return (
        "| runs | CPU | peak of memory | a run | a run by Hydra | ratio |\n|---:|---:|---:|---:|---:|---:|\n"
        f"| {found['runs']:,} | {found['cpu_s']:.1f} s | {found['peak_mb']:.0f} MB | {found['each_ms']:.2f} ms |"
        f" {found['hydra_each_ms']:.0f} ms | {found['ratio']:.4f} |"
    )


if __name__ == "__main__":
    sys.exit(main())

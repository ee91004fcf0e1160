#!/usr/bin/env python3
"""What a launch costs: `scripts/bench/launch.py --runs 100 --rounds 3`, on a machine that can submit to Slurm.

With `--local`, what it costs on this machine, without Slurm: each run in a process of its own, and forked. With
`--packed`, what many short runs cost on Slurm: each in an element of its own, and many in one element.

Runs the same trivial Hydra application through hydra-submitit-launcher (in a virtual environment of its own) and
through hpcorch (that of this interpreter), with the same array parallelism, partition and resources, and prints
one table. Needs no privileges. Wall time and CPU are medians over the rounds. Slurm counts the RPCs of everybody,
so their counts are the least of the rounds: the fewer others use the cluster meanwhile, the truer. What sacct asks
of slurmdbd is not among them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from hpcorch.ledger import Ledger
from hpcorch.model.states import RunState

INCUMBENT = "hydra-submitit-launcher==1.2.0"
SHARED_PACKAGES = ("hydra-core", "omegaconf", "submitit")  # both sides use the same versions

APP = """
import hydra

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    return cfg.x

if __name__ == "__main__":
    main()
"""

# More than a sweep has files beside those of its runs.
FEWEST_RUNS = 10
# The controller hears of the last jobs' ends shortly after the launcher has read of them.
SETTLE_S = 3.0
RPC_LINE = re.compile(r"^\s+([A-Z_]+)\s+\(\s*\d+\)\s+count:(\d+)")
# What srun asks of the controller for one step (measured on 22.05).
SRUN_RPCS = ("REQUEST_HET_JOB_ALLOC_INFO", "REQUEST_JOB_STEP_CREATE", "REQUEST_STEP_COMPLETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to launch. ``keys`` are overrides of ``hydra.launcher`` beyond those that all share."""

    name: str
    python: Path
    launcher: str
    keys: tuple[str, ...] = ()

    @property
    def is_incumbent(self) -> bool:
        return self.launcher.startswith("submitit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a whole sweep directory holds."""

    files: int
    directories: int
    content_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one sweep took. ``cpu_s`` is that of the launching process and of all that it started and waited for."""

    wall_s: float
    cpu_s: float
    footprint: Footprint
    rpcs: Counter[str]


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.runs < FEWEST_RUNS:
        parser.error(
            f"--runs must be at least {FEWEST_RUNS}, or files of a run and of the sweep cannot be told apart"
        )
    with tempfile.TemporaryDirectory(prefix="bench-launch-", dir=options.directory) as folder:
        project = Path(folder)
        (project / "app.py").write_text(APP)
        (project / "config.yaml").write_text("x: 0\n")
        (project / ".hpcorch").mkdir()
        incumbent = options.incumbent_venv or project / "incumbent"
        contenders = _contenders(options, incumbent / "bin/python", Path(sys.executable))
        if not contenders:
            parser.error(f"no column is called {' or '.join(options.only)}")
        if any(contender.is_incumbent for contender in contenders):
            _make_incumbent(incumbent)
        costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
        for number in range(options.rounds):  # interleaved, so that a change of the machine's load meets all
            for contender in contenders:
                sweep = project / f"{contender.name.replace(' ', '-')}-{number}"
                costs[contender.name].append(_measure(contender, project, sweep, options))
    summaries = {name: _summary(rounds) for name, rounds in costs.items()}
    print(_as_json(summaries, options) if options.json else _as_table(summaries, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs of each sweep (%(default)s, at least 10)")
    parser.add_argument("--rounds", type=int, default=1, help="sweeps of each contender (%(default)s)")
    parser.add_argument("--parallel", type=int, default=8, help="runs at once (%(default)s)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", action="store_true", help="on this machine, without Slurm")
    place.add_argument("--packed", action="store_true", help="on Slurm, with packed arrays")
    parser.add_argument("--only", action="append", metavar="NAME", help="this column; may be given several times")
    parser.add_argument("--partition", help="Slurm partition; the cluster's default if not given")
    parser.add_argument(
        "--directory", type=Path, default=Path.cwd(), help="a directory that the nodes share (here)"
    )
    parser.add_argument("--incumbent-venv", type=Path, help="environment of the incumbent; made if it is missing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _contenders(options: argparse.Namespace, incumbent: Path, ours: Path) -> list[Contender]:
    if options.packed:
        found = _packed(incumbent, ours, options.runs, options.parallel)
    else:
        found = (_local if options.local else _on_slurm)(incumbent, ours)
    return [one for one in found if options.only is None or one.name in options.only]


def _on_slurm(incumbent: Path, ours: Path) -> list[Contender]:
    return [
        Contender(name="incumbent", python=incumbent, launcher="submitit_slurm"),
        Contender(name="hpcorch", python=ours, launcher="hpcorch_slurm"),
        Contender(name="hpcorch compact", python=ours, launcher="hpcorch_slurm", keys=("compact=true",)),
    ]


def _local(incumbent: Path, ours: Path) -> list[Contender]:
    forked = ("runs_per_task=auto",)
    return [
        Contender(name="incumbent", python=incumbent, launcher="submitit_local"),
        Contender(name="hpcorch", python=ours, launcher="hpcorch_local"),
        Contender(name="forked", python=ours, launcher="hpcorch_local", keys=forked),
        Contender(name="forked, compact", python=ours, launcher="hpcorch_local", keys=(*forked, "compact=true")),
    ]


def _packed(incumbent: Path, ours: Path, runs: int, parallel: int) -> list[Contender]:
    """As many runs at once as the others have, two in each task."""
    tasks, compact = max(1, parallel // 2), "compact=true"
    packed = (f"runs_per_task={-(-runs // tasks)}", "parallel_per_task=2")
    return [
        Contender(name="incumbent", python=incumbent, launcher="submitit_slurm"),
        Contender(name="hpcorch compact", python=ours, launcher="hpcorch_slurm", keys=(compact,)),
        Contender(name="packed", python=ours, launcher="hpcorch_slurm", keys=packed),
        Contender(name="packed compact", python=ours, launcher="hpcorch_slurm", keys=(*packed, compact)),
    ]


def _make_incumbent(folder: Path) -> None:
    if (folder / "bin/python").exists():
        return
    venv.create(folder, with_pip=True, symlinks=True)
    same = [f"{package}=={version(package)}" for package in SHARED_PACKAGES]
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", INCUMBENT, *same], check=True)


def _measure(contender: Contender, project: Path, sweep: Path, options: argparse.Namespace) -> Cost:
    """One sweep of this contender.

    :raises SystemExit: it did not complete, and comparing it would mean nothing
    """
    before = Counter() if options.local else _rpc_counts()
    started = time.monotonic()
    with (project / f"{sweep.name}.log").open("w+") as log:
        environ = {**os.environ, "HPCORCH_LEDGER": str(project / ".hpcorch/ledger.db")}
        command = _command(contender, sweep, options)
        process = subprocess.Popen(command, cwd=project, env=environ, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            sys.exit(f"{contender.name} failed with exit code {process.returncode}:\n{log.read()}")
    if not contender.is_incumbent:
        _check_ledger(project / ".hpcorch/ledger.db", options.runs)
    if not options.local:
        time.sleep(SETTLE_S)
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        footprint=_footprint(sweep),
        rpcs=Counter() if options.local else _difference(before, _rpc_counts()),
    )


def _command(contender: Contender, sweep: Path, options: argparse.Namespace) -> list[str]:
    keys = ["cpus_per_task=1", "timeout_min=10", *contender.keys]
    if not options.local:
        keys += [f"array_parallelism={options.parallel}", "mem_gb=1"]
    elif contender.launcher == "hpcorch_local":  # the incumbent starts all runs at once
        keys.append(f"slots={options.parallel}")
    if options.partition:
        keys.append(f"partition={options.partition}")
    return [
        str(contender.python),
        "app.py",
        "--multirun",
        f"hydra/launcher={contender.launcher}",
        *(f"hydra.launcher.{key}" for key in keys),
        f"hydra.sweep.dir={sweep}",
        f"x=range({options.runs})",
    ]


def _check_ledger(path: Path, runs: int) -> None:
    with Ledger.open(path) as ledger:
        counts = ledger.sweep("last").counts
    if counts.get(RunState.COMPLETED) != runs:
        sys.exit(f"the ledger {path} should show {runs} completed runs, and shows {counts}")


def _rpc_counts() -> Counter[str]:
    """RPCs that the controller has served since its counters began, by message type."""
    text = subprocess.run(["sdiag"], check=True, capture_output=True, text=True).stdout
    found = (RPC_LINE.match(line) for line in text.splitlines())
    return Counter({match[1]: int(match[2]) for match in found if match})


def _difference(before: Counter[str], after: Counter[str]) -> Counter[str]:
    if any(after[name] < count for name, count in before.items()):
        sys.exit("slurmctld's counters began anew during the sweep (they do at midnight UTC): start again")
    return after - before


def _footprint(folder: Path) -> Footprint:
    paths = list(folder.rglob("*"))
    files = [path for path in paths if not path.is_dir()]
    return Footprint(
        files=len(files),
        directories=len(paths) - len(files),
        content_bytes=sum(path.lstat().st_size for path in files),
        disk_bytes=sum(path.lstat().st_blocks * 512 for path in paths),
    )


def _summary(rounds: Sequence[Cost]) -> Cost:
    types = {name for cost in rounds for name in cost.rpcs}
    return Cost(
        wall_s=median(cost.wall_s for cost in rounds),
        cpu_s=median(cost.cpu_s for cost in rounds),
        footprint=rounds[-1].footprint,
        rpcs=Counter({name: min(cost.rpcs[name] for cost in rounds) for name in types}),
    )


def _figures(cost: Cost, runs: int) -> dict[str, float]:
    """The rows of the table. A sweep has fewer files beside its runs than runs, so division tells them apart."""
    found = cost.footprint
    rpcs = {
        "RPCs per run": cost.rpcs.total() / runs,
        "RPCs of srun per run": sum(cost.rpcs[name] for name in SRUN_RPCS) / runs,
    }
    return {
        "wall time (s)": cost.wall_s,
        "launcher CPU (s)": cost.cpu_s,
        "files per run": found.files // runs,
        "files of the sweep": found.files % runs,
        "directories per run": found.directories // runs,
        "content per run (kB)": found.content_bytes / runs / 1000,
        "on disk per run (kB)": found.disk_bytes / runs / 1000,
        **(rpcs if cost.rpcs else {}),
    }


def _as_table(summaries: Mapping[str, Cost], options: argparse.Namespace) -> str:
    """A Markdown table; in brackets the ratio to the first contender."""
    columns = [_figures(cost, options.runs) for cost in summaries.values()]
    lines = [
        f"| {options.runs} runs, {options.parallel} at once | {' | '.join(summaries)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for name, reference in columns[0].items():
        others = (f"{column[name]:.4g}{_ratio(column[name], reference)}" for column in columns[1:])
        lines.append(f"| {' | '.join((name, f'{reference:.4g}', *others))} |")
    return "\n".join(lines)


def _ratio(figure: float, reference: float) -> str:
    return f" ({figure / reference:.2f})" if reference else ""


def _as_json(summaries: Mapping[str, Cost], options: argparse.Namespace) -> str:
    contenders = {
        name: {**_figures(cost, options.runs), "RPCs": dict(cost.rpcs.most_common())}
        for name, cost in summaries.items()
    }
    setting = {"runs": options.runs, "rounds": options.rounds, "parallel": options.parallel}
    return json.dumps({**setting, "contenders": contenders}, indent=2)


if __name__ == "__main__":
    main()

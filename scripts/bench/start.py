#!/usr/bin/env python3
"""What hpcorch adds to the start of a run: `scripts/bench/start.py --rounds 15`; needs no Slurm.

A sweep of one run is recorded in a git project. Then that run is started again and again as a batch script starts
it, and by turns two other programs: one that only imports Hydra, and one that calls the same task with the same
configuration and the same state of Hydra by Hydra's `run_job`, as any launcher does. What hpcorch adds is the CPU
time of its process and of the commands that it starts, up to the task's first statement, less that of Hydra alone.

Prints medians in milliseconds and ratios to `python -c "import hydra"`, which hold on other machines; then the
parts of a start, each up to the fact that ends it, in processes that have Hydra imported before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest_file import read_run
from hpcorch.journal.reader import read_segment
from hpcorch.model.events import AttemptEnded
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.program.call import frozen_config
from hpcorch.runtime.program.task_file import read_task

# Python source: the CPU time of this process and of the commands that it has waited for.
CPU_S = """
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage


def cpu_s():
    return sum(sum(getrusage(who)[:2]) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))

"""
APP = (
    CPU_S
    + """
import hydra


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    return cpu_s()


if __name__ == "__main__":
    main()
"""
)
CONFIG = """
model: {layers: 3, width: 256, dropout: 0.1}
optimizer: {name: adam, lr: 0.001, betas: [0.9, 0.999]}
x: 0
"""
# What any launcher does on a node: it has a configuration and Hydra's state, and calls the task with them.
HYDRA_ALONE = (
    CPU_S
    + """
import pickle
import sys

import hydra
from hydra.core.utils import run_job, setup_globals
from hydra.core.singleton import Singleton

with open(sys.argv[1], "rb") as file:
    config = pickle.load(file)
    hydra_context, singletons = pickle.load(file)
Singleton.set_state(singletons)
setup_globals()
print(
    run_job(
        task_function=lambda cfg: cpu_s(),
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=hydra_context,
    ).return_value
)
"""
)
# The CPU time at the end of each part; the last is told by the task itself.
IN_PARTS = (
    CPU_S
    + """
import json
import sys

import hydra
import hydra.core.utils
import hydra._internal.config_loader_impl

told = [["", cpu_s()]]
import hpcorch.runtime.__main__ as job
from hpcorch.journal.lines import JournalWriter

told.append(["import", cpu_s()])
append = JournalWriter.append


def tell(self, fact, **options):
    append(self, fact, **options)
    told.append([fact.kind, cpu_s()])


JournalWriter.append = tell
parts = sys.argv[1]  # the program gets arguments of its own
code = job.main(sys.argv[2:])
with open(parts, "w") as file:
    json.dump(told, file)
sys.exit(code)
"""
)
PARTS = {
    "import": "imports of hpcorch before the claim",
    "attempt-claimed": "claim",
    "attempt-seeded": "verification of code and environment, and seeding",
    "attempt-called": "its record",
    "attempt-verified": "the program up to its call, its imports included, and the configuration",
    "task": "to the task's first statement, by Hydra's run_job",
}
ATTEMPT = AttemptId(run=0, submission=0, restart=0)


class Project:
    """A project with the record of a sweep of one run, which can be started any number of times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PYTHON"))}
        (folder / "app.py").write_text(APP)
        (folder / "config.yaml").write_text(CONFIG)
        (folder / ".gitignore").write_text(".hpcorch\nsweep\nout\n")
        (folder / "out").mkdir()
        (folder / "out/hydra_alone.py").write_text(HYDRA_ALONE)
        (folder / "out/in_parts.py").write_text(IN_PARTS)
        for command in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", *command], cwd=folder, check=True)
        program = [sys.executable, "app.py", "-m", "hydra/launcher=hpcorch_local", "hydra.sweep.dir=sweep", "x=1"]
        subprocess.run(program, cwd=folder, env=self._environ, check=True, capture_output=True)
        self._layout = SweepLayout(folder / "sweep")
        self._pickle_for_hydra()

    def _pickle_for_hydra(self) -> None:
        frozen = read_run(self._layout.manifest(0), 0)
        task = read_task(self._layout.task(0), frozen.header.task_digest)
        config = pickle.dumps(frozen_config(frozen, job_id="5_0"))
        (self.folder / "out/hydra.pickle").write_bytes(config + task.hydra)

    @property
    def _job(self) -> list[str]:
        return [str(self._layout.directory), "--launch", "0", "--submission", "0", "--runs", "0"]

    def cpu_s(self, *command: str, job: bool = False) -> tuple[float, str]:
        """CPU seconds of a Python program and all that it starts, and what it printed.

        :raises SystemExit: it failed
        """
        self._layout.journal(ATTEMPT).unlink(missing_ok=True)
        environ = dict(self._environ)
        if job:  # as Slurm and the batch script set them
            environ |= {"SLURM_JOB_ID": "5", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "0"}
            environ["PYTHONSAFEPATH"] = "1"
        output = self.folder / "out/output"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=self.folder, env=environ, stdout=file, stderr=file
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{output.read_text()}")
        return usage.ru_utime + usage.ru_stime, output.read_text()

    def hydra_alone(self) -> float:
        """CPU seconds up to the task's first statement, by Hydra's own way."""
        return float(self.cpu_s("out/hydra_alone.py", "out/hydra.pickle")[1])

    def job(self) -> float:
        """The same of a job."""
        self.cpu_s("-m", "hpcorch.runtime", *self._job, job=True)
        return self._task_began()

    def parts(self) -> dict[str, float]:
        """CPU seconds of each part of a job's start, in order."""
        self.cpu_s("out/in_parts.py", "out/parts.json", *self._job, job=True)
        told = [(name, at) for name, at in json.loads((self.folder / "out/parts.json").read_text())]
        ends = [*(one for one in told if one[0] != "attempt-ended"), ("task", self._task_began())]
        spans = {name: at - before for (_, before), (name, at) in itertools.pairwise(ends)}
        return {name: seconds for name, seconds in spans.items() if name in PARTS}

    def _task_began(self) -> float:
        events = read_segment(self._layout.journal(ATTEMPT), sweep="", source="", offset=0).events
        (end,) = (event.fact for event in events if isinstance(event.fact, AttemptEnded))
        return float(end.result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="starts of each program (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        project = Project(Path(folder))
        project.job()  # unpacks the snapshot and compiles what was never imported
        project.parts()
        rounds, parts = [], []
        for _ in range(options.rounds):  # interleaved, so that a change of the machine's load meets all
            rounds.append(
                {
                    "python": project.cpu_s("-c", "pass")[0],
                    "import hydra": project.cpu_s("-c", "import hydra")[0],
                    "Hydra alone, at the task": project.hydra_alone(),
                    "job, at the task": project.job(),
                }
            )
            parts.append(project.parts())
    figures = _medians(rounds)
    figures["hpcorch adds"] = median(one["job, at the task"] - one["Hydra alone, at the task"] for one in rounds)
    if options.json:
        print(json.dumps({"rounds": options.rounds, "cpu_s": figures, "parts": _medians(parts)}, indent=2))
    else:
        print(_table(figures, _medians(parts)))


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def _table(figures: Mapping[str, float], parts: Mapping[str, float]) -> str:
    hydra = figures["import hydra"]
    lines = ["| | CPU (ms) | / `import hydra` |", "|---|---:|---:|"]
    lines += [f"| {name} | {seconds * 1000:.0f} | {seconds / hydra:.2f} |" for name, seconds in figures.items()]
    lines += ["", "| part of a start | CPU (ms) | / `import hydra` |", "|---|---:|---:|"]
    lines += [
        f"| {PARTS[name]} | {seconds * 1000:.0f} | {seconds / hydra:.2f} |" for name, seconds in parts.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""`hpcorch exec` as a program, and the sweeps that it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_segment
from hpcorch.ledger import Ledger
from hpcorch.model import events as ev
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.states import Backend, SubmissionForm
from hpcorch.services.adoption.inbox import take_over
from hpcorch.services.recording.program_sweep import WrappedProgram, record_program
from hpcorch.services.recording.submissions import Intent, SubmissionRecord
from hpcorch.services.tending.reconcile import open_reconciler
from tests.support import processes

HPCORCH = [sys.executable, "-c", "from hpcorch.cli.main import main; main()"]
PROGRAM = [*HPCORCH, "exec"]
TOKEN = "0123456789abcdef0123456789abcdef"


def environment(**changes: str) -> dict[str, str]:
    """This process's, without a job or a run that it may itself be in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "HPCORCH_", "PYTHONHASHSEED"))}
    return {**kept, **changes}


def job(number: int, *, index: int | None = None, restart: int = 0, array: int | None = None) -> dict[str, str]:
    """The variables of a Slurm job that are of interest."""
    found = {"SLURM_JOB_ID": str(number), "SLURM_CLUSTER_NAME": "lab", "SLURMD_NODENAME": "n1"}
    if restart:
        found["SLURM_RESTART_COUNT"] = str(restart)
    if index is not None:
        found |= {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_JOB_ID": str(array or number)}
    return found


@dataclass(frozen=True)
class Project:
    """A project folder without git."""

    path: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: str | bytes, job: Mapping[str, str] = {}, **options: Any) -> processes.Program:
        """Start ``hpcorch exec`` with these arguments."""
        environ = environment(**{**self.variables, **job})
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return processes.start([*PROGRAM, *arguments], cwd=self.path, env=environ, **options)

    def run(
        self, *arguments: str | bytes, job: Mapping[str, str] = {}, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        child = self.start(*arguments, job=job, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        output, errors = child.communicate(stdin, timeout=120)
        return subprocess.CompletedProcess(child.args, child.returncode, output, errors)

    def hpcorch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any other command of ours."""
        return subprocess.run(
            [*HPCORCH, *arguments], cwd=self.path, env=environment(), text=True, capture_output=True, timeout=120
        )

    @property
    def ledger(self) -> Path:
        return self.path / ".hpcorch" / "ledger.db"

    def sweeps(self) -> list[SweepLayout]:
        """The sweeps of commands, by name."""
        return [SweepLayout(one) for one in sorted((self.path / ".hpcorch" / "scripts").iterdir()) if one.is_dir()]

    def facts(self, attempt: str = "0.s0.r0", *, sweep: SweepLayout | None = None) -> list[ev.Fact]:
        """What the journal of an attempt of the only sweep says."""
        (layout,) = self.sweeps() if sweep is None else (sweep,)
        segment = read_segment(layout.journals / f"{attempt}.jsonl", sweep="", source="", offset=0)
        assert segment.rest == 0
        assert [event.seq for event in segment.events] == list(range(len(segment.events)))
        return [event.fact for event in segment.events]

    def recorded(self) -> tuple[Run, list[Attempt]]:
        """The only run as the ledger has it, with its attempts."""
        assert take_over(self.ledger) == []
        with Ledger.open(self.ledger, write=True) as ledger:
            (sweep,) = ledger.sweeps()
            reconciler = open_reconciler(ledger, sweep.sweep.id)
            reconciler.look_local()
            (run,) = ledger.runs(sweep.sweep.id)
            return run, ledger.attempts(sweep.sweep.id)


def script_sweep(
    project: Project, *, job_id: str | None, indices: Sequence[int] | None = None
) -> tuple[SweepLayout, dict[str, str]]:
    """A script on record, as `hpcorch sbatch` does it; and what it exports to the job.

    :param job_id: that Slurm gave it; None while that is not known
    """
    recorded = record_program(
        project.ledger,
        WrappedProgram(
            name="train.sh",
            sweeper="sbatch",
            backend=Backend.SLURM,
            config={"script": "#!/bin/sh"},
            folder=project.path,
            cwd=project.path,
            argv=["hpcorch", "sbatch", "train.sh"],
            environ={},
            indices=indices,
        ),
    )
    submission = SubmissionRecord.next(recorded.journal)
    form = SubmissionForm.SCRIPT_JOB if indices is None else SubmissionForm.SCRIPT_ARRAY
    runs = [run.run for run in recorded.runs]
    launch = recorded.header.launch
    submission.intend(
        Intent(launch=launch, runs=runs, backend=Backend.SLURM, token=TOKEN, script=b"#!/bin/sh", form=form)
    )
    if job_id is not None:
        submission.mark_accepted(job_id)
        submission.mark_released()
    return recorded.layout, {"HPCORCH_SWEEP_DIR": str(recorded.layout.directory), "HPCORCH_TOKEN": TOKEN}


def of_kind(facts: Sequence[ev.Fact], kind: type[ev.Fact]) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]

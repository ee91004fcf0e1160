"""Sweeps on disk, written through the journals as launchers, tasks and Slurm would; the command line on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun
from hpcorch.journal.sweep_folder import take
from hpcorch.ledger import Ledger
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId, format_ranges
from hpcorch.model.states import Backend
from hpcorch.model.value_text import literal_of
from hpcorch.model.values import digest, to_plain
from hpcorch.services.local.processes import pool_id
from hpcorch.services.recording.sweep import FrozenLaunch, record_launch
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.users import own_name

SWEEP = "20260101-120000-bcdf"
HERE = "<this process>"  # a local pool that is alive
GONE = "<gone>"  # a local pool of this host that is not


@dataclass(frozen=True)
class SweepOnDisk:
    """A sweep in ``<project>/sweeps/<id>``, whose ledger is the project's."""

    project: Path
    id: str = SWEEP

    @property
    def layout(self) -> SweepLayout:
        return SweepLayout(self.project / "sweeps" / self.id)

    @property
    def journal(self) -> ControlJournal:
        """Its control journal, not read yet."""
        return ControlJournal(self.layout, self.id)

    @property
    def ledger_path(self) -> Path:
        return self.project / ".hpcorch" / "ledger.db"

    def record(self, *facts: ev.Fact) -> None:
        """Write facts to the control journal."""
        self.journal.append(*facts)

    def plan(
        self,
        overrides: Sequence[Sequence[str]],
        *,
        first: int = 0,
        config: Mapping[str, Any] = {},
        options: Mapping[str, Any] = {},
    ) -> None:
        """Record a launch with one run for each list of overrides.

        :param options: launcher keys
        """
        task = b"a task"
        header = ManifestHeader(
            sweep=self.id,
            launch=first,
            count=len(overrides),
            backend=Backend.LOCAL,
            job_name="train",
            project=str(self.project),
            cwd=str(self.project),
            python="python3",
            task_digest=digest(task),
        )
        runs = [self._planned(index, words) for index, words in enumerate(overrides, start=first)]
        base = ManifestBase(base=0, config={"lr": 0.1, **config}, pickle=b"")
        record_launch(
            self.journal,
            FrozenLaunch(header=header, bases=[base], runs=runs, task=task, options={"slots": 2, **options}),
        )

    def _planned(self, index: int, words: Sequence[str]) -> ManifestRun:
        texts = dict(word.split("=", 1) for word in words)
        params = {key: to_plain(literal_of(text)) for key, text in texts.items()}
        return ManifestRun(
            run=index,
            base=0,
            overrides=list(words),
            params=params,
            changes={"index": index},
            config_digest=f"sha256:{index}",
            seed=100 + index,
            seed_source="derived",
            directory=str(self.layout.directory / str(index)),
            node={},
        )

    def submit(
        self,
        runs: Sequence[int],
        *,
        job_id: str = HERE,
        backend: str = "local",
        number: int = 0,
        script: bytes | None = None,
        tasks: int | None = None,
    ) -> None:
        """Record a submission that went through.

        :param tasks: of a packed array
        """
        token = f"{number:032x}"
        path = self.layout.script(number, token)
        if script is not None:
            path.write_bytes(script)
        names = {HERE: pool_id(os.getpid()), GONE: f"{pool_id(os.getpid())}0"}
        self.record(
            ev.SubmissionIntended(
                submission=number,
                launch=0,
                runs=format_ranges(runs),
                token=token,
                backend=backend,
                host="login1",
                script="" if script is None else self.layout.relative(path),
                script_digest=None if script is None else digest(script),
                tasks=tasks,
            ),
            ev.SubmissionAccepted(submission=number, job_id=names.get(job_id, job_id)),
            ev.SubmissionReleased(submission=number),
        )

    def start(self, run: int, log: bytes = b"", *, submission: int = 0, restart: int = 0) -> AttemptOnDisk:
        """A task claims its run, and writes to its log."""
        attempt = AttemptId(run=run, submission=submission, restart=restart)
        path = self.layout.log(submission, run)
        path.touch()
        claimed = ev.AttemptClaimed(host="n1", pid=99, log=str(path), log_offset=path.stat().st_size)
        with JournalWriter.create(self.layout.journal(attempt)) as journal:
            journal.append(claimed)
            journal.append(ev.AttemptSeeded(seed=100 + run, libraries=["random"]))
        started = AttemptOnDisk(journal=self.layout.journal(attempt), log=path)
        started.write(log)
        return started

    def ingest(self) -> None:
        """Bring the ledger up to date, as a launcher does."""
        with Ledger.open(self.ledger_path, write=True, create=True) as ledger:
            Reconciler(ledger, self.journal).ingest()


@dataclass(frozen=True)
class AttemptOnDisk:
    """A task on its node."""

    journal: Path
    log: Path

    def write(self, content: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(content)

    def end(self, result: Any = None, *, error: str | None = None) -> None:
        """The task records its end: with a result, or failed with an error."""
        outcome = "completed" if error is None else "failed"
        with JournalWriter.resume(self.journal, nothing_to_confirm) as journal:
            journal.append(
                ev.AttemptEnded(
                    outcome=outcome,
                    exit_code=int(error is not None),
                    result=to_plain(result),
                    error=error,
                    log_end=self.log.stat().st_size,
                )
            )


def make_sweep(
    project: Path,
    overrides: Sequence[Sequence[str]] = (["lr=0.1", "epochs=3"], ["lr=0.2", "epochs=3"]),
    *,
    sweep: str = SWEEP,
    config: Mapping[str, Any] = {},
    options: Mapping[str, Any] = {},
    **created: Any,
) -> SweepOnDisk:
    """A recorded sweep with planned runs, of which the ledger knows nothing yet.

    :param created: fields of SweepCreated
    """
    made = SweepOnDisk(project=project, id=sweep)
    values: dict[str, Any] = {
        "name": "train",
        "backend": "local",
        "directory": str(made.layout.directory),
        "project": str(project),
        "user": own_name(),
        "host": "login1",
        "cwd": str(project),
        "argv": ["train.py", "-m", "lr=0.1,0.2"],
        "root_seed": 7,
        "sweeper": "BasicSweeper",
    }
    take(made.layout)
    made.record(ev.SweepCreated(sweep=sweep, **{**values, **created}))
    made.plan(overrides, config=config, options=options)
    return made


def finished_sweep(project: Path, **options: Any) -> SweepOnDisk:
    """A sweep in the ledger of which run 0 completed with 0.5 and run 1 failed."""
    made = make_sweep(project, **options)
    made.submit([0, 1])
    made.start(0, b"epoch 1\nepoch 2\n").end(0.5)
    made.start(1, b"epoch 1\nno good\n").end(error="ValueError: no good")
    made.ingest()
    return made

"""A small Hydra application as a user would write it, and what its launches leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger.store import Ledger, SweepSummary
from hpcorch.model.entities import Attempt, Run
from tests.support import processes

APP = """
import os, pathlib, sys, time
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if cfg.get("wait_for"):
        pathlib.Path(f"started-{cfg.x}").touch()
        while not pathlib.Path(cfg.wait_for).exists():
            time.sleep(0.05)
    if cfg.x == cfg.fail:
        print("about to fail")
        raise ValueError(f"no good: {cfg.x}")
    if cfg.x == cfg.die:
        os.kill(os.getpid(), 9)
    if cfg.x == cfg.leave:
        sys.exit(7)
    return cfg.value if cfg.value is not None else os.environ.get(cfg.read, cfg.x)

if __name__ == "__main__":
    main()
"""
CONFIG = "x: 0\nfail: null\ndie: null\nleave: null\nvalue: null\nread: NO_SUCH_VARIABLE\nwait_for: null\n"


@dataclass(frozen=True)
class App:
    """The application in a project folder of its own."""

    folder: Path
    launcher: str

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "app.py"), "-m", f"hydra/launcher={self.launcher}", *arguments]

    def launch(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            text=True,
            capture_output=True,
            timeout=120,
        )

    def start(self, *arguments: str) -> processes.Program:
        """Launch without waiting; what it says goes into ``output.txt``."""
        with (self.folder / "output.txt").open("wb") as output:
            return processes.start(self.command(*arguments), cwd=self.folder, stdout=output, stderr=output)

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    @property
    def ledger(self) -> Path:
        return self.folder / ".hpcorch" / "ledger.db"

    def summary(self) -> SweepSummary:
        with Ledger.open(self.ledger) as ledger:
            return ledger.sweep("last")

    def runs(self) -> list[Run]:
        with Ledger.open(self.ledger) as ledger:
            return ledger.runs(ledger.sweep("last").sweep.id)

    def attempts(self) -> list[Attempt]:
        with Ledger.open(self.ledger) as ledger:
            return ledger.attempts(ledger.sweep("last").sweep.id)

    def states(self) -> list[str]:
        return [run.state.value for run in self.runs()]

    def layout(self) -> SweepLayout:
        return SweepLayout(Path(self.summary().sweep.directory))

    def script(self, submission: int) -> Path:
        """The batch script of a submission."""
        (path,) = (self.layout().state / "submissions").glob(f"s{submission}-*.sbatch")
        return path


def make_app(folder: Path, launcher: str) -> App:
    """Write the application into a folder."""
    (folder / "conf").mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    return App(folder=folder, launcher=launcher)

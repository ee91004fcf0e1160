"""Where the output of a submission's tasks goes: beside the journals, or where ``submitit_folder`` says.

In ``submitit_folder`` the files are named as submitit names them, and ``%j`` is the job's id.
"""

from __future__ import annotations

from pathlib import Path

from hpcorch.journal.layout import DIR_MODE, SweepLayout
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.sbatch.quoting import literal_path

_JOB = "%j"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """The logs of one submission.

    :param folder: ``submitit_folder``, relative to the working directory if it is relative; None for our own
    """

    layout: SweepLayout
    submission: int
    folder: str | None

    def slurm_patterns(self) -> tuple[str, str]:
        """sbatch's filename patterns for standard output and standard error (sbatch(1), FILENAME PATTERN)."""
        if self.folder is None:
            stem = f"{literal_path(str(self.layout.logs))}/s{self.submission}_%a"
            return f"{stem}.log", f"{stem}.err"
        before, *rest = (literal_path(part) for part in str(Path(self.folder).absolute()).split(_JOB))
        stem = "/".join(["%A_%a".join([before, *rest]), "%A_%a_0_log"])
        return f"{stem}.out", f"{stem}.err"

    def local(self, index: int) -> tuple[Path, Path]:
        """The files of one task of a local pool, their folder made."""
        if self.folder is None:
            output = self.layout.log(self.submission, index)
            return output, output.with_suffix(".err")
        job = f"s{self.submission}_{index}"
        folder = Path(self.folder.replace(_JOB, job)).absolute()
        folder.mkdir(mode=DIR_MODE, parents=True, exist_ok=True)
        return folder / f"{job}_0_log.out", folder / f"{job}_0_log.err"

    def make_slurm_folders(self, job_id: str, count: int) -> None:
        """Make the folders that the patterns name: Slurm makes none. Called while the array is still held."""
        if self.folder is None:
            return
        names = {self.folder.replace(_JOB, f"{job_id}_{index}") for index in range(count)}
        for name in sorted(names):
            Path(name).absolute().mkdir(mode=DIR_MODE, parents=True, exist_ok=True)

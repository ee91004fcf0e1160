"""What a run's code is offered in its environment, whether or not it imports anything of ours."""

from __future__ import annotations

from pathlib import Path

from hpcorch.journal.manifest import FrozenRun
from hpcorch.model.ids import AttemptId


def offered(frozen: FrozenRun, attempt: AttemptId, checkpoints: Path) -> dict[str, str]:
    """The variables of a run: its names, its seed, and where the checkpoints of all its attempts are.

    :param checkpoints: the folder for checkpoints that are not ours
    """
    run = frozen.run
    return {
        "HPCORCH_SWEEP": frozen.header.sweep,
        "HPCORCH_RUN": f"{frozen.header.sweep}/{run.run}",
        "HPCORCH_ATTEMPT": str(attempt),
        "HPCORCH_SEED": str(run.seed),
        "HPCORCH_RUN_DIR": run.directory,
        "HPCORCH_CHECKPOINT_DIR": str(checkpoints),
        "HPCORCH_RESUME": str(newest_entry(checkpoints) or ""),
    }


def newest_entry(directory: Path) -> Path | None:
    """The file or directory that was written last, by whatever framework; None if there is none.

    Names that begin with a dot or end in ``.tmp`` or ``.part`` are not finished.
    """
    try:
        entries = [entry for entry in directory.iterdir() if not _is_unfinished(entry.name)]
        return max(entries, key=lambda entry: entry.stat().st_mtime_ns, default=None)
    except OSError:
        return None


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith((".tmp", ".part"))

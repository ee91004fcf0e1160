"""Whether a git checkout differs from its last commit."""

from __future__ import annotations

from pathlib import Path

from hpcorch import process
from hpcorch.journal.layout import STATE_DIR
from hpcorch.provenance.folders import FolderRules

_GIT_TIMEOUT_S = 60.0
# What is found in folders of sweeps, at the depths at which Hydra makes them.
_OUTPUTS = (
    f"{STATE_DIR}/control.jsonl",
    f"*/{STATE_DIR}/control.jsonl",
    f"*/*/{STATE_DIR}/control.jsonl",
    "*/*/.hydra",
)


def uncommitted_changes(folder: Path) -> list[str]:
    """Paths in the checkout around ``folder`` that differ from its last commit, or that git does not know.

    What sweeps, jobs and hpcorch itself write does not count, as it does not count as code. None where there is no
    git, or no checkout: such code has no commit that it could differ from.
    """
    argv = ["git", "-C", str(folder), "status", "--porcelain", "-z", "--untracked-files=normal"]
    try:
        done = process.run(argv, timeout_s=_GIT_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError):
        return []
    if done.returncode != 0:
        return []
    root = _root(folder)
    paths, entries = [], iter(done.stdout.split("\0"))
    for entry in entries:
        if entry and not (entry.startswith("??") and _is_output(root / entry[3:])):
            paths.append(entry[3:])
            if entry[0] in "RC":
                next(entries, None)  # where it was renamed or copied from
    return paths


def _root(folder: Path) -> Path:
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)


def _is_output(path: Path) -> bool:
    if path.name.startswith("slurm-") and path.suffix == ".out":
        return True
    if not path.is_dir():
        return False
    own = path.name == STATE_DIR or any(next(path.glob(pattern), None) is not None for pattern in _OUTPUTS)
    return own or FolderRules(path.parent).excluded(f"{path.name}/x") is not None

"""Whether a git checkout differs from its last commit."""

from __future__ import annotations

from pathlib import Path

from hpcorch.journal.layout import STATE_DIR
from hpcorch.provenance.folders import FolderRules
from hpcorch.provenance.git import GitError, changed_paths, top

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
    try:
        root = top(folder)
        if root is None:
            return []
        tracked, untracked = changed_paths(root)
    except GitError:
        return []
    return [*tracked, *(path for path in untracked if not _is_output(root / path))]


def _is_output(path: Path) -> bool:
    if path.name.startswith("slurm-") and path.suffix == ".out":
        return True
    if not path.is_dir():
        return False
    own = path.name == STATE_DIR or any(next(path.glob(pattern), None) is not None for pattern in _OUTPUTS)
    return own or FolderRules(path.parent).excluded(f"{path.name}/x") is not None

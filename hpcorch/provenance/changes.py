"""Whether a git checkout differs from its last commit."""

from __future__ import annotations

from pathlib import Path

from hpcorch import process

_GIT_TIMEOUT_S = 60.0


def uncommitted_changes(folder: Path) -> list[str]:
    """Paths in the checkout around ``folder`` that differ from its last commit, or that git does not know.

    None where there is no git, or no checkout: such code has no commit that it could differ from.
    """
    argv = ["git", "-C", str(folder), "status", "--porcelain", "-z", "--untracked-files=normal"]
    try:
        done = process.run(argv, timeout_s=_GIT_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError):
        return []
    if done.returncode != 0:
        return []
    paths, entries = [], iter(done.stdout.split("\0"))
    for entry in entries:
        if entry:
            paths.append(entry[3:])
            if entry[0] in "RC":
                next(entries, None)  # where it was renamed or copied from
    return paths

"""Which project a folder belongs to, and which site profile serves a project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpcorch.errors import NotFoundError
from hpcorch.journal.layout import LEDGER_NAME, SITE_NAME, STATE_DIR

SITE_VARIABLE = "HPCORCH_SITE"
_OF_ALL_USERS = Path("/etc/hpcorch") / SITE_NAME


def project_at(start: Path) -> Path:
    """The project that a folder belongs to: the nearest one walking up that has a profile or a ledger, else the git
    checkout, else the folder itself."""
    folders = (start, *start.parents)
    known = [one for one in folders if any((one / STATE_DIR / name).exists() for name in (SITE_NAME, LEDGER_NAME))]
    checkouts = [one for one in folders if (one / ".git").exists()]
    return next(iter([*known, *checkouts]), start)


def project_profile(project: Path) -> Path:
    """Where a project's own profile is."""
    return project / STATE_DIR / SITE_NAME


def find_profile(project: Path, environ: Mapping[str, str] | None = None) -> Path | None:
    """The profile that serves a project: the first of $HPCORCH_SITE, the project's own, the user's, the machine's.

    :param project: the folder that holds ``.hpcorch``, as :func:`project_at` finds it
    :raises NotFoundError: $HPCORCH_SITE names a file that is not there
    """
    environ = os.environ if environ is None else environ
    named = environ.get(SITE_VARIABLE)
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise NotFoundError(
                f"${SITE_VARIABLE} names {path}, which is no file: correct or unset it, or make one with"
                f" `hpcorch init --output {path}`"
            )
        return path
    return next((path for path in _places(project, environ) if path.is_file()), None)


def _places(project: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    yield project_profile(project)
    yield Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "hpcorch" / SITE_NAME
    yield _OF_ALL_USERS

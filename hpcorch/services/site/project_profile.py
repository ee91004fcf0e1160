"""The project that a folder belongs to, its site profile, and the profile's checks against the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import NotFoundError, PolicyError, UsageError
from hpcorch.journal.files import read_regular
from hpcorch.journal.layout import LEDGER_NAME, SITE_NAME, SITE_VARIABLE, STATE_DIR
from hpcorch.journal.project_search import around, may_serve
from hpcorch.provenance.code.git import GitError, uncommitted_changes
from hpcorch.resources.profile.profile import CleanGit, Enforcement, Profile
from hpcorch.resources.request import resolve
from hpcorch.slurm.answers.licenses import LicenseFit, check_licenses, parse_asked, runs_at_once
from hpcorch.slurm.protocol import SlurmClient

_OF_ALL_USERS = Path("/etc/hpcorch") / SITE_NAME


def project_at(start: Path) -> Path:
    """The project that a folder belongs to: the nearest one walking up that has a profile or a ledger, else the git
    checkout, else the folder itself."""
    folders = [folder for folder in around(start) if may_serve(folder)]
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
                f"${SITE_VARIABLE} names {path}, which is not a file: correct or unset it, or create one with"
                f" `hpcorch init --output {path}`"
            )
        return path
    return next((path for path in _places(project, environ) if path.is_file()), None)


def _places(project: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    if may_serve(project):
        yield project_profile(project)
    yield Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "hpcorch" / SITE_NAME
    yield _OF_ALL_USERS


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseAnswer:
    """What the cluster says to a request for licences.

    :param fits: licence by licence; of alternatives those that can be had
    :param at_once: runs that can hold theirs at once if nobody else holds any; None where none is asked for
    """

    fits: tuple[LicenseFit, ...] = ()
    at_once: int | None = None


def load_profile(project: Path, environ: Mapping[str, str] | None = None) -> Profile:
    """The profile that serves a project; the empty one if there is none.

    :raises UsageError: something in it is wrong
    """
    path = find_profile(project, environ)
    return Profile() if path is None else read_profile(path)


def read_profile(path: Path) -> Profile:
    """Read one file.

    :raises UsageError: something in it is wrong, or it is not text in UTF-8
    """
    from hpcorch.resources.profile.file import parse_profile

    try:
        text = read_regular(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8, so it is no site profile") from error
    except OSError as error:
        raise UsageError(f"the site profile {path} cannot be read: {error.strerror}") from error
    return parse_profile(text, str(path))


def throttle_capacities(profile: Profile) -> dict[str, int]:
    """The capacity of each resource whose runs hpcorch counts."""
    return {r.name: r.capacity for r in profile.resources.values() if r.enforced is Enforcement.THROTTLE}


def check_cluster(profile: Profile, client: SlurmClient) -> None:
    """Refuse a profile that was written for another cluster: its capacities would be wrong here.

    :raises UsageError: it is another's
    """
    here = client.config().cluster
    if profile.cluster is not None and here and profile.cluster != here:
        raise UsageError(
            f"The site profile {profile.source} describes cluster {profile.cluster}, but this is {here}: name the"
            f" right one with ${SITE_VARIABLE}, or write one with `hpcorch init`."
        )


def check_checkout(profile: Profile, folder: Path) -> str | None:
    """See whether the code may have uncommitted changes, if the profile cares; a sentence if it has, and may.

    :raises PolicyError: it has, or git cannot tell, and the profile forbids that
    """
    policy = profile.policies.clean_git
    if policy is CleanGit.IGNORE:
        return None
    required = f"{profile.called} requires a clean git checkout (policies.clean_git: refuse), but"
    try:
        changed = uncommitted_changes(folder)
    except GitError as error:
        if policy is CleanGit.WARN:
            return f"Whether the checkout has uncommitted changes is not known: {error}"
        raise PolicyError(f"{required} git cannot tell: {error}. Nothing was submitted") from error
    if not changed:
        return None
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    if policy is CleanGit.WARN:
        return f"The checkout has uncommitted changes: {shown}"
    raise PolicyError(
        f"{required} there are uncommitted changes: {shown}. Commit or stash them; nothing was submitted"
    )


def lease_places(profile: Profile, resources: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What a task needs to hold leases: resource -> directory, capacity, expiry, slots at a time.

    :param resources: the launcher's key
    """
    counts = resolve(profile, resources).leases if resources else {}
    return {
        name: {
            "directory": resource.directory,
            "capacity": resource.capacity,
            "expiry_s": resource.expiry_s,
            "count": counts.get(name, 1),
        }
        for name, resource in profile.resources.items()
        if resource.enforced is Enforcement.LEASE
    }


def ask_licenses(asked: Mapping[str, int] | str | None, client: SlurmClient) -> LicenseAnswer:
    """See whether runs with these licences can ever start, and how many at once. Asks Slurm only if there are any.

    :raises UsageError: no run with them could ever start
    """
    if not asked:
        return LicenseAnswer()
    fits = check_licenses(asked, client.licenses(), client.config().version)
    _, alternatives = parse_asked(asked)
    return LicenseAnswer(fits=fits, at_once=runs_at_once(fits, alternatives=alternatives))

"""Looking whether all is well where a project's sweeps are to run: the cluster, the site profile, the folder of the
ledger, and, if asked for, compute nodes.

Nothing is changed: what is tried is tried in a private folder that is removed again, and jobs are submitted only
where somebody asked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hpcorch.errors import SlurmUnavailableError, UnavailableError
from hpcorch.journal.layout import STATE_DIR
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.profile.profile import Enforcement, Profile
from hpcorch.services.doctor import cluster as doctor_cluster
from hpcorch.services.doctor import folder as doctor_folder
from hpcorch.services.doctor import nodes as doctor_nodes
from hpcorch.services.doctor import profile as site_checks
from hpcorch.services.doctor.ledger import ledger_row
from hpcorch.services.doctor.profile import Problem
from hpcorch.services.doctor.rows import Row, Verdict, not_ok, ok, unknown, with_verdict
from hpcorch.services.doctor.trial_jobs import choose_place, run_trials
from hpcorch.services.site.project_profile import read_profile
from hpcorch.services.site.survey import Survey, open_files, survey
from hpcorch.services.throttling.state import state_directory
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question to profile and cluster."""

    name: str
    problems: Callable[[Profile, Survey], Iterable[Problem]]


PROFILE_CHECKS: Sequence[Check] = (
    Check(name="cluster", problems=site_checks.cluster),
    Check(name="licenses", problems=site_checks.licenses),
    Check(name="leases", problems=site_checks.lease_folders),
    Check(name="gpus", problems=site_checks.gpus),
    Check(name="open files", problems=site_checks.open_files),
    Check(name="partitions", problems=site_checks.partitions),
    Check(name="accounts", problems=site_checks.accounts),
    Check(name="reservations", problems=site_checks.reservations),
    Check(name="pool limits", problems=site_checks.pool_limits),
    Check(name="headroom", problems=site_checks.headroom),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is looked at.

    :param profile: the file of the site profile that serves the project, if there is one
    :param project: the folder below which sweeps are put
    :param ledger: where the project's ledger is, or would be
    """

    profile: Path | None
    project: Path
    ledger: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsWanted:
    """That trial jobs are to look at compute nodes, and how.

    :param pool: of the profile; None lets hpcorch choose
    :param tell: called with sentences about what goes on
    """

    timeout_s: float
    tell: Callable[[str], None]
    pool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rows, and whether Slurm answered."""

    profile: Path | None
    rows: Sequence[Row]
    answered: bool

    @property
    def exit_code(self) -> int:
        """3 where Slurm did not answer, else 1 where something is not ok."""
        if not self.answered:
            return UnavailableError.exit_code
        return int(bool(with_verdict(self.rows, Verdict.NOT_OK)))

    def as_plain(self) -> dict[str, Any]:
        """For JSON. ``findings`` has those rows again that are not ok."""
        wrong = with_verdict(self.rows, Verdict.NOT_OK)
        return {
            "profile": str(self.profile) if self.profile else None,
            "checks": list(dict.fromkeys(row.check for row in self.rows)),
            "findings": [{"check": row.check, "problem": row.found, "cure": row.cure} for row in wrong],
            "rows": [row.as_plain() for row in self.rows],
        }


def examine(subject: Subject, client: SlurmClient, jobs: JobsWanted | None = None) -> Report:
    """Look at everything.

    :param jobs: submit trial jobs, too
    :raises UsageError: the profile cannot be read, or has no pool of the name that is wanted
    """
    profile = Profile() if subject.profile is None else read_profile(subject.profile)
    if jobs is not None and jobs.pool is not None:
        profile.pool(jobs.pool)
    rows: list[Row] = []
    try:
        facts = survey(client)
        rows += [check(facts) for check in doctor_cluster.CHECKS]
    except SlurmUnavailableError as error:
        facts = None
        rows.append(unknown("slurm", str(error).rstrip(".")))
    rows += profile_rows(profile, facts)
    rows.append(doctor_folder.open_files_row("open files", "here", open_files()))
    rows.append(ledger_row(subject.ledger))
    rows += _folder_and_nodes(profile, facts, client, subject, jobs)
    return Report(profile=subject.profile, rows=rows, answered=facts is not None)


def profile_rows(profile: Profile, facts: Survey | None) -> list[Row]:
    """A row for each thing that is not as the profile has it, or one for all that are."""
    if profile.source is None:
        return [ok("profile", "there is no site profile, so nothing is limited; `hpcorch init` writes one")]
    if facts is None:
        return [unknown("profile", f"{profile.source} could not be compared with the cluster")]
    rows = [
        not_ok(check.name, problem.text, problem.cure)
        for check in PROFILE_CHECKS
        for problem in check.problems(profile, facts)
    ]
    return rows or [ok("profile", f"{profile.source} matches the cluster: {len(PROFILE_CHECKS)} checks")]


def _folder_and_nodes(
    profile: Profile, facts: Survey | None, client: SlurmClient, subject: Subject, jobs: JobsWanted | None
) -> list[Row]:
    """The rows for which files are written, in private folders where the ledger and the sweeps are."""
    rows: list[Row] = []
    sweeps, ledger = subject.project / STATE_DIR, subject.ledger.parent
    together = sweeps == ledger
    if not together:
        with _opened(ledger) as (folder, problem):
            found = doctor_folder.look_at(ledger, folder, problem)
            rows += doctor_folder.rows_of(found, of_nodes=False, of="ledger")
    with _opened(sweeps) as (folder, problem):
        found = doctor_folder.look_at(sweeps, folder, problem, ledger=together)
        of = None if together else "sweeps"
        rows += doctor_folder.rows_of(found, of_nodes=facts is not None, tried=jobs is not None, of=of)
        if facts is not None:
            rows += _nodes(profile, facts, client, folder, jobs)
    return rows


@contextmanager
def _opened(state: Path) -> Iterator[tuple[Path | None, OSError | None]]:
    """A private folder in a project's ``.hpcorch``, or why there is none."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(doctor_folder.private_folder(state))
        except OSError as error:
            yield None, error
        else:
            yield folder, None


def _nodes(
    profile: Profile, facts: Survey, client: SlurmClient, folder: Path | None, jobs: JobsWanted | None
) -> list[Row]:
    if jobs is None:
        return [doctor_nodes.not_submitted()]
    if folder is None:
        return [unknown("compute nodes", "no job was submitted, because no job could write its findings")]
    place = choose_place(profile, facts, client, jobs.pool)
    shared = list(_shared_folders(profile))
    trials = run_trials(place, client, folder, shared=shared, timeout_s=jobs.timeout_s, tell=jobs.tell)
    return doctor_nodes.rows_of(trials)


def _shared_folders(profile: Profile) -> Iterator[Path]:
    """Folders beside the ledger's that nodes must see, or the first above that are there."""
    for resource in profile.resources.values():
        if resource.enforced is Enforcement.LEASE and resource.directory:
            yield Path(resource.directory)
    if any(one.enforced is Enforcement.THROTTLE for one in profile.resources.values()):
        state = state_directory().absolute()
        yield next(path for path in (state, *state.parents) if path.exists())

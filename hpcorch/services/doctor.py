"""Looking whether a site profile is true of the cluster. :data:`CHECKS` is the list of all that is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpcorch.resources.profile import Profile
from hpcorch.services import site_checks
from hpcorch.services.site_checks import Problem
from hpcorch.services.survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be.

    :param check: the name of the check that found it
    :param problem: what is wrong
    :param cure: what to do
    """

    check: str
    problem: str
    cure: str

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question to profile and cluster.

    :param question: as people read it
    """

    name: str
    question: str
    problems: Callable[[Profile, Survey], Iterable[Problem]]


CHECKS: Sequence[Check] = (
    Check(name="cluster", question="Is the profile about this cluster?", problems=site_checks.cluster),
    Check(name="licenses", question="Are there the licences, and as many?", problems=site_checks.licenses),
    Check(name="leases", question="Can leases be kept where it says?", problems=site_checks.lease_folders),
    Check(name="gpus", question="Do the nodes have the GPUs?", problems=site_checks.gpus),
    Check(name="open files", question="May a process open so many files?", problems=site_checks.open_files),
    Check(name="partitions", question="Are the partitions there, and open?", problems=site_checks.partitions),
    Check(name="accounts", question="May you use the accounts and QOS?", problems=site_checks.accounts),
    Check(name="reservations", question="Are the reservations there?", problems=site_checks.reservations),
    Check(name="pool limits", question="Does Slurm allow what the pools do?", problems=site_checks.pool_limits),
    Check(name="headroom", question="Does the headroom leave room for sweeps?", problems=site_checks.headroom),
)


def examine(profile: Profile, facts: Survey) -> list[Finding]:
    """All findings, in the order of the checks."""
    return [
        Finding(check=check.name, problem=problem.text, cure=problem.cure)
        for check in CHECKS
        for problem in check.problems(profile, facts)
    ]

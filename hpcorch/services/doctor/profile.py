"""What in a site profile may not match the cluster: one function per check, from profile and survey to problems.

What the site does not show is not checked.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcorch.resources.profile.profile import Enforcement, Kind, Pool, Profile, Resource
from hpcorch.services.site.survey import Survey
from hpcorch.services.site.user_limits import Accounting
from hpcorch.slurm.answers.scontrol import Partition


@dataclass(frozen=True, slots=True)
class Problem:
    """Something untrue, and what to do about it: phrases without a full stop."""

    text: str
    cure: str


def cluster(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """A profile for another cluster."""
    if profile.cluster is not None and facts.config.cluster and profile.cluster != facts.config.cluster:
        yield Problem(
            f"the profile describes cluster {profile.cluster}, but this is {facts.config.cluster}",
            "name this cluster's profile with $HPCORCH_SITE, or write one with `hpcorch init`",
        )


def licenses(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """Licences that the cluster lacks, or has in another number."""
    if facts.licenses is None:
        return
    rows = {one.name: one.total for one in facts.licenses}
    for resource in _enforced(profile, Enforcement.LICENSE):
        name = resource.license or resource.name
        if name not in rows:
            yield Problem(
                f"resource {resource.name} stands for the licence {name}, which the cluster does not have",
                f"set its `license` to a name of `scontrol show licenses`{_close(name, rows)}, or let hpcorch"
                " count it with `enforced: throttle`",
            )
        elif rows[name] != resource.capacity:
            yield Problem(
                f"resource {resource.name} has capacity {resource.capacity}, and of the licence {name} the cluster"
                f" has {rows[name]}",
                f"set its `capacity` to {rows[name]}: Slurm counts by its own number",
            )


def lease_folders(profile: Profile, _: Survey) -> Iterator[Problem]:
    """Folders in which no lease can be kept."""
    for resource in _enforced(profile, Enforcement.LEASE):
        folder = Path(resource.directory or "")
        if not folder.is_dir():
            yield Problem(
                f"resource {resource.name} keeps its leases in {folder}, which is not a folder",
                "make it on a file system that all nodes share, or name another in `directory`",
            )
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield Problem(
                f"resource {resource.name} keeps its leases in {folder}, which you cannot write to",
                "ask its owner to let your group write there (chmod g+rwx), or name another in `directory`",
            )


def gpus(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """GPUs that no node has, or of which there are fewer."""
    if facts.gpus is None:
        return
    for resource in _of_kind(profile, Kind.GPU):
        kind = resource.gpu_type
        there = sum(facts.gpus.values()) if kind is None else facts.gpus.get(kind, 0)
        if not there and kind is not None:
            yield Problem(
                f"resource {resource.name} stands for GPUs of type {kind}, which no node has",
                f"set its `gpu_type` to a type that sinfo shows{_close(kind, [one for one in facts.gpus if one])}",
            )
        elif resource.capacity > there:
            yield Problem(
                f"resource {resource.name} has capacity {resource.capacity}, and all nodes together have {there}"
                " such GPUs",
                f"set its `capacity` to {there}" if there else "take it out of the profile",
            )


def open_files(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """More open files than the kernel allows a process."""
    for resource in _of_kind(profile, Kind.FILES):
        limited = resource.enforced is Enforcement.SYSTEM and facts.open_files is not None
        if limited and resource.capacity > (facts.open_files or 0):
            yield Problem(
                f"resource {resource.name} has capacity {resource.capacity}, and a process here may open"
                f" {facts.open_files} files",
                f"set its `capacity` to {facts.open_files}, or raise the limit with `ulimit -n`",
            )


def partitions(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """Partitions that are not there, closed, or let jobs run for a shorter time."""
    if facts.partitions is None:
        return
    known = {one.name: one for one in facts.partitions}
    for name in profile.policies.partitions or ():
        if name not in known:
            yield Problem(f"policies.partitions allows {name}, which the cluster does not have", _cure(name, known))
    for pool in profile.pools.values():
        if pool.partition is not None:
            yield from _partition(pool, pool.partition, known)


def accounts(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """Accounts and QOS that the user's jobs may not use."""
    if facts.accounting is None:
        return
    for pool in profile.pools.values():
        yield from _account(pool, facts.accounting)


def reservations(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """Reservations that are not there."""
    if facts.reservations is None:
        return
    for pool in profile.pools.values():
        for name in pool.reservation.split(",") if pool.reservation else ():
            if name not in facts.reservations:
                yield Problem(
                    f"pool {pool.name} uses reservation {name}, which the cluster does not have (any more)",
                    "take it out of the pool, or choose one of `scontrol show reservation`"
                    f"{_close(name, facts.reservations)}",
                )


def pool_limits(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """Pools that allow more than Slurm does under the default account and QOS of their jobs."""
    for pool in profile.pools.values():
        there = facts.limits.get(pool.partition or "")
        if there is None or pool.qos is not None or pool.account is not None:
            continue
        limits = (("max_submitted", there.max_submit), ("max_running", there.max_running))
        for key, allowed in limits:
            asked = getattr(pool.limits, key)
            if asked is not None and allowed is not None and asked > allowed:
                yield Problem(
                    f"pool {pool.name} has {key} {asked}, and Slurm allows {there.source}",
                    f"set its limits.{key} to {allowed} at most",
                )


def headroom(profile: Profile, facts: Survey) -> Iterator[Problem]:
    """A headroom that leaves nothing for sweeps."""
    left = profile.headroom
    if left is None:
        return
    for name, limits in facts.limits.items():
        if limits.max_submit is not None and left >= limits.max_submit:
            yield Problem(
                f"headroom is {left}, and in partition {name} you may have only {limits.source}, so no"
                " sweep could be submitted there",
                f"set headroom below {limits.max_submit}",
            )


def _partition(pool: Pool, name: str, known: Mapping[str, Partition]) -> Iterator[Problem]:
    if name not in known:
        text = f"pool {pool.name} is in partition {name}, which the cluster does not have"
        yield Problem(text, _cure(name, known))
        return
    if not known[name].up:
        yield Problem(
            f"pool {pool.name} is in partition {name}, which is not UP",
            "use another pool until the administrators open it again",
        )
    longest, allowed = pool.limits.max_walltime_min, known[name].max_minutes
    if longest is not None and allowed is not None and longest > allowed:
        yield Problem(
            f"pool {pool.name} allows {longest} minutes, and partition {name} only {allowed}",
            f"set its limits.max_walltime_min to {allowed} at most",
        )


def _account(pool: Pool, accounting: Accounting) -> Iterator[Problem]:
    known = {one.account for one in accounting.associations}
    if pool.account is not None and pool.account not in known:
        yield Problem(
            f"pool {pool.name} uses account {pool.account}, which your jobs may not use", _cure(pool.account, known)
        )
        return
    account = pool.account or accounting.default_account
    usable = {name for one in accounting.associations if account in (None, one.account) for name in one.qos}
    if pool.qos is not None and usable and pool.qos not in usable:
        whose = f"with account {account}" if account else "at all"
        yield Problem(
            f"pool {pool.name} uses QOS {pool.qos}, which your jobs may not use {whose}", _cure(pool.qos, usable)
        )


def _enforced(profile: Profile, enforcement: Enforcement) -> list[Resource]:
    return [resource for resource in profile.resources.values() if resource.enforced is enforcement]


def _of_kind(profile: Profile, kind: Kind) -> list[Resource]:
    return [resource for resource in profile.resources.values() if resource.kind is kind]


def _cure(name: str, known: Collection[str]) -> str:
    return f"correct the name{_close(name, known)}"


def _close(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" ({close[0]}?)"
    return f" (there {'is' if len(known) == 1 else 'are'} {', '.join(sorted(known))})" if known else ""

"""Writing a first site profile from what the cluster says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from hpcorch.errors import UsageError
from hpcorch.journal.access import make_folder
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import STATE_DIR
from hpcorch.resources.profile.file import parse_profile
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.site.survey import Survey
from hpcorch.slurm.answers.scontrol import Partition

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")
_WORDS_OF_YAML = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")

_HEAD = """\
# The site profile of cluster {cluster}: what runs share, and what a sweep may take.
# Written by `hpcorch init` from what the cluster said. Edit it as needed, then check it with `hpcorch doctor`.
"""
_NO_RESOURCES = """\
  # The cluster has no licences. A resource that hpcorch itself keeps within its capacity, over all of your sweeps:
  #   scratch_io: {kind: storage, unit: writers, capacity: 8, enforced: throttle}
"""
_END = """
# The most that one sweep may take; without a line there is no limit.
envelope: {}
#   max_gpus: 16
#   max_gpu_hours: 500
#   max_runs: 10000
#   max_walltime_min: 1440

policies:
  clean_git: warn  # or refuse, ignore: what a launch with uncommitted changes gets
"""
_OPEN_FOLDER, _OPEN_FILE = 0o755, 0o644
# Of a user's submit slots so many are left for other jobs, one in so many of the limit at most.
_HEADROOM = 20
_SHARE_OF_LIMIT = 5


def profile_text(facts: Survey) -> str:
    """A profile for this cluster, with comments for whoever reads it first."""
    head = _HEAD.format(cluster=facts.config.cluster)
    name = facts.config.cluster
    parts = [head, f"cluster: {_scalar(name)}\n" if name else "", *_resources(facts)]
    return "".join([*parts, *_pools(facts), _END, *_headroom(facts)])


def refuse_to_replace(path: Path, *, force: bool) -> None:
    """Refuse to overwrite a file that may have been edited.

    :raises UsageError: the file is there, and nobody said ``force``
    """
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists already and may contain your changes: to see what has changed on the cluster, run"
            " `hpcorch doctor`, or replace it with --force."
        )


def write_profile(path: Path, text: str, *, force: bool) -> Profile:
    """Write a profile, and read it once to check it.

    :raises UsageError: as :func:`refuse_to_replace`
    """
    profile = parse_profile(text, str(path))
    refuse_to_replace(path, force=force)
    if path.parent.name == STATE_DIR:
        make_folder(path.parent)
        write_whole(path, text.encode())
    else:  # it may be meant for all users, as in /etc
        path.parent.mkdir(parents=True, exist_ok=True, mode=_OPEN_FOLDER)
        write_whole(path, text.encode(), mode=_OPEN_FILE)
    return profile


def _resources(facts: Survey) -> Iterator[str]:
    taken: set[str] = set()
    yield "\nresources:\n"
    if not facts.licenses:
        yield _NO_RESOURCES
    for one in facts.licenses or ():
        name = _name(one.name, taken)
        yield f"  {name}:  # of `scontrol show licenses`; ask for it with resources={{{name}: 1}}\n"
        yield f"    capacity: {one.total}\n    enforced: license\n    license: {_scalar(one.name)}\n"
    for kind, there in sorted((facts.gpus or {}).items()):
        yield f"  {_name(f'gpu_{kind}' if kind else 'gpu', taken)}:  # ask for them with gpus_per_node\n"
        yield f"    kind: gpu\n    unit: GPUs\n    capacity: {there}\n    enforced: system\n"
        yield f"    gpu_type: {_scalar(kind)}\n" if kind else ""
    if facts.open_files is not None:
        yield f"  {_name('open_files', taken)}:  # `ulimit -n`: files a process may open\n"
        yield f"    kind: file_descriptors\n    capacity: {facts.open_files}\n    enforced: system\n"


def _pools(facts: Survey) -> Iterator[str]:
    usable = [one for one in facts.partitions or () if one.up]
    yield "\n# A pool is a name for where to run, as in hydra.launcher.pool=NAME.\n"
    if not usable:
        yield "pools: {}\n"
        return
    taken: set[str] = set()
    yield "pools:\n"
    for one in usable:
        yield f"  {_name(one.name, taken)}:{'  # the default partition' if one.default else ''}\n"
        yield f"    partition: {_scalar(one.name)}\n"
        yield from _choices(facts)
        yield from _pool_limits(facts, one)


def _choices(facts: Survey) -> Iterator[str]:
    """Accounts and QOS that could be named, where there is a choice."""
    if facts.accounting is None:
        return
    accounts = sorted({one.account for one in facts.accounting.associations})
    if len(accounts) > 1:
        yield f"    # account: one of {', '.join(accounts)}; {facts.accounting.default_account} if none is named\n"
    qos = sorted({name for one in facts.accounting.associations for name in one.qos})
    if len(qos) > 1:
        yield f"    # qos: one of {', '.join(qos)}\n"


def _pool_limits(facts: Survey, partition: Partition) -> Iterator[str]:
    limits = facts.limits.get(partition.name)
    numbers = {
        "max_running": limits.max_running if limits else None,
        "max_submitted": limits.max_submit if limits else None,
        "max_walltime_min": partition.max_minutes,
    }
    told = {key: number for key, number in numbers.items() if number}
    if told:
        yield f"    limits: {{{', '.join(f'{key}: {number}' for key, number in told.items())}}}\n"


def _headroom(facts: Survey) -> Iterator[str]:
    lowest = min((one.max_submit for one in facts.limits.values() if one.max_submit is not None), default=None)
    yield "\n# Submit slots that sweeps leave for your other jobs.\n"
    yield f"headroom: {_HEADROOM if lowest is None else min(_HEADROOM, lowest // _SHARE_OF_LIMIT)}\n"


def _name(text: str, taken: set[str]) -> str:
    """A name that overrides and file names can hold, and that nothing before it has."""
    plain = _NOT_IN_A_NAME.sub("_", text).lstrip("_.-") or "unnamed"
    name = next(one for one in chain([plain], (f"{plain}_{number}" for number in count(2))) if one not in taken)
    taken.add(name)
    return name


def _scalar(text: str) -> str:
    """Text as YAML reads it back as text."""
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS_OF_YAML
    return text if plain else json.dumps(text)

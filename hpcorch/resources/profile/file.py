"""The file of a site profile: YAML, checked as a whole when it is read. conf/site has two examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from hpcorch.resources.profile.marked import Marked, optional, read
from hpcorch.resources.profile.profile import (
    DEFAULT_CURRENCY,
    DEFAULT_EXPIRY_S,
    CleanGit,
    Enforcement,
    Envelope,
    Kind,
    Policies,
    Pool,
    PoolLimits,
    Prices,
    Profile,
    Resource,
)

_T = TypeVar("_T")
# Names become parts of overrides (resources={scratch_io: 1}) and of file names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LICENSE = re.compile(r"[^\s,:;|()]+")
# Keys that mean something for one kind of resource only.
_BELONGS = {"license": Enforcement.LICENSE, "directory": Enforcement.LEASE, "expiry_s": Enforcement.LEASE}
_TEXTS_OF_A_POOL = ("description", "partition", "qos", "account", "reservation")


def parse_profile(text: str, file: str) -> Profile:
    """Read a site profile.

    :param file: its name, for messages and as the profile's source
    :raises UsageError: something in it is wrong; the message names file, line and key
    """
    top = read(text, file).section(_keys(Profile, without=("source",)))
    pools = _named(top, "pools", _pool)
    policies = optional(top, "policies", _policies, Policies())
    prices = optional(top, "prices", _prices, Prices())
    _check_policies(top, policies, prices, pools)
    return Profile(
        source=file,
        cluster=optional(top, "cluster", Marked.text, None),
        resources=_named(top, "resources", _resource),
        pools=pools,
        envelope=optional(top, "envelope", _envelope, Envelope()),
        policies=policies,
        prices=prices,
        headroom=optional(top, "headroom", _from_0, None),
    )


def _named(top: Mapping[str, Marked], key: str, read_one: Callable[[str, Marked], _T]) -> dict[str, _T]:
    found = {}
    for name, value in top[key].mapping().items() if key in top else ():
        if _NAME.fullmatch(name) is None:
            raise value.error("has an invalid name: use letters, digits, '_', '-' and '.'")
        found[name] = read_one(name, value)
    return found


def _resource(name: str, value: Marked) -> Resource:
    section = value.section(_keys(Resource, without=("name",)))
    enforced = _needed(value, section, "enforced", "license, throttle, lease or system").one_of(Enforcement)
    kind = optional(section, "kind", lambda v: v.one_of(Kind), Kind.OTHER)
    for key, owner in _BELONGS.items():
        if key in section and enforced is not owner:
            raise section[key].error(f"applies only if enforced is {owner.value}")
    if "gpu_type" in section and kind is not Kind.GPU:
        raise section["gpu_type"].error("applies only if kind is gpu")
    if enforced is Enforcement.LEASE:
        _needed(value, section, "directory", "a folder in which all its users may write")
    return Resource(
        name=name,
        capacity=_from_1(_needed(value, section, "capacity", "how much of it there is")),
        enforced=enforced,
        kind=kind,
        unit=optional(section, "unit", Marked.text, ""),
        description=optional(section, "description", Marked.text, ""),
        license=optional(section, "license", _license, _default_license(name, enforced)),
        directory=optional(section, "directory", _folder, None),
        expiry_s=optional(section, "expiry_s", lambda v: float(v.whole(1)), DEFAULT_EXPIRY_S),
        gpu_type=optional(section, "gpu_type", Marked.text, None),
    )


def _pool(name: str, value: Marked) -> Pool:
    section = value.section(_keys(Pool, without=("name",)))
    texts = {key: section[key].text() for key in _TEXTS_OF_A_POOL if key in section}
    return Pool(
        name=name,
        nice=optional(section, "nice", Marked.whole, None),
        limits=optional(section, "limits", _pool_limits, PoolLimits()),
        **texts,
    )


def _pool_limits(value: Marked) -> PoolLimits:
    section = value.section(_keys(PoolLimits))
    return PoolLimits(**{key: _from_1(limit) for key, limit in section.items()})


def _envelope(value: Marked) -> Envelope:
    section = value.section(_keys(Envelope))
    readers: dict[str, Callable[[Marked], Any]] = {"max_gpu_hours": Marked.amount, "max_gpus": _from_0}
    return Envelope(**{key: readers.get(key, _from_1)(limit) for key, limit in section.items()})


def _policies(value: Marked) -> Policies:
    section = value.section(_keys(Policies))
    return Policies(
        clean_git=optional(section, "clean_git", lambda v: v.one_of(CleanGit), CleanGit.IGNORE),
        partitions=optional(section, "partitions", Marked.texts, None),
        max_cost=optional(section, "max_cost", Marked.amount, None),
    )


def _prices(value: Marked) -> Prices:
    section = value.section(_keys(Prices))
    return Prices(
        gpu_hour=optional(section, "gpu_hour", Marked.amount, 0.0),
        cpu_hour=optional(section, "cpu_hour", Marked.amount, 0.0),
        currency=optional(section, "currency", Marked.text, DEFAULT_CURRENCY),
    )


def _check_policies(
    top: Mapping[str, Marked], policies: Policies, prices: Prices, pools: Mapping[str, Pool]
) -> None:
    """Rules that could never be kept, or never be broken, are mistakes.

    :raises UsageError: naming the rule
    """
    rules = top["policies"].mapping() if "policies" in top else {}
    if policies.max_cost is not None and not (prices.gpu_hour or prices.cpu_hour):
        raise rules["max_cost"].error("needs prices: set prices.gpu_hour or prices.cpu_hour")
    for name, pool in pools.items():
        partitions = policies.partitions
        if partitions is not None and pool.partition is not None and pool.partition not in partitions:
            where = top["pools"].mapping()[name].mapping()["partition"]
            raise where.error(f"is {pool.partition}, which policies.partitions does not allow")


def _keys(of: type[Any], *, without: tuple[str, ...] = ()) -> list[str]:
    return [one.name for one in fields(of) if one.name not in without]


def _needed(value: Marked, section: Mapping[str, Marked], key: str, meaning: str) -> Marked:
    if key not in section:
        raise value.error(f"needs the key {key}: {meaning}")
    return section[key]


def _default_license(name: str, enforced: Enforcement) -> str | None:
    return name if enforced is Enforcement.LICENSE else None


def _license(value: Marked) -> str:
    name = value.text()
    if _LICENSE.fullmatch(name) is None:
        raise value.error(f"must be the name of a licence as `scontrol show licenses` has it, not {name!r}")
    return name


def _folder(value: Marked) -> str:
    path = value.text()
    if not path.startswith("/"):
        raise value.error(f"must be an absolute path, since runs start in many folders, not {path!r}")
    return path


def _from_0(value: Marked) -> int:
    return value.whole(0)


def _from_1(value: Marked) -> int:
    return value.whole(1)

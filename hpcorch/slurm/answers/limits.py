"""How many jobs one user may have with Slurm: what sacctmgr says, and which of several limits counts.

A limit is looked for in the partition's QOS, then in the job's QOS, then in the user's association; the first that
sets it decides, even if a later one is lower (resource_limits of Slurm's documentation; measured on 22.05: a QOS
with MaxSubmitJobsPU 10 let 8 elements pass an association with MaxSubmitJobs 3). The QOS flag OverPartQOS swaps
the first two. Limits per user, per account and of a whole group are looked for one by one, and all hold. Each
array element counts as one job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpcorch.quick_dataclasses import dataclass

_QOS_FIELDS = "Name,MaxSubmitJobsPU,MaxSubmitJobsPA,GrpSubmitJobs,MaxJobsPU,MaxJobsPA,GrpJobs,Flags"
_ASSOC_FIELDS = "Account,User,ParentName,Partition,MaxSubmitJobs,GrpSubmitJobs,MaxJobs,GrpJobs,QOS,DefaultQOS"
_OVER_PARTITION = "OverPartQOS"
_DEFAULT_QOS = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Limits on numbers of jobs at one place; None where it sets none.

    :param each: per user
    :param account: per account
    :param group: over all users of the QOS, or of the account and those below it
    """

    each: int | None = None
    account: int | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Qos:
    """One quality of service, as far as it limits numbers of jobs."""

    name: str
    submitted: Counts
    running: Counts
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """What one user may do under one account, or (``user`` empty) what holds for the account itself.

    :param partition: empty for all partitions that have no association of their own
    :param parent: the account above, for an account's own row
    """

    account: str
    user: str
    parent: str
    partition: str
    submitted: Counts
    running: Counts
    qos: tuple[str, ...]
    default_qos: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one user may have in Slurm's queue.

    :param max_array_size: the largest array index is one less
    :param max_submit: jobs or array elements, waiting or running; None where nothing limits it, or nobody knows
    :param max_running: likewise, running
    :param source: where the limits come from, or why they are not known
    """

    max_array_size: int
    max_submit: int | None = None
    max_running: int | None = None
    source: str = ""


def show_qos() -> list[str]:
    """List the qualities of service with their limits."""
    return ["sacctmgr", "-nP", "show", "qos", f"format={_QOS_FIELDS}"]


def show_user(user: str, cluster: str) -> list[str]:
    """List a user's default account and associations on a cluster, in one inquiry (each takes sacctmgr 0.2 s)."""
    fields = f"format=DefaultAccount,{_ASSOC_FIELDS}"
    return ["sacctmgr", "-nP", "show", "user", user, "withassoc", f"cluster={cluster}", fields]


def show_accounts(cluster: str) -> list[str]:
    """List the accounts' own associations on a cluster, as far as the user may see them."""
    return ["sacctmgr", "-nP", "show", "assoc", f"cluster={cluster}", "user=", f"format={_ASSOC_FIELDS}"]


def parse_qos(text: str) -> list[Qos]:
    """Read :func:`show_qos`."""
    found = []
    for name, each, account, group, run_each, run_account, run_group, flags in _rows(text, _QOS_FIELDS):
        submitted = Counts(each=_number(each), account=_number(account), group=_number(group))
        running = Counts(each=_number(run_each), account=_number(run_account), group=_number(run_group))
        found.append(Qos(name=name, submitted=submitted, running=running, flags=frozenset(flags.split(","))))
    return found


def parse_user(text: str) -> tuple[str | None, list[Association]]:
    """Read :func:`show_user`: the default account, if there is one, and the associations.

    Limits that accounts hand down are in them. A user without associations on the cluster gets a row without an
    account and with limits of 0 on 22.05, which means nothing.
    """
    rows = [row for row in _rows(text, f"DefaultAccount,{_ASSOC_FIELDS}") if row[1]]
    return next((row[0] for row in rows if row[0]), None), [_association(row[1:]) for row in rows]


def parse_accounts(text: str) -> list[Association]:
    """Read :func:`show_accounts`."""
    return [_association(row) for row in _rows(text, _ASSOC_FIELDS)]


def _association(row: Sequence[str]) -> Association:
    account, user, parent, partition, each, group, run_each, run_group, qos, default = row
    return Association(
        account=account,
        user=user,
        parent=parent,
        partition=partition,
        submitted=Counts(each=_number(each), group=_number(group)),
        running=Counts(each=_number(run_each), group=_number(run_group)),
        qos=tuple(name for name in qos.split(",") if name),
        default_qos=default,
    )


def association_of(
    associations: Iterable[Association], *, account: str | None, partition: str | None
) -> Association | None:
    """The association that counts for a job: one of that partition before one of all partitions."""
    mine = [one for one in associations if one.user and account in (None, one.account)]
    of_partition = [one for one in mine if one.partition and one.partition == partition]
    of_all = [one for one in mine if not one.partition]
    return next(iter([*of_partition, *of_all]), None)


def limits_for(
    association: Association | None,
    accounts: Sequence[Association],
    known_qos: Sequence[Qos],
    *,
    max_array_size: int,
    qos: str | None = None,
    partition_qos: str | None = None,
) -> Limits:
    """The limits for jobs of an association under a QOS.

    :param accounts: the accounts' own rows, as far as the user may see them
    :param qos: the QOS asked for; None is the association's default
    :param partition_qos: the QOS of the partition, if it has one
    """
    by_name = {one.name: one for one in known_qos}
    job = by_name.get(qos or default_qos(association))
    of_partition = by_name.get(partition_qos or "")
    places = [one for one in (of_partition, job) if one is not None]
    if job is not None and _OVER_PARTITION in job.flags:
        places.reverse()
    chain = _chain(association, accounts)
    submit, submit_source = _lowest([(f"QOS {q.name}", q.submitted) for q in places], _of(chain, "submitted"))
    running, running_source = _lowest([(f"QOS {q.name}", q.running) for q in places], _of(chain, "running"))
    return Limits(
        max_array_size=max_array_size,
        max_submit=submit,
        max_running=running,
        source=_words(submit, submit_source, running, running_source),
    )


def default_qos(association: Association | None) -> str:
    """The QOS of jobs that name none."""
    if association is None:
        return _DEFAULT_QOS
    if association.default_qos:
        return association.default_qos
    return association.qos[0] if len(association.qos) == 1 else _DEFAULT_QOS


def _chain(association: Association | None, accounts: Sequence[Association]) -> list[Association]:
    """The association and the accounts above it, whose group limits hold, too."""
    if association is None:
        return []
    own = {one.account: one for one in accounts if not one.user}
    chain, name = [association], association.account
    while name in own and own[name] not in chain:
        chain.append(own[name])
        name = own[name].parent
    return chain


def _of(chain: Sequence[Association], which: str) -> list[tuple[str, Counts]]:
    """The limits of an association chain: only the first one's are per user, group limits are everyone's."""
    found: list[tuple[str, Counts]] = []
    for at, one in enumerate(chain):
        counts: Counts = getattr(one, which)
        name = f"the association of {one.user} with {one.account}" if one.user else f"account {one.account}"
        found.append((name, counts if at == 0 else Counts(group=counts.group)))
    return found


def _lowest(
    qos: Sequence[tuple[str, Counts]], associations: Sequence[tuple[str, Counts]]
) -> tuple[int | None, str]:
    """The lowest of the limits of each kind, where a QOS that sets a kind hides the associations'.

    A limit per account of a QOS hides an association's own, too (measured on 22.05).
    """
    candidates: list[tuple[int, str]] = []
    for kind in ("each", "account", "group"):
        candidates += _set(qos, kind)[:1]
    if not _set(qos, "each") and not _set(qos, "account"):
        candidates += _set(associations, "each")
    if not _set(qos, "group"):
        candidates += _set(associations, "group")
    return min(candidates, default=(None, ""))


def _set(places: Sequence[tuple[str, Counts]], kind: str) -> list[tuple[int, str]]:
    return [(value, name) for name, counts in places if (value := getattr(counts, kind)) is not None]


def _words(submit: int | None, submit_source: str, running: int | None, running_source: str) -> str:
    parts = []
    if submit is not None:
        parts.append(f"{submit} submitted by {submit_source}")
    if running is not None:
        parts.append(f"{running} running by {running_source}")
    return ", ".join(parts) or "no limit is set"


def _rows(text: str, fields: str) -> list[list[str]]:
    wanted = fields.count(",") + 1
    rows = [line.split("|") for line in text.splitlines()]
    return [row for row in rows if len(row) == wanted]


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None

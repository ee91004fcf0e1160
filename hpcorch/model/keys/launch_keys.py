"""The launcher's keys as one checked value: what a user asks of a launch, and each run of Slurm or of a machine.

A key is one field here. Hydra's configurations, the reference page, the keys that may be changed for
runs that are executed again, and those that a machine without Slurm ignores are read from the fields. Names and
meanings are hydra-submitit-launcher's where it has the key; sbatch(1) has the meaning of the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from hpcorch.errors import UsageError
from hpcorch.model.keys import kinds
from hpcorch.model.keys.kinds import AUTO, Heeds, Key, key, plain_value, whole
from hpcorch.model.retry_budget import RetryBudget
from hpcorch.model.states import Entry, Isolation
from hpcorch.model.values import FrozenMapping

USUAL_DELAY_S: Final = 120  # hydra-submitit-launcher's
# Of the runs of one array, unless somebody asks for another number (as hydra-submitit-launcher has it).
DEFAULT_PARALLELISM: Final = 256


_EVERY_RUN = Heeds.SBATCH | Heeds.POOL
_NOTHING: FrozenMapping[str, Any] = FrozenMapping()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LaunchKeys:
    """What is asked for. ``None``, or an empty collection, means: say nothing about it.

    :param throttles: no key of users': throttled resource -> units of each run, that ``resources`` comes to
    """

    submitit_folder: str | None = key(kinds.TEXT, _EVERY_RUN, "folder for logs; %j becomes the job's id")
    timeout_min: int = key(
        whole(0),
        _EVERY_RUN,
        "time limit of a run, or a packed task, in minutes; 0: the partition's own limit, or none on this machine",
        default=60,
        local=0,
    )
    cpus_per_task: int | None = key(whole(1), _EVERY_RUN)
    gpus_per_node: int | str | None = key(kinds.COUNT_OR_TEXT, _EVERY_RUN, "a count, or Slurm's type:count")
    gres: str | None = key(kinds.TEXT, _EVERY_RUN)
    tasks_per_node: int = key(kinds.TASKS, _EVERY_RUN, default=1)
    nodes: int = key(whole(1), _EVERY_RUN, default=1)
    name: str = key(kinds.TEXT, Heeds.LAUNCH | Heeds.SBATCH, default="hpcorch", hydra="${hydra.job.name}")
    stderr_to_stdout: bool = key(kinds.FLAG, _EVERY_RUN, default=True)
    seed: int | None = key(
        whole(None, most=(1 << 63) - 1), Heeds.LAUNCH, "root seed of the sweep; by default drawn and recorded"
    )
    tags: tuple[str, ...] = key(kinds.TEXTS, Heeds.LAUNCH, default=())
    compact: bool = key(
        kinds.FLAG,
        Heeds.LAUNCH,
        "no .hydra folder and no Hydra log file: 2 files per run instead of 6",
        default=False,
    )
    dry_run: bool = key(kinds.FLAG, Heeds.LAUNCH, "show what would be done, and do nothing", default=False)
    max_retries: RetryBudget = key(
        kinds.BUDGET,
        Heeds.LAUNCH,
        "run a failed run again, at most this many times, or by class: {NODE_FAIL: 3, OUT_OF_MEMORY: 0}",
        default=RetryBudget(),
    )
    reuse_sweep_dir: bool = key(
        kinds.FLAG, Heeds.LAUNCH, "set aside the record of an earlier sweep in the same directory", default=False
    )
    drift: FrozenMapping[str, str] = key(kinds.POLICY, Heeds.LAUNCH, default=_NOTHING, hydra=kinds.USUAL_POLICIES)
    needed: bool = key(
        kinds.FLAG,
        Heeds.LAUNCH,
        "take over results of runs that completed with the same code, configuration and seed",
        default=False,
    )
    mem_gb: int | float | None = key(kinds.AMOUNT, Heeds.SBATCH, "per node; 0: all of a node's memory")
    partition: str | None = key(kinds.TEXT, Heeds.SBATCH)
    qos: str | None = key(kinds.TEXT, Heeds.SBATCH)
    account: str | None = key(kinds.TEXT, Heeds.SBATCH)
    constraint: str | None = key(kinds.TEXT, Heeds.SBATCH)
    exclude: str | None = key(kinds.TEXT, Heeds.SBATCH)
    nodelist: str | None = key(kinds.TEXT, Heeds.SBATCH)
    reservation: str | None = key(kinds.TEXT, Heeds.SBATCH)
    gpus_per_task: int | str | None = key(kinds.COUNT_OR_TEXT, Heeds.SBATCH)
    cpus_per_gpu: int | None = key(whole(1), Heeds.SBATCH)
    mem_per_gpu: str | None = key(kinds.MEMORY, Heeds.SBATCH)
    mem_per_cpu: str | None = key(kinds.MEMORY, Heeds.SBATCH)
    licenses: FrozenMapping[str, int] | str | None = key(
        kinds.LICENSES, Heeds.SBATCH, "{scratch: 1}, or the text of --licenses"
    )
    dependency: str | None = key(kinds.TEXT, Heeds.SBATCH)
    nice: int | None = key(whole(None), Heeds.SBATCH)
    comment: str | None = key(kinds.TEXT, Heeds.SBATCH)
    signal_delay_s: int | None = key(
        whole(0), Heeds.SBATCH, "SIGUSR1 so long before the time limit; null: 120, at most half of it"
    )
    max_num_timeout: int = key(
        whole(0), Heeds.SLURM, "requeue a run near its time limit, at most this many times", default=0
    )
    requeue_while_progress: bool = key(
        kinds.FLAG, Heeds.SLURM, "and beyond that, as long as each attempt saves a later checkpoint", default=False
    )
    array_parallelism: int | None = key(
        whole(1), Heeds.SBATCH, "at most this many runs at once", default=DEFAULT_PARALLELISM
    )
    additional_parameters: FrozenMapping[str, str | bool | None] = key(
        kinds.SBATCH_FLAGS,
        Heeds.SBATCH,
        "sbatch flags by long name; they win over every other key",
        default=_NOTHING,
    )
    setup: tuple[str, ...] = key(
        kinds.TEXTS, Heeds.SBATCH, "shell lines before the run starts", default=(), hydra=None
    )
    srun_args: tuple[str, ...] = key(kinds.TEXTS, Heeds.SBATCH, default=(), hydra=None)
    python: str | None = key(
        kinds.TEXT, Heeds.SBATCH, "shell text that starts Python; by default, the launcher's interpreter"
    )
    python_options: tuple[str, ...] | None = key(
        kinds.TEXTS, _EVERY_RUN, "options of Python's, such as -O; by default, those of the launching interpreter"
    )
    entry: str = key(
        kinds.ENTRY,
        Heeds.LAUNCH,
        "what a job executes: the program up to its call of the function, or the function alone, as a pickle",
        default=Entry.PROGRAM.value,
    )
    pool: str | None = key(
        kinds.TEXT, Heeds.SLURM, "a pool of the site profile: partition, QOS, account and more at once"
    )
    resources: FrozenMapping[str, int] = key(
        kinds.AMOUNTS,
        Heeds.SLURM,
        "how much each run takes of the site profile's resources: {scratch_io: 2}",
        default=_NOTHING,
        hydra=None,
    )
    keeper: bool | None = key(
        kinds.FLAG, Heeds.SLURM, "a small job tends the sweep when an array is over; null: if needed"
    )
    detach: bool = key(
        kinds.FLAG, Heeds.SLURM, "return at once; the results are handles to the runs", default=False
    )
    slots: int | None = key(whole(None), Heeds.POOL, "runs at once; by default, as many as CPUs and GPUs allow")
    runs_per_task: int | str = key(
        kinds.PACK,
        _EVERY_RUN,
        "auto, or more than 1: a task starts the program once, and forks each of its runs where that calls its"
        " function",
        default=1,
    )
    parallel_per_task: int = key(
        whole(1),
        Heeds.SBATCH,
        "with runs_per_task: so many runs of a task at once, which share its CPUs",
        default=1,
    )
    isolation: str = key(
        kinds.ISOLATION,
        _EVERY_RUN,
        "with runs_per_task: fork, or process to start the program for each run",
        default=Isolation.FORK.value,
    )
    throttles: FrozenMapping[str, int] = key(kinds.AMOUNTS, Heeds.NOBODY, default=_NOTHING)

    def __repr__(self) -> str:
        said = self.changes_since(LaunchKeys())
        return f"LaunchKeys({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> LaunchKeys:
        """Check plain values, as a configuration has them. ``None`` is the default.

        :raises UsageError: a key does not exist, or a value has the wrong type or cannot be written in a script
        """
        return cls().changed(values)

    @classmethod
    def recorded(cls, options: Mapping[str, Any]) -> LaunchKeys:
        """Read what was recorded of a launch. Of a user's script or command other options are on record as well.

        :raises UsageError: a value cannot be
        """
        return cls.parse({name: value for name, value in options.items() if name in KEYS})

    def changed(self, changes: Mapping[str, Any]) -> LaunchKeys:
        """These keys with others for some. ``None`` is the default.

        :param changes: plain values
        :raises UsageError: as for :meth:`parse`
        """
        if not changes:
            return self
        return replace(self, **{name: _checked(name, value) for name, value in changes.items()})

    def changes_since(self, before: LaunchKeys) -> dict[str, Any]:
        """The keys that differ from earlier ones, as plain values: what :meth:`changed` makes these of those."""
        both = ((name, getattr(self, name), getattr(before, name)) for name in KEYS)
        return {name: plain_value(value) for name, value, was in both if value != was}

    def plain(self) -> dict[str, Any]:
        """All keys as they are recorded: a default that changes later changes nothing of what was launched."""
        values = {name: plain_value(getattr(self, name)) for name in KEYS}
        return {name: value for name, value in values.items() if value or KEYS[name].heeds is not Heeds.NOBODY}

    def without_beginning(self) -> LaunchKeys:
        """These keys without a time to begin, and without dependencies on certain jobs: ``singleton`` is none."""
        flags = {k: v for k, v in self.additional_parameters.items() if k not in ("begin", "dependency")}
        order = self.dependency if self.dependency == "singleton" else None
        return replace(self, additional_parameters=FrozenMapping(flags), dependency=order)

    @property
    def flags(self) -> dict[str, str | bool | None]:
        """``additional_parameters`` by their names with dashes."""
        return {name.replace("_", "-"): value for name, value in self.additional_parameters.items()}

    @property
    def asked_partition(self) -> str | None:
        """The partitions that runs may go to, as Slurm is asked: a flag wins over the key."""
        return str(self.flags.get("partition") or self.partition or "") or None

    @property
    def asked_parallelism(self) -> int | None:
        """``array_parallelism`` where somebody asked for a number: it holds for all arrays of a sweep together."""
        return None if self.array_parallelism == DEFAULT_PARALLELISM else self.array_parallelism

    @property
    def is_packed(self) -> bool:
        """Whether a task executes several runs."""
        return self.runs_per_task != 1

    @property
    def parallel_runs(self) -> int:
        """How many runs a task executes at once."""
        return self.parallel_per_task if self.is_packed else 1

    @property
    def forks(self) -> bool:
        """Whether these are forked from one process that has started the program."""
        return self.is_packed and self.isolation == Isolation.FORK.value

    def tasks_for(self, runs: int, limit: int | None = None) -> int:
        """How many tasks of a packed array so many runs are shared out to.

        With ``auto`` the root of their number: the more there are, the more of them a task executes. But no more
        tasks than may run at once, since each takes runs as long as there are any.

        :param limit: the array may have no more elements
        """
        if self.runs_per_task == AUTO:
            asked = min(math.ceil(math.sqrt(runs)), self.tasks_at_once or runs)
        else:
            asked = -(-runs // int(self.runs_per_task))
        return asked if limit is None else min(asked, limit)

    @property
    def tasks_at_once(self) -> int | None:
        """How many elements of an array may run at once, where somebody asked for a number of runs."""
        most = self.asked_parallelism
        return None if most is None else max(1, most // self.parallel_runs)

    @property
    def forbids_requeue(self) -> bool:
        """Whether the flags forbid Slurm to requeue a run."""
        return bool(self.flags.get("no-requeue")) or self.flags.get("requeue") is False

    @property
    def limit_s(self) -> int | None:
        """The time limit in seconds; None where it is the partition's, or a flag of the user's."""
        return 60 * self.timeout_min if self.timeout_min and "time" not in self.flags else None

    @property
    def warned_s(self) -> int:
        """Seconds before the time limit at which the warning comes: as asked, else 120 or half of the limit."""
        if self.signal_delay_s is not None:
            return self.signal_delay_s
        return USUAL_DELAY_S if self.limit_s is None else min(USUAL_DELAY_S, self.limit_s // 2)

    def check_packed(self) -> None:
        """Refuse packed tasks of several nodes or ranks, and more runs of one at once than there may be at all.

        :raises UsageError: these are asked for; or runs at once in a task, without packed tasks
        """
        if self.parallel_per_task > 1 and not self.is_packed:
            raise UsageError(
                f"parallel_per_task={self.parallel_per_task} is for tasks that execute several runs, and each run"
                " has a task of its own: set hydra.launcher.runs_per_task=auto, or leave parallel_per_task out."
            )
        most = self.asked_parallelism
        if most is not None and self.parallel_per_task > most:
            raise UsageError(
                f"With parallel_per_task={self.parallel_per_task} a single task would execute more runs at once"
                f" than array_parallelism={most} lets: lower parallel_per_task, or raise array_parallelism."
            )
        flags = {str(self.flags.get(name, 1)) for name in ("nodes", "ntasks", "ntasks-per-node")}
        if self.is_packed and (self.nodes > 1 or self.tasks_per_node > 1 or self.srun_args or flags != {"1"}):
            raise UsageError(
                f"With runs_per_task={self.runs_per_task} each run is one process of its task: leave out nodes,"
                " tasks_per_node and srun_args, or runs_per_task."
            )

    def check_warning(self) -> None:
        """Refuse a warning that each run would get as soon as it begins.

        :raises UsageError: it is to come as long before the time limit as that is, or longer
        """
        asked, limit = self.signal_delay_s, self.limit_s
        if asked and limit is not None and asked >= limit:
            raise UsageError(
                f"With signal_delay_s={asked} and timeout_min={self.timeout_min} ({limit} s) each run would be"
                f" warned of its time limit as soon as it begins: set signal_delay_s below {limit}, or leave it out"
                f" for {min(USUAL_DELAY_S, limit // 2)}."
            )


KEYS: Mapping[str, Key] = {one.name: one.metadata["key"] for one in fields(LaunchKeys)}
_DEFAULTS: Mapping[str, Any] = {one.name: one.default for one in fields(LaunchKeys)}


# What a launch asks once, whatever its runs are.
OF_THE_LAUNCH: Final = frozenset(
    (
        *("seed", "tags", "dry_run", "detach", "needed", "reuse_sweep_dir"),
        *("entry", "max_retries", "keeper", "slots", "runs_per_task", "parallel_per_task", "isolation"),
    )
)


def names(heeds: Heeds) -> frozenset[str]:
    """The keys that somebody heeds."""
    return frozenset(name for name, one in KEYS.items() if one.heeds & heeds)


HEEDED_LOCALLY: Final = names(Heeds.LAUNCH | Heeds.POOL)
HEEDED_ON_SLURM: Final = names(Heeds.LAUNCH | Heeds.SLURM | Heeds.SBATCH)


def _checked(name: str, value: Any) -> Any:
    if name not in KEYS:
        import difflib  # rarely needed

        close = difflib.get_close_matches(name, KEYS, n=1)
        cure = "a flag of sbatch without a key of its own goes into additional_parameters"
        raise UsageError(
            f"{name!r} is not a key of hpcorch's launchers; {f'did you mean {close[0]!r}?' if close else cure}"
        )
    return _DEFAULTS[name] if value is None else KEYS[name].kind.check(name, value)

"""The launchers' keys, as Hydra's structured configurations.

The keys of hydra-submitit-launcher (1.2 and 1.4-dev) keep their names and meanings, so that changing one word
migrates a project. Defaults differ where the old one costs the user something: standard error goes into the
same log (one file a run instead of two), and logs lie beside the journals unless ``submitit_folder`` says where.
"""

# No ``from __future__ import annotations``: OmegaConf reads the annotations of structured configurations.

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(init=False, repr=False, eq=False)  # OmegaConf needs no more; jobs load these classes, too
class DriftConf:
    """What a starting run does where something is not as it was at submission: refuse, warn or record.

    Other code or configuration would make it another run. Packages and machines differ in ways that seldom matter,
    and stopping a sweep for a note of them would cost more; they are on record. Inputs change on purpose more often
    than by mistake, so that their user is told.
    """

    code: str = "refuse"
    configuration: str = "refuse"
    environment: str = "record"
    inputs: str = "warn"


@dataclass(init=False, repr=False, eq=False)
class CommonConf:
    """Keys of both launchers."""

    submitit_folder: str | None = None  # folder for logs; %j becomes the job's id
    timeout_min: int = 60  # time limit of a run in minutes
    cpus_per_task: int | None = None
    gpus_per_node: Any = None  # a count, or Slurm's type:count
    tasks_per_node: int | None = 1
    mem_gb: float | None = None  # per node
    nodes: int = 1
    name: str = "${hydra.job.name}"
    stderr_to_stdout: bool = True
    seed: int | None = None  # root seed of the sweep; drawn and recorded if not given
    tags: list[str] = field(default_factory=list)
    compact: bool = False  # no .hydra folder and no Hydra log file: 2 files a run instead of 6
    dry_run: bool = False  # show what would be done, do nothing
    max_retries: Any = 0  # run a failed run again so often; or by class: {NODE_FAIL: 3, OUT_OF_MEMORY: 0}
    reuse_sweep_dir: bool = False  # set the record of an earlier sweep in the same directory aside
    drift: DriftConf = field(default_factory=DriftConf)
    needed: bool = False  # take over results of runs that have completed with the same key


@dataclass(init=False, repr=False, eq=False)
class SlurmConf(CommonConf):
    """Keys of ``hydra/launcher=hpcorch_slurm``; sbatch(1) has the meaning of the values."""

    _target_: str = "hydra_plugins.hpcorch_launcher.SlurmLauncher"

    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    reservation: str | None = None
    gres: str | None = None
    gpus_per_task: Any = None
    cpus_per_gpu: int | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    licenses: Any = None  # {scratch: 1}, or the text of --licenses
    dependency: str | None = None
    nice: int | None = None
    comment: str | None = None
    signal_delay_s: int | None = None  # SIGUSR1 so long before the time limit; null: 120, at most half of it
    max_num_timeout: int = 0  # requeue a run that reaches its time limit at most so often
    requeue_while_progress: bool = False  # and beyond that while each attempt saves a later checkpoint
    array_parallelism: int = 256  # at most so many runs at once
    additional_parameters: dict[str, Any] = field(default_factory=dict)  # sbatch flags by long name
    setup: list[str] | None = None  # shell lines before the run starts
    srun_args: list[str] | None = None
    python: str | None = None  # shell text that starts Python; this interpreter if not given
    pool: str | None = None  # a pool of the site profile: partition, QOS, account and more at once
    resources: Any = None  # what each run takes of the site profile's resources: {scratch_io: 2}
    keeper: bool | None = None  # a small job looks after the sweep when an array is over; null: if needed
    detach: bool = False  # return at once; the results are handles to the runs


@dataclass(init=False, repr=False, eq=False)
class LocalConf(SlurmConf):
    """Keys of ``hydra/launcher=hpcorch_local``: Slurm's too, so that a project's configuration serves both.

    What one machine has no use for is named and ignored.
    """

    _target_: str = "hydra_plugins.hpcorch_launcher.LocalLauncher"

    timeout_min: int = 0  # 0: no limit
    slots: int | None = None  # runs at once; as many as CPUs and GPUs allow if not given


# Keys of the local launcher that change nothing on one machine.
IGNORED_LOCALLY = (
    *("partition", "qos", "account", "constraint", "exclude", "nodelist", "reservation", "dependency", "nice"),
    *("gpus_per_task", "cpus_per_gpu", "mem_gb", "mem_per_gpu", "mem_per_cpu", "licenses", "array_parallelism"),
    *("signal_delay_s", "max_num_timeout", "requeue_while_progress", "comment", "additional_parameters"),
    *("setup", "srun_args", "python", "pool", "resources", "keeper", "detach"),
)


def unknown_key(params: Iterable[str]) -> str | None:
    """A sentence about a key that no launcher has, if there is one: Hydra lets ``+`` add any."""
    known = {item.name for item in fields(LocalConf)}
    for key in params:
        if key not in known:
            return f"hydra.launcher.{key} is not a key of hpcorch{_cure(key, known)}"
    return None


def _cure(key: str, known: Iterable[str]) -> str:
    from hpcorch.slurm.sbatch.line import OPTIONS

    if key.replace("_", "-") in OPTIONS:
        return f", but a flag of sbatch: +hydra.launcher.additional_parameters.{key}=VALUE sets it"
    import difflib  # few come here

    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def ignored_locally(params: Mapping[str, Any]) -> list[str]:
    """The keys that were set and that the local launcher ignores."""
    defaults = {item.name: item.default for item in fields(LocalConf)}
    return sorted(key for key in IGNORED_LOCALLY if params.get(key) not in (None, {}, defaults[key]))

"""Argument lists for Slurm's commands, the environment they run with, and what ``sbatch`` answers. Pure.

Only flags and formats that behave alike on Slurm 22.05, 24.11 and 26.05 are used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from hpcorch.slurm.job_environment import is_inside_job

# Fields of squeue that squeue.parse expects; the comment is last, since only it may hold the separator.
QUEUE_FORMAT = "%i|%A|%F|%K|%T|%V|%N|%r|%k"
# The comment, and the command: the path of the script.
TOKEN_FORMAT = "%F|%k|%o"  # noqa: S105 - a submission's token is no secret
# In sacct's the command line is last for the same reason. The last two are left out where sacct does not list them.
ACCOUNTING_FIELDS = ("JobIDRaw", "JobID", "State", "ExitCode", "Submit", "Start", "End", "NodeList", "Reason")
STEPS_CODE_FIELD = "DerivedExitCode"
COMMAND_LINE_FIELD = "SubmitLine"
TOKEN_FIELDS = ("JobID", "SubmitLine", "Comment")
_SUBMITTED = re.compile(r"^(\d+)(?:;(\S+))?$", re.MULTILINE)
_TO_START = re.compile(r"Job \d+ to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
_SUBMITTED_IN_WORDS = re.compile(r"Submitted batch job (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that Slurm has accepted.

    :param job_id: the job's or array's id
    :param cluster: the cluster's name where sbatch was told to choose one, otherwise ``None``
    """

    job_id: str
    cluster: str | None = None


def sbatch(script: str, extra: Sequence[str] = ()) -> list[str]:
    """Submit a script. Flags in ``extra`` win over the script's and the environment's."""
    return ["sbatch", "--parsable", *extra, script]


def sbatch_test(script: str, extra: Sequence[str] = ()) -> list[str]:
    """Ask whether a script would be accepted, without submitting it."""
    return ["sbatch", "--test-only", *extra, script]


def parse_submitted(text: str) -> Submitted:
    """Read the answer of ``sbatch``: ``369``, ``369;cluster``, or the sentence that it prints without a flag.

    :raises ValueError: there is no job id in the text
    """
    found = _SUBMITTED.search(text) or _SUBMITTED_IN_WORDS.search(text)
    if found is None:
        raise ValueError(f"sbatch answered {text!r}, which holds no job id")
    return Submitted(job_id=found[1], cluster=found[2] if found.re is _SUBMITTED else None)


def parse_expected_start(text: str) -> datetime | None:
    """When a job would start by the answer of ``sbatch --test-only``, which speaks in local time."""
    found = _TO_START.search(text)
    return None if found is None else datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").astimezone()


def squeue(job_ids: Iterable[str]) -> list[str]:
    """Rows of these jobs, the lately finished included; those elements of an array that wait may share one."""
    return ["squeue", "-h", "-t", "all", "-j", ",".join(job_ids), "-o", QUEUE_FORMAT]


def squeue_singly(job_ids: Iterable[str]) -> list[str]:
    """As :func:`squeue` with a row for each element, but the last of evenly spaced ones (``0-14:2``) is left out.

    Measured on 22.05, 24.11 and 26.05.
    """
    return [*squeue(job_ids), "-r"]


def squeue_waiting(job_id: str) -> list[str]:
    """When the scheduler expects a waiting job or element to start, and why it waits: ``ID|TIME|REASON``.

    The time is ``N/A`` where it has no guess, the reason ``None`` where it has not looked yet.
    """
    return ["squeue", "-h", "-r", "--start", "-j", job_id, "-o", "%i|%S|%r"]


def squeue_own() -> list[str]:
    """One row for each job or array element of this user that is not over."""
    return ["squeue", "-h", "-r", "--me", "-o", "%i"]


def squeue_time_left(job_id: str) -> list[str]:
    """Show how long a job or element has until its time limit."""
    return ["squeue", "-h", "-j", job_id, "-o", "%L"]


def squeue_preemptions(job_ids: Iterable[str]) -> list[str]:
    """``ID|START|PREEMPTED`` of these jobs and their elements, the lately finished included.

    The last is when Slurm began to preempt the execution that began at the start, ``N/A`` where it did not. It
    stays when that is over, and goes when the job is requeued (measured on 22.05, 24.11 and 26.05).
    """
    fields = "JobArrayID:|,StartTime:|,PreemptTime:|"
    return ["squeue", "-h", "-t", "all", "-j", ",".join(job_ids), "-O", fields]


def squeue_licenses() -> list[str]:
    """User, licences, state and reason of every job that runs or waits, one row per array element."""
    return ["squeue", "-h", "-r", "-t", "R,CG,S,PD", "-o", "%u|%T|%r|%W"]


def squeue_tokens(uid: int) -> list[str]:
    """Array id, comment and command of every job of a user that the controller remembers."""
    return ["squeue", "-h", "-t", "all", "-u", str(uid), "-o", TOKEN_FORMAT]


def sacct(job_ids: Iterable[str], since: datetime, fields: Sequence[str] = ACCOUNTING_FIELDS) -> list[str]:
    """One row per attempt of these jobs that was alive after ``since``; run it with ``TZ=UTC``."""
    return [*_sacct(since, fields), "-j", ",".join(job_ids)]


def sacct_of_user(uid: int, since: datetime, fields: Sequence[str] = TOKEN_FIELDS) -> list[str]:
    """One row per attempt of a user's jobs that was alive after ``since``; run it with ``TZ=UTC``."""
    return [*_sacct(since, fields), "-u", str(uid)]


def _sacct(since: datetime, fields: Sequence[str]) -> list[str]:
    start = since.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return ["sacct", "-n", "-X", "-P", "-D", "-o", ",".join(fields), "-S", start]


def sacct_fields() -> list[str]:
    """List the fields that this release's sacct has."""
    return ["sacct", "--helpformat"]


def scancel(job_ids: Iterable[str]) -> list[str]:
    """Cancel jobs, or elements written as ``369_3`` or ``369_[0,2-4]``."""
    return ["scancel", *job_ids]


def scancel_signal(name: str, job_ids: Iterable[str]) -> list[str]:
    """Send a signal to what the batch script has become, as ``exec`` makes it the task itself, or ``srun``.

    Without ``--batch`` a job without a step gets nothing; with ``--full`` its children get it, too.
    """
    return ["scancel", f"--signal={name}", "--batch", *job_ids]


def scontrol(verb: str, job_ids: Iterable[str]) -> list[str]:
    """``hold``, ``release`` or ``requeue`` of jobs or elements."""
    return ["scontrol", verb, ",".join(job_ids)]


def scontrol_throttle(job_id: str, tasks: int) -> list[str]:
    """Let at most ``tasks`` elements of an array run at once; 0 would mean without limit."""
    return ["scontrol", "update", f"jobid={job_id}", f"ArrayTaskThrottle={tasks}"]


def scontrol_licenses() -> list[str]:
    """Show the licences, one a line."""
    return ["scontrol", "-o", "show", "licenses"]


def scontrol_job(job_id: str) -> list[str]:
    """Show a job or an element of an array, on one line."""
    return ["scontrol", "-o", "show", "job", job_id]


def scontrol_script(job_id: str) -> list[str]:
    """Print the batch script that the controller has of a job of one's own; of an unknown one nothing."""
    return ["scontrol", "write", "batch_script", job_id, "-"]


def scontrol_version() -> list[str]:
    """Show the release of Slurm's commands on this machine, without asking the controller: ``slurm 24.11.0``."""
    return ["scontrol", "--version"]


def scontrol_config() -> list[str]:
    """Show the controller's configuration."""
    return ["scontrol", "show", "config"]


def scontrol_partitions() -> list[str]:
    """Show the partitions that this user may see, one a line."""
    return ["scontrol", "-o", "show", "partition"]


# What tells a client where Slurm is and how to behave; everything else that starts with SLURM describes a job.
_CLIENT_VARIABLES = frozenset(
    (
        *("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_DEBUG_FLAGS", "SLURM_EXIT_ERROR"),
        *("SLURM_HOME", "SLURM_JWT", "SLURM_PATH", "SLURM_ROOT", "SLURM_SACK_JWKS", "SLURM_SACK_KEY"),
        *("SLURM_TIME_FORMAT", "SLURM_UMASK"),
    )
)
# srun inside a job sets these for its tasks; the GPU lists are right for that job alone.
_JOB_PREFIXES = ("SLURM_", "SLURMD_", "SRUN_", "PMI_", "PMIX_", "PMI2_")
_GPU_LISTS = frozenset(
    (
        "CUDA_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
    )
)
# Would break any submission of ours: logs and input elsewhere, no requeueing, an sbatch that waits for the job.
_OVERRULING = frozenset(("SBATCH_ERROR", "SBATCH_INPUT", "SBATCH_NO_REQUEUE", "SBATCH_WAIT"))
_SBATCH_NAMES = {"mem": "MEM_PER_NODE", "time": "TIMELIMIT", "array": "ARRAY_INX"}
# Filters, formats and questions that users set for themselves and no parser or script expects.
_COMMAND_PREFIXES = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")


def submission_environment(environ: Mapping[str, str], stated: Collection[str] = ()) -> dict[str, str]:
    """The environment for ``sbatch``, cleaned of the job that we may be inside of.

    A user's own defaults (``SBATCH_ACCOUNT``, ...) stay, unless the script states that flag itself.

    :param stated: long names of the flags that the script has
    """
    inside_job = is_inside_job(environ)
    overruled = _OVERRULING | {f"SBATCH_{_SBATCH_NAMES.get(s, s.upper().replace('-', '_'))}" for s in stated}
    kept = {}
    for name, value in environ.items():
        describes_job = name.startswith(_JOB_PREFIXES) and name not in _CLIENT_VARIABLES
        if not (describes_job or name in overruled or (inside_job and name in _GPU_LISTS)):
            kept[name] = value
    return kept


def query_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for asking and controlling: no personal filters or formats, times in UTC.

    Lists of array elements are whole: Slurm cuts them after 64 characters by default (squeue(1), SLURM_BITSTR_LEN).

    A cluster chosen for ``sbatch`` is asked, too.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(_COMMAND_PREFIXES)}
    if "SBATCH_CLUSTERS" in environ:
        kept["SLURM_CLUSTERS"] = environ["SBATCH_CLUSTERS"]
    return kept | {"TZ": "UTC", "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C.UTF-8", "SLURM_BITSTR_LEN": "0"}

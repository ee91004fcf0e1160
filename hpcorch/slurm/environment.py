"""The environment that Slurm's commands are run with.

sbatch hands its whole environment to the job, and variables win over ``#SBATCH`` lines (sbatch(1)). Measured on
22.05: submitted from inside a job, an array element saw its parent's memory request and GPU list, and its srun
ended with "SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

# What tells a client where Slurm is and how to behave; everything else that starts with SLURM describes a job.
_CLIENT_VARIABLES = frozenset(
    f"SLURM_{name}"
    for name in (
        *("CONF", "CONF_SERVER", "CLUSTERS", "DEBUG_FLAGS", "EXIT_ERROR", "HOME", "JWT"),
        *("PATH", "ROOT", "SACK_JWKS", "SACK_KEY", "TIME_FORMAT", "UMASK"),
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
    inside_job = "SLURM_JOB_ID" in environ or "SLURM_JOBID" in environ
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

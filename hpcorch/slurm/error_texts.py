"""From Slurm's error text to what it means: rejected, unavailable or unknown.

Only the texts of the table mean that nothing was submitted. Each was seen on a real cluster; whatever else
sbatch says may come after the controller has taken the job (measured: an sbatch that timed out had gone through).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from hpcorch.errors import (
    HpcorchError,
    SlurmUnavailableError,
    SubmissionRejectedError,
    SubmissionUnknownError,
    SubmitLimitError,
)

#: Bytes of a text, such as a job's name, that slurmctld takes.
LONGEST_TEXT = 1024


class Meaning(Enum):
    """What a failed ``sbatch`` means for the job."""

    REJECTED = "rejected"  # Slurm said no: nothing exists
    LIMITED = "limited"  # Slurm said no, since the user has as many jobs as a limit allows
    UNAVAILABLE = "unavailable"  # Slurm was not reached: nothing exists, and it may work later
    UNKNOWN = "unknown"  # the job may exist


@dataclass(frozen=True, slots=True)
class _Row:
    """One text. ``{flags}`` in the sentence becomes those of the script's flags that ``flags`` names, and
    ``{longest}`` those whose values are longer than Slurm takes.

    A group of the pattern is available as ``{0}``.
    """

    pattern: str
    flags: tuple[str, ...]
    sentence: str
    meaning: Meaning = Meaning.REJECTED


_GPU_FLAGS = ("gres", "gpus-per-node", "gpus-per-task", "gpus")
_NODE_FLAGS = ("nodes", "ntasks-per-node", "cpus-per-task", "mem", "mem-per-cpu", "mem-per-gpu", "constraint")

# More telling texts first: sbatch often prints two.
_TABLE = (
    _Row(
        r"Invalid license specification",
        ("licenses",),
        "the cluster has no such licence, or fewer of it ({flags}); `scontrol show licenses` lists them",
    ),
    _Row(
        r"Invalid partition name specified",
        ("partition",),
        "there is no such partition ({flags}); `sinfo -o %P` lists them",
    ),
    _Row(
        r"--gpus-per-task .*used without either --gpus or -n/--ntasks",
        ("gpus-per-task",),
        "GPUs per task need a number of tasks ({flags}); set tasks_per_node, or use gpus_per_node",
    ),
    _Row(
        r"did not request any GPU",
        ("mem-per-gpu",),
        "memory per GPU needs a request for GPUs ({flags}); set gpus_per_node or gres, or use mem_gb",
    ),
    _Row(
        r"Invalid GRES specification \(with and without type identification\)",
        _GPU_FLAGS,
        "a GRES cannot be asked for with and without a type at once ({flags}); give each a type, or none",
    ),
    _Row(
        r"Invalid generic resource \(gres\) specification",
        _GPU_FLAGS,
        "the cluster has no such GRES ({flags}); `sinfo -o '%P %G'` lists them",
    ),
    _Row(
        r"Requested node configuration is not available",
        (*_GPU_FLAGS, *_NODE_FLAGS),
        "no node of the partition can ever provide what is requested ({flags}); "
        "`sinfo -N -o '%N %P %c %m %G %f'` shows what nodes have",
    ),
    _Row(
        r"Invalid qos specification",
        ("qos",),
        "there is no such QOS, or you may not use it ({flags}); "
        "`sacctmgr show assoc user=$USER format=Account,Partition,QOS` lists yours",
    ),
    _Row(
        r"Invalid account or account/partition combination",
        ("account", "partition"),
        "there is no such account, or you may not use it there ({flags}); "
        "`sacctmgr show assoc user=$USER format=Account,Partition` lists yours",
    ),
    _Row(
        r"Invalid job array specification",
        ("array",),
        "the array is larger than the cluster allows ({flags}); "
        "`scontrol show config | grep -E 'MaxArraySize|max_array_tasks'` shows the limits: the largest index is "
        "one less than MaxArraySize, and an array has at most max_array_tasks tasks, where that is set",
    ),
    _Row(
        r"Invalid node name specified",
        ("nodelist", "exclude"),
        "there is no such node ({flags}); `sinfo -N -o %N` lists them",
    ),
    _Row(
        r"Invalid feature specification",
        ("constraint",),
        "no node has such a feature ({flags}); `sinfo -o '%N %f'` lists them",
    ),
    _Row(
        r"Requested reservation is invalid",
        ("reservation",),
        "there is no such reservation, or it is not yours ({flags}); `scontrol show reservations` lists them",
    ),
    _Row(
        r"Job dependency problem",
        ("dependency",),
        "Slurm does not understand the dependency ({flags}); see --dependency in `man sbatch`",
    ),
    _Row(
        r"(\w*SubmitJob\w*Limit)",
        ("array", "qos", "account"),
        "you have as many jobs with it as a limit allows, {0} ({flags}; each array element counts as a job); "
        "`sacctmgr show qos format=Name,MaxSubmitJobsPU` and "
        "`sacctmgr show assoc user=$USER format=MaxSubmitJobs,GrpSubmitJobs` show the limits",
        Meaning.LIMITED,
    ),
    _Row(
        r"Job violates accounting/QOS policy",
        ("array", "qos", "account", "time", "nodes"),
        "a limit of your association or QOS would be exceeded ({flags}; each array element counts as a job); "
        "`sacctmgr show qos format=Name,MaxSubmitJobsPU,MaxJobsPU,MaxWall` and "
        "`sacctmgr show assoc user=$USER format=MaxSubmitJobs,GrpSubmitJobs` show the limits",
    ),
    _Row(
        r"Pathname of a file, directory or other parameter too long",
        (),
        "{longest} is longer than Slurm takes (1024 bytes); shorten it",
    ),
    _Row(
        r"Invalid --nice value", ("nice",), "only an administrator may use this nice value ({flags}); use 0 or more"
    ),
    _Row(
        r"Invalid --(\S+) specification",
        (),
        "sbatch does not understand the value of --{0}; see --{0} in `man sbatch`",
    ),
    _Row(
        r"unrecognized option '([^']*)'",
        (),
        "this release of sbatch has no flag {0}; `sbatch --help` lists them (check additional_parameters)",
    ),
    _Row(
        r"Batch script (?:is empty|contains only whitespace)!|does not look like a batch script|contains DOS line"
        r" breaks|contain a NULL character|Script arguments not permitted|Unmatched `|Unexpected `:`"
        r"|Invalid numeric value|don't specify both|Incompatible begin and deadline|Invalid node list"
        r"|Too few processes|Script .*is too (?:large|big)|cli_filter plugin terminated",
        (),
        "sbatch takes neither such a script nor such flags",
    ),
    _Row(r"Unable to open file (\S.*)", (), "sbatch cannot read the script {0}; is the directory still there?"),
    _Row(
        r"No cluster '([^']*)' known by database",
        (),
        "there is no cluster {0}; `sacctmgr show clusters` lists them (check SLURM_CLUSTERS and SBATCH_CLUSTERS)",
    ),
    _Row(
        r"Unable to contact slurm controller \(connect failure\)",
        (),
        "its controller does not answer; `scontrol ping` tells when it is back",
        Meaning.UNAVAILABLE,
    ),
    _Row(
        r"Unable to process configuration file",
        (),
        "Slurm's configuration cannot be read; are you on a login node, and is SLURM_CONF right?",
        Meaning.UNAVAILABLE,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, for the user. ``sentence`` holds cause, cure and Slurm's own words."""

    meaning: Meaning
    sentence: str

    def error(self) -> HpcorchError:
        """The error that says so."""
        kinds = {
            Meaning.REJECTED: SubmissionRejectedError,
            Meaning.LIMITED: SubmitLimitError,
            Meaning.UNAVAILABLE: SlurmUnavailableError,
            Meaning.UNKNOWN: SubmissionUnknownError,
        }
        return kinds[self.meaning](self.sentence)


def explain(text: str, asked: Mapping[str, str]) -> Failure:
    """Say what an ``sbatch`` that failed with this text on standard error means.

    :param asked: the submission's flags by long name, to name the value that is to blame
    """
    words = " ".join(text.replace("sbatch: error: ", "").split())
    for row in _TABLE:
        match = re.search(row.pattern, text)
        if match is not None:
            verb = "could not be reached" if row.meaning is Meaning.UNAVAILABLE else "rejected the submission"
            cause = row.sentence.format(*match.groups(), flags=_named(row.flags, asked), longest=_longest(asked))
            return Failure(meaning=row.meaning, sentence=f"Slurm {verb}: {cause}. Slurm said: {words}")
    return Failure(
        meaning=Meaning.UNKNOWN,
        sentence=f"sbatch failed in a way that does not tell whether the job exists. It said: {words or 'nothing'}",
    )


def _longest(asked: Mapping[str, str]) -> str:
    """The flags whose values may be too long for Slurm, without these."""
    long = {flag: len(os.fsencode(value)) for flag, value in asked.items()}
    named = [f"the value of --{flag} ({size} bytes)" for flag, size in long.items() if size > LONGEST_TEXT]
    return " or ".join(named) or "a path or text, such as the sweep directory,"


def _named(flags: tuple[str, ...], asked: Mapping[str, str]) -> str:
    return ", ".join(f"--{flag}={asked[flag]}" for flag in flags if flag in asked) or "by the site's defaults"

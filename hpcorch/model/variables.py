"""Environment variables of the jobs that hpcorch submits."""

from __future__ import annotations

import sys
from collections.abc import Mapping

# Of a user's script: the sweep that it is on record as, and the mark of its submission.
SWEEP_VARIABLE, TOKEN_VARIABLE = "HPCORCH_SWEEP_DIR", "HPCORCH_TOKEN"


def script_exports(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that every job of ours has before Python starts.

    :param environ: the environment that the job is given
    """
    exports = {
        "SUBMITIT_EXECUTOR": "slurm",  # lets submitit.JobEnvironment() work in the user's code
        # Sets of strings iterate alike in every attempt, unless the user chose another seed for hashes.
        "PYTHONHASHSEED": environ.get("PYTHONHASHSEED", "0"),
    }
    if sys.version_info >= (3, 11):
        exports["PYTHONSAFEPATH"] = "1"  # the working directory cannot shadow our modules
    return exports

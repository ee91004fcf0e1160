"""Recorded environment variables: which a repetition sets as they were, and which only their machine had.

What is recorded has no secrets (:func:`hpcorch.provenance.environment.record.selected_variables`). Of that,

* what belongs to a job, or to the interpreter's own environment, each job gets anew;
* what names files, devices or networks is told, since another machine has them elsewhere;
* everything else says how to compute, and is set, or not set, as it was.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from hpcorch.provenance.environment.record import selected_variables

_OF_THE_JOB = (
    *("SLURM_", "HPCORCH_", "SUBMITIT_", "PMI_", "PMIX_", "OMPI_", "CONDA_", "VIRTUAL_ENV", "TMPDIR"),
    *("PYTHONSAFEPATH", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "NVIDIA_VISIBLE"),
)
_OF_THE_MACHINE = ("PATH", "LD_", "PYTHONPATH", "PYTHONHOME", "UCX_", "NCCL_", "I_MPI_", "CUDA_DEVICE_ORDER")
# Their values may look like paths.
_SETTINGS = ("TZ", "LANG", "LC_")


def as_recorded(environ: Mapping[str, str], recorded: Mapping[str, str]) -> dict[str, str]:
    """An environment in which what says how to compute is as it was recorded."""
    here = {name for name, value in selected_variables(environ).items() if _is_setting(name, value)}
    others = {name: value for name, value in environ.items() if name not in here}
    return {**others, **{name: value for name, value in recorded.items() if _is_setting(name, value)}}


def other_places(environ: Mapping[str, str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Recorded variables that name files, devices or networks, and are not in an environment as they were."""
    return {
        name: value
        for name, value in recorded.items()
        if not name.startswith(_OF_THE_JOB) and not _is_setting(name, value) and environ.get(name) != value
    }


def export_line(variables: Mapping[str, str]) -> str:
    """The line for a shell that sets them."""
    return f"export {' '.join(f'{name}={shlex.quote(value)}' for name, value in variables.items())}"


def _is_setting(name: str, value: str) -> bool:
    if name.startswith((*_OF_THE_JOB, *_OF_THE_MACHINE)):
        return False
    return os.sep not in value or name.startswith(_SETTINGS)

"""Reading the job states that squeue and sacct print."""

from __future__ import annotations

import logging

from hpcorch.model.job_states import JobState

_log = logging.getLogger(__name__)
_SLURMS = {state.value: state for state in JobState if state.is_slurms}


def parse_state(text: str) -> JobState:
    """Read a state as Slurm prints it, such as ``CANCELLED by 1000`` or a cut-off ``OUT_OF_ME+``.

    Text that no state has becomes ``UNKNOWN`` and a line in the log: a newer Slurm must not stop a sweep.
    """
    word, *_ = text.split() or [""]
    if word.endswith("+"):
        matches = [state for state in _SLURMS.values() if state.value.startswith(word[:-1])]
        if len(matches) == 1:
            return matches[0]
    elif word in _SLURMS:
        return _SLURMS[word]
    _log.warning("Slurm reports the job state %r, which is not known here; it counts as UNKNOWN.", text)
    return JobState.UNKNOWN

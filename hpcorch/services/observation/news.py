"""Whether a word of the scheduler adds to what it has said of the same attempt before. Pure."""

from __future__ import annotations

from hpcorch.model.events import JobObserved
from hpcorch.model.job_states import JobState, Witness

# Reasons of an element that just waits for its turn. A pass of the scheduler swaps them for a whole array at once.
_ITS_TURN = frozenset({None, "Priority", "Resources", "JobArrayTaskLimit"})


def adds_to(last: JobObserved, word: JobObserved) -> bool:
    """Whether a word says something that a user would notice and that the last one did not."""
    if word.state == last.state:
        if word.job_state is JobState.PENDING:
            return word.reason != last.reason and not {word.reason, last.reason} <= _ITS_TURN
        # To an end that squeue showed, the database adds exit code, times and who cancelled.
        return last.job_state.ends_attempt and (word.told_by, last.told_by) == (Witness.SACCT, Witness.SQUEUE)
    # sacct tells attempts apart, squeue shows only the latest: what sacct said of an ended one stands.
    return not (last.told_by is Witness.SACCT and last.job_state.ends_attempt and word.told_by is Witness.SQUEUE)

"""The states of runs, attempts, submissions and sweeps, how attempts end, and the backends that execute them.

Names are Slurm's where Slurm has one (squeue(1), JOB STATE CODES), with its short codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class RunState(str, Enum):
    """Where a run stands, over all of its attempts."""

    PLANNED = "PLANNED"  # recorded, not yet with Slurm
    UNCERTAIN = "UNCERTAIN"  # not known yet: a submission without an answer, a stop without a reason
    SUBMITTED = "SUBMITTED"  # Slurm has it; nothing was seen since
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    CANCELLING = "CANCELLING"  # somebody asked to cancel it, and it has not ended yet
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CANCELLED = "CANCELLED"
    NODE_FAIL = "NODE_FAIL"
    LOST = "LOST"  # unknown; may change when news arrives

    def __str__(self) -> str:
        return self.value  # as it is written everywhere, also by a user's f-string

    @property
    def is_final(self) -> bool:
        """Nothing more is expected unless somebody retries the run."""
        return self in _FINAL_RUN_STATES

    @property
    def short(self) -> str:
        """Slurm's short code, or ours where Slurm has none."""
        return _SHORT_CODES[self]

    @classmethod
    def parse(cls, text: str) -> RunState:
        """Read a full name or a short code, in any case.

        :raises ValueError: no state is named so
        """
        wanted = text.strip().upper()
        for state in cls:
            if wanted in (state.value, state.short):
                return state
        raise ValueError(f"{text!r} is not a state; states are {', '.join(f'{s.value} ({s.short})' for s in cls)}")


_FINAL_RUN_STATES = frozenset(
    {
        RunState.COMPLETED,
        RunState.FAILED,
        RunState.TIMEOUT,
        RunState.OUT_OF_MEMORY,
        RunState.CANCELLED,
        RunState.NODE_FAIL,
        RunState.LOST,
    }
)

# Not over, or it is not known how it ended: news may come without a new decision.
UNSETTLED = frozenset(RunState) - _FINAL_RUN_STATES | {RunState.LOST}

# Slurm has the run, or may have it; of a local sweep the pool.
WITH_SLURM = frozenset(RunState) - _FINAL_RUN_STATES - {RunState.PLANNED}

# Over, and not well.
NOT_FINE = _FINAL_RUN_STATES - {RunState.COMPLETED}

_SHORT_CODES: Mapping[RunState, str] = {
    RunState.PLANNED: "PL",
    RunState.UNCERTAIN: "UN",
    RunState.SUBMITTED: "SU",
    RunState.PENDING: "PD",
    RunState.RUNNING: "R",
    RunState.SUSPENDED: "S",
    RunState.CANCELLING: "CX",
    RunState.COMPLETED: "CD",
    RunState.FAILED: "F",
    RunState.TIMEOUT: "TO",
    RunState.OUT_OF_MEMORY: "OOM",
    RunState.CANCELLED: "CA",
    RunState.NODE_FAIL: "NF",
    RunState.LOST: "LO",
}


class AttemptState(str, Enum):
    """Where one execution of a run stands, or how it ended."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"  # ended on a signal; why is not known yet
    COMPLETING = "COMPLETING"  # rank 0 of several has completed; the others are Slurm's to judge
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"  # drift: what would have run is not what was submitted
    SKIPPED = "SKIPPED"  # the run had already ended, so nothing was executed
    SUPERSEDED = "SUPERSEDED"  # a later attempt took over
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CANCELLED = "CANCELLED"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    PREEMPTED = "PREEMPTED"
    REQUEUED = "REQUEUED"
    LOST = "LOST"

    def __str__(self) -> str:
        return self.value  # as it is written everywhere, also by a user's f-string

    @property
    def is_final(self) -> bool:
        """The attempt is over and it is known how it ended."""
        return self not in (AttemptState.RUNNING, AttemptState.STOPPED, AttemptState.COMPLETING)


class SubmissionState(str, Enum):
    """Where one ``sbatch`` call (or one local pool) stands."""

    INTENDED = "INTENDED"  # the intent is on disk; no outcome yet
    ACCEPTED = "ACCEPTED"  # a job id is known; its tasks are still held
    RELEASED = "RELEASED"  # its tasks may start
    REJECTED = "REJECTED"  # Slurm said no; nothing exists
    UNKNOWN = "UNKNOWN"  # sbatch ended without an answer; must be looked up

    def __str__(self) -> str:
        return self.value


class SubmissionForm(str, Enum):
    """What a submission's tasks are, which decides how Slurm's indices name runs and who tells how they ended."""

    TASKS = "tasks"  # an array of ours: index i is the i-th run, and each task records its own end
    SCRIPT_ARRAY = "script-array"  # a user's script as an array: the index is the run, and Slurm tells its end
    SCRIPT_JOB = "script-job"  # a user's script as one job: run 0, and Slurm tells its end

    def __str__(self) -> str:
        return self.value

    @property
    def is_script(self) -> bool:
        """Whether a batch script of the user's runs, which keeps no journal of its own."""
        return self is not SubmissionForm.TASKS


# The first state that any run of a sweep is in names the sweep: what is unsettled or alive outranks what is
# over, and among what is over the worst outranks the rest.
_SWEEP_PRECEDENCE = (
    RunState.UNCERTAIN,
    RunState.RUNNING,
    RunState.SUSPENDED,
    RunState.PENDING,
    RunState.SUBMITTED,
    RunState.CANCELLING,
    RunState.PLANNED,
    RunState.LOST,
    RunState.FAILED,
    RunState.OUT_OF_MEMORY,
    RunState.TIMEOUT,
    RunState.NODE_FAIL,
    RunState.CANCELLED,
    RunState.COMPLETED,
)


def sweep_state(counts: Mapping[RunState, int]) -> RunState:
    """The state that stands for a whole sweep, from how many runs are in which state.

    A sweep without runs is PLANNED; it is COMPLETED only when every run is.
    """
    for state in _SWEEP_PRECEDENCE:
        if counts.get(state, 0):
            return state
    return RunState.PLANNED


class Backend(str, Enum):
    """Its value is what is recorded, and what the command line takes."""

    SLURM = "slurm"
    LOCAL = "local"  # processes of the machine that the sweep is launched on
    UNKNOWN = "unknown"  # one of a newer version

    def __str__(self) -> str:
        return self.value

    @classmethod
    def of(cls, word: str) -> Backend:
        """The backend that a recorded word stands for; ``UNKNOWN`` if this version does not know it."""
        return _BY_WORD.get(word, cls.UNKNOWN)


_BY_WORD = {backend.value: backend for backend in Backend}


class Entry(str, Enum):
    """What a job executes."""

    PROGRAM = "program"  # the program itself, up to its call of the function
    FUNCTION = "function"  # the function alone, from a pickle


class Isolation(str, Enum):
    """What the runs of a packed task share."""

    FORK = "fork"  # the program as it was started, up to its call of the function
    PROCESS = "process"  # nothing


class AttemptOutcome(str, Enum):
    """An attempt's own last word, as ``attempt-ended`` records it. What Slurm says may make another state of it."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    STOPPED = "stopped"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"  # a word that this version does not know

    def __str__(self) -> str:
        return self.value

    @classmethod
    def of(cls, word: str) -> AttemptOutcome:
        """The outcome that a recorded word stands for; ``UNKNOWN`` if this version does not know it."""
        return _OUTCOMES.get(word, cls.UNKNOWN)


_OUTCOMES = {outcome.value: outcome for outcome in AttemptOutcome}

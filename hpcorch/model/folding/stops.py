"""How an attempt ended by both witnesses: the rules of :mod:`hpcorch.model.folding.stop_rules` applied."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

from hpcorch.model.events import JobObserved
from hpcorch.model.folding.stop_rules import RULES, Journal, Rule, Sign
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.processes import EXIT_SIGNAL_BASE, SIGNAL_NUMBERS, signal_name
from hpcorch.model.states import AttemptState
from hpcorch.quick_dataclasses import dataclass

NO_OUTPUT_SIGNAL = 53  # of the exit code 0:53, which is Slurm's own: nothing was executed (measured)
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
_OF_SIGNAL: Mapping[int, Sign] = {
    signal.SIGUSR1: Sign.SIGUSR1,
    signal.SIGUSR2: Sign.SIGUSR2,
    signal.SIGKILL: Sign.SIGKILL,
    **dict.fromkeys(_CRASHES, Sign.CRASH),
}


@cache
def _applicable() -> Mapping[tuple[Journal, JobState], Sequence[Rule]]:
    """The rows by both witnesses."""
    found: dict[tuple[Journal, JobState], list[Rule]] = {}
    for rule in RULES:
        for pair in product(rule.journal, rule.slurm):
            found.setdefault(pair, []).append(rule)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt ended, and why."""

    state: AttemptState
    reason: str | None
    signal: str | None


def judge(
    journal: Journal, said: JobObserved, *, stopped_by: str | None = None, ranks: int = 1, asked: bool = False
) -> Verdict | None:
    """How the attempt ended by both witnesses; None where the journal's word stands, or the job is not over.

    :param said: the scheduler's last word on the attempt
    :param stopped_by: the signal that stopped it, as the journal has it
    :param ranks: its processes, of which the first keeps the journal
    :param asked: whether somebody asked to cancel it
    """
    rule = find_rule(journal, said, ranks=ranks, asked=asked)
    if rule is None:
        return None
    number = killed_by(said)
    name = None if number is None or rule.sign is Sign.NO_OUTPUT else signal_name(number)
    reason = rule.reason and rule.reason.format(stop=stopped_by, signal=name, exit_code=said.exit_code)
    return Verdict(state=rule.ended, reason=said.reason or reason, signal=name)


def find_rule(journal: Journal, said: JobObserved, *, ranks: int = 1, asked: bool = False) -> Rule | None:
    """The row that decides."""
    rules = _applicable().get((journal, said.job_state))
    if rules is None:
        return None
    signs = _signs(said, ranks)
    if asked:
        signs.add(Sign.ASKED)
    return next((rule for rule in rules if rule.sign is None or rule.sign in signs), None)


def killed_by(said: JobObserved) -> int | None:
    """The number of the signal that the job died of, as Slurm or the exit code of a shell or srun tells it."""
    if said.signal:
        return said.signal
    number = (said.exit_code or 0) - EXIT_SIGNAL_BASE
    return number if number in SIGNAL_NUMBERS else None


def _signs(said: JobObserved, ranks: int) -> set[Sign]:
    told = {
        Sign.EXIT_CODE: said.exit_code is not None,
        Sign.PREEMPTED: bool(said.preempted),
        Sign.RANKS: ranks > 1,
        Sign.OVER_MEMORY: bool(said.over_memory),
        Sign.QUEUE_ALONE: said.told_by is Witness.SQUEUE,
        Sign.NO_OUTPUT: said.signal == NO_OUTPUT_SIGNAL,
    }
    found = {sign for sign, is_there in told.items() if is_there}
    number = killed_by(said)
    if number is not None:
        found.add(_OF_SIGNAL.get(number, Sign.SIGNAL))
    return found

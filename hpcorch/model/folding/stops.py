"""How an attempt ended by both witnesses: the rules of :mod:`hpcorch.model.folding.stop_rules` applied."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from itertools import product

from hpcorch.model.events import JobObserved
from hpcorch.model.folding.stop_rules import RULES, Journal, Rule, Sign
from hpcorch.model.job_states import JobState
from hpcorch.model.processes import EXIT_SIGNAL_BASE, SIGNAL_NUMBERS, signal_name
from hpcorch.model.states import AttemptState
from hpcorch.quick_dataclasses import dataclass

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})


def _applicable() -> Mapping[tuple[Journal, JobState], Sequence[Rule]]:
    found: dict[tuple[Journal, JobState], list[Rule]] = {}
    for rule in RULES:
        for pair in product(rule.journal, rule.slurm):
            found.setdefault(pair, []).append(rule)
    return found


# The rows by both witnesses: every fold of a run uses this index.
_APPLICABLE = _applicable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt ended, and why."""

    state: AttemptState
    reason: str | None
    signal: str | None


def judge(journal: Journal, said: JobObserved, *, stopped_by: str | None = None, ranks: int = 1) -> Verdict | None:
    """How the attempt ended by both witnesses; None where the journal's word stands, or the job is not over.

    :param said: the scheduler's last word on the attempt
    :param stopped_by: the signal that stopped it, as the journal has it
    :param ranks: its processes, of which the first keeps the journal
    """
    rule = find_rule(journal, said, ranks=ranks)
    if rule is None:
        return None
    number = killed_by(said)
    name = None if number is None else signal_name(number)
    reason = rule.reason and rule.reason.format(stop=stopped_by, signal=name, exit_code=said.exit_code)
    return Verdict(state=rule.ended, reason=said.reason or reason, signal=name)


def find_rule(journal: Journal, said: JobObserved, *, ranks: int = 1) -> Rule | None:
    """The row that decides."""
    rules = _APPLICABLE.get((journal, said.job_state))
    if rules is None:
        return None
    signs = _signs(said, ranks)
    return next((rule for rule in rules if rule.sign is None or rule.sign in signs), None)


def killed_by(said: JobObserved) -> int | None:
    """The number of the signal that the job died of, as Slurm or the exit code of a shell or srun tells it."""
    if said.signal:
        return said.signal
    number = (said.exit_code or 0) - EXIT_SIGNAL_BASE
    return number if number in SIGNAL_NUMBERS else None


def _signs(said: JobObserved, ranks: int) -> set[Sign]:
    number = killed_by(said)
    found = {Sign.EXIT_CODE} if said.exit_code is not None else set()
    if said.preempted:
        found.add(Sign.PREEMPTED)
    if ranks > 1:
        found.add(Sign.RANKS)
    if said.over_memory:
        found.add(Sign.OVER_MEMORY)
    if number == signal.SIGUSR1:
        found.add(Sign.SIGUSR1)
    elif number == signal.SIGUSR2:
        found.add(Sign.SIGUSR2)
    elif number == signal.SIGKILL:
        found.add(Sign.SIGKILL)
    elif number in _CRASHES:
        found.add(Sign.CRASH)
    elif number is not None:
        found.add(Sign.SIGNAL)
    return found

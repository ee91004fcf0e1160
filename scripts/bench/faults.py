"""A fault campaign on a real Slurm: whatever dies, every run ends exactly once and the ledger tells the truth.

Run it as root. It starts a cluster of its own (scripts/slurm-lab in the folder --lab), since it kills its daemons.
Each fault meets one sweep of three runs, submitted as the ordinary user alice. Afterwards the daemons are brought
back, ``hpcorch status last --refresh`` is called until everything is settled, and what the ledger says is compared
with sacct, squeue, the journals, and a file in which the task notes each call and each completion.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fault_kinds import KINDS, Kind
from fault_trial import Trial
from lab_cluster import Cluster, running_cluster, trial_parser

# The longest of hpcorch's own waits is for a database that may still hear of an end; then there is one more look.
SETTLE_TIMEOUT_S = 480
# Most faults are settled at once; of the others that take minutes many are waited for together.
QUICK_SETTLE_S = 12
LOOK_INTERVAL_S = 2


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one fault. ``violations`` is empty if it was survived."""

    kind: Kind
    trial: Trial
    violations: list[str]
    settled_after_s: float = 0.0


def main() -> int:
    options = _parser().parse_args()
    if options.list:
        print("\n".join(KINDS))
        return 0
    with running_cluster(options) as cluster:
        cluster.mend()
        outcomes = _campaign(cluster, options)
    print(_as_json(outcomes, options) if options.json else _as_table(outcomes, options))
    return int(any(outcome.violations for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = trial_parser(__doc__, name="faults")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each kind is tried (%(default)s)")
    parser.add_argument("--only", help="comma-separated kinds; all if not given")
    parser.add_argument("--list", action="store_true", help="print the kinds and end")
    return parser


def _campaign(cluster: Cluster, options: argparse.Namespace) -> list[Outcome]:
    names = list(dict.fromkeys(options.only.split(","))) if options.only else list(KINDS)
    campaign = f"campaign-{os.getpid()}"  # accounting remembers the folders of earlier ones
    outcomes = [
        _inject(KINDS[name], Trial(cluster=cluster, campaign=campaign, name=f"{name}-{number}"), options.seed)
        for number in range(options.rounds)
        for name in names
    ]
    begun = time.monotonic()
    waiting = [outcome for outcome in outcomes if not outcome.settled_after_s and not outcome.violations]
    while waiting and time.monotonic() - begun < SETTLE_TIMEOUT_S:
        for outcome in list(waiting):
            if outcome.trial.refresh():
                waiting.remove(outcome)
                _judge(outcome)
        time.sleep(LOOK_INTERVAL_S)
    for outcome in waiting:
        outcome.violations.append(f"not settled within {SETTLE_TIMEOUT_S} s: {outcome.trial.states()}")
        _say(outcome)
    return outcomes


def _inject(kind: Kind, trial: Trial, seed: int) -> Outcome:
    outcome = Outcome(kind=kind, trial=trial, violations=[])
    trial.prepare()
    try:
        kind.inject(trial, random.Random(f"{seed} {trial.name}"))
    except (TimeoutError, subprocess.TimeoutExpired, RuntimeError, ValueError, IndexError) as error:
        outcome.violations.append(f"the fault could not be brought about: {error!r}")
    trial.cluster.mend()
    deadline = time.monotonic() + QUICK_SETTLE_S
    while not outcome.violations and time.monotonic() < deadline:
        if trial.refresh():
            _judge(outcome)
            return outcome
        time.sleep(LOOK_INTERVAL_S)
    _say(outcome)
    return outcome


def _judge(outcome: Outcome) -> None:
    outcome.settled_after_s = time.monotonic()
    outcome.violations.extend(outcome.trial.violations(set(outcome.kind.allowed)))
    _say(outcome)


def _say(outcome: Outcome) -> None:
    states = dict(Counter(outcome.trial.states()))
    word = "; ".join(outcome.violations) or ("survived" if outcome.settled_after_s else "to be settled later")
    print(f"{time.strftime('%H:%M:%S')} {outcome.trial.name}: {states} {word}", file=sys.stderr, flush=True)


def _as_table(outcomes: Sequence[Outcome], options: argparse.Namespace) -> str:
    """A Markdown table by group, and a line for each fault that was not survived."""
    lines = ["| fault | tried | survived | runs ended |", "|---|---:|---:|---|"]
    for group in dict.fromkeys(outcome.kind.group for outcome in outcomes):
        members = [outcome for outcome in outcomes if outcome.kind.group == group]
        lines.append(f"| {group} | {len(members)} | {_survived(members)} | {_ends(members)} |")
    lines.append(f"| all (seed {options.seed}) | {len(outcomes)} | {_survived(outcomes)} | {_ends(outcomes)} |")
    lines += [f"\n{one.trial.name}: {'; '.join(one.violations)}" for one in outcomes if one.violations]
    return "\n".join(lines)


def _survived(outcomes: Sequence[Outcome]) -> int:
    return sum(not outcome.violations for outcome in outcomes)


def _ends(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(state for outcome in outcomes for state in outcome.trial.states())
    return ", ".join(f"{count} {state}" for state, count in counts.most_common()) or "nothing was recorded"


def _as_json(outcomes: Sequence[Outcome], options: argparse.Namespace) -> str:
    faults = [
        {
            "fault": one.trial.name,
            "group": one.kind.group,
            "survived": not one.violations,
            "violations": one.violations,
            "states": one.trial.states(),
        }
        for one in outcomes
    ]
    tried, survived = len(outcomes), _survived(outcomes)
    return json.dumps({"seed": options.seed, "tried": tried, "survived": survived, "faults": faults}, indent=2)


if __name__ == "__main__":
    sys.exit(main())

"""A campaign of attacks on a shared machine: nothing of another user's is trusted, and nothing is lost.

Run it as root; it needs no Slurm. In a folder that everybody can write to, as /scratch is, a victim and an attacker
have launched a sweep each. Every attack begins there; the victim's ordinary commands follow. It is held if

- no command shows a traceback, goes on without end, holds gigabytes, or ends with an exit code of its own;
- nothing of the attacker's is executed as the victim;
- nothing is written for the victim into files and folders of the attacker's, and nothing of a secret is told;
- nothing that is printed controls a terminal or is a formula;
- states and results of the victim's runs are as before, or ``hpcorch audit`` says that they are not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hostile_kinds import KINDS, Kind
from hostile_stage import ORDINARY, Stage, prepared_stage
from hostile_witness import Witness, answers

MEMORY_BYTES = 4 << 30  # whoever reads a file as large as that is found out


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one attack. ``violations`` is empty if it was held."""

    name: str
    kind: Kind
    drawn: str
    violations: list[str]


def main() -> int:
    options = _parser().parse_args()
    if options.list:
        print("\n".join(KINDS))
        return 0
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        print("hostile.py: it takes root, and setpriv, to be two users", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with prepared_stage() as stage:
        outcomes = _campaign(stage, options)
    print(_as_json(outcomes, options) if options.json else _as_table(outcomes, options))
    return int(any(outcome.violations for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn for each attack (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each kind is tried (%(default)s)")
    parser.add_argument("--only", metavar="KINDS", help="comma-separated kinds; all if not given")
    parser.add_argument("--list", action="store_true", help="print the kinds and end")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _campaign(stage: Stage, options: argparse.Namespace) -> list[Outcome]:
    names = list(dict.fromkeys(options.only.split(","))) if options.only else list(KINDS)
    stage.restore()
    before = answers([stage.hpcorch(*words) for words in ORDINARY])
    return [
        _attack(stage, before, KINDS[name], f"{name}-{number}", options.seed)
        for number in range(options.rounds)
        for name in names
    ]


def _attack(stage: Stage, before: dict[str, object], kind: Kind, name: str, seed: int) -> Outcome:
    stage.restore()
    begun = time.monotonic()
    try:
        drawn = kind.attack(stage, random.Random(f"{seed} {name}"))
    except (OSError, RuntimeError, StopIteration, IndexError) as error:
        outcome = Outcome(name=name, kind=kind, drawn="", violations=[f"could not be brought about: {error!r}"])
    else:
        outcome = Outcome(name=name, kind=kind, drawn=drawn, violations=Witness(stage, before).violations())
    drawn = outcome.drawn
    word = "; ".join(outcome.violations) or "held"
    print(f"{time.strftime('%H:%M:%S')} {name} ({drawn}) {time.monotonic() - begun:.1f} s: {word}", file=sys.stderr)
    return outcome


def _as_table(outcomes: Sequence[Outcome], options: argparse.Namespace) -> str:
    """A Markdown table by kind, and a line for each attack that was not held."""
    lines = ["| attack | tried | held |", "|---|---:|---:|"]
    for kind in dict.fromkeys(outcome.kind.name for outcome in outcomes):
        members = [outcome for outcome in outcomes if outcome.kind.name == kind]
        lines.append(f"| {kind} | {len(members)} | {_held(members)} |")
    lines.append(f"| all (seed {options.seed}) | {len(outcomes)} | {_held(outcomes)} |")
    lines += [f"\n{one.name} ({one.drawn}): {'; '.join(one.violations)}" for one in outcomes if one.violations]
    return "\n".join(lines)


def _held(outcomes: Sequence[Outcome]) -> int:
    return sum(not outcome.violations for outcome in outcomes)


def _as_json(outcomes: Sequence[Outcome], options: argparse.Namespace) -> str:
    attacks = [
        {"attack": one.name, "drawn": one.drawn, "held": not one.violations, "violations": one.violations}
        for one in outcomes
    ]
    tried, held = len(outcomes), _held(outcomes)
    return json.dumps({"seed": options.seed, "tried": tried, "held": held, "attacks": attacks}, indent=2)


if __name__ == "__main__":
    sys.exit(main())

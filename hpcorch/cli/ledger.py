"""``hpcorch ledger``"""

from __future__ import annotations

from dataclasses import asdict

import click

from hpcorch.cli import output
from hpcorch.cli.options import Place, examples, json_option, pass_place
from hpcorch.cli.text import printable
from hpcorch.ledger import Ledger


@click.group(epilog=examples("hpcorch ledger check", "hpcorch --ledger /project/.hpcorch/ledger.db ledger rebuild"))
def command() -> None:
    """Look after the ledger."""


@command.command(epilog=examples("hpcorch ledger check", "hpcorch ledger check --json"))
@json_option
@pass_place
def check(place: Place, *, as_json: bool) -> int:
    """Check that the ledger is whole and true to its events.

    Looks at the file, at the chain of hashes over all events, and at every table against a fresh fold of them.
    Exits with 1 if something is wrong. Note the head elsewhere: it vouches for every event before it.
    """
    path = place.ledger_path()
    with Ledger.open(path) as ledger:
        findings, head = ledger.check(), ledger.head()
    if as_json:
        found = [{**asdict(finding), "kind": finding.kind.value} for finding in findings]
        output.write_json({"ledger": str(path), "findings": found, "head": asdict(head)})
    else:
        for finding in findings:
            output.write(printable(f"{finding.kind.value}: {finding.text}"))
        if not findings:
            output.write(printable(f"{path} is whole: {head.events} events, head {head.digest}"))
    return int(bool(findings))


@command.command(epilog=examples("hpcorch ledger rebuild"))
@json_option
@pass_place
def rebuild(place: Place, *, as_json: bool) -> None:
    """Make every table anew from the events.

    Events themselves are never changed. Harmless at any time; needed only if `hpcorch ledger check` says so.
    """
    path = place.ledger_path()
    with Ledger.open(path, write=True) as ledger:
        runs = ledger.rebuild()
    if as_json:
        output.write_json({"ledger": str(path), "runs": runs})
    else:
        output.write(printable(f"{path}: {runs} runs folded anew from their events"))

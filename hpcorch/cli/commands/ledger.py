"""``hpcorch ledger``"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from hpcorch import tunables
from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.cli.shared.text import printable
from hpcorch.ledger import Ledger


@click.group(
    epilog=examples(
        "hpcorch ledger check",
        "hpcorch ledger backup /archive/ledger-2026-11.db",
        "hpcorch --ledger /project/.hpcorch/ledger.db ledger rebuild",
    )
)
def command() -> None:
    """Check, copy or rebuild the ledger."""


@command.command(epilog=examples("hpcorch ledger check", "hpcorch ledger check --deep --json"))
@click.option("--deep", is_flag=True, help="Compute every run again from its events, and compare.")
@json_option
@pass_place
def check(place: Place, *, deep: bool, as_json: bool) -> int:
    """Check that the ledger is whole and true to its events.

    Checks the file, the hash chain over all events, the tables of each sweep as a whole, and the digest that each
    run and attempt got when it was computed, which shows later changes. With --deep, computes every run and attempt
    again from its events instead, which takes several times as long.

    It works on a copy in $TMPDIR, so others can go on writing. Exits with 1 if something is wrong. Keep the printed
    head elsewhere: it vouches for every event before it.
    """
    path = place.ledger_path()
    with Ledger.open(path) as ledger:
        head = ledger.head()
        findings = ledger.check(deep=deep, processes=min(os.cpu_count() or 1, tunables.CHECKING_PROCESSES))
    if as_json:
        found = [{**asdict(finding), "kind": finding.kind.value} for finding in findings]
        output.write_json({"ledger": str(path), "findings": found, "head": asdict(head)})
    else:
        for finding in findings:
            output.write(printable(f"{finding.kind.value}: {finding.text}"))
        if not findings:
            output.write(printable(f"{path} is whole: {head.events} events, head {head.digest}"))
    return int(bool(findings))


@command.command(epilog=examples("hpcorch ledger backup /archive/ledger-2026-11.db"))
@click.argument("target", metavar="PATH", type=click.Path(path_type=Path))
@json_option
@pass_place
def backup(place: Place, *, target: Path, as_json: bool) -> None:
    """Copy the ledger to PATH, complete and as of one moment, while others write.

    Only you can read the copy. A file that exists is not overwritten.
    """
    path = place.ledger_path()
    with Ledger.open(path) as ledger:
        head = ledger.back_up(target)
    if as_json:
        output.write_json({"ledger": str(path), "backup": str(target), "head": asdict(head)})
    else:
        output.write(printable(f"{target}: {head.events} events, head {head.digest}"))


@command.command(epilog=examples("hpcorch ledger rebuild"))
@json_option
@pass_place
def rebuild(place: Place, *, as_json: bool) -> None:
    """Compute every table again from the events.

    Never changes events. Harmless at any time; needed only if `hpcorch ledger check` says so.
    """
    path = place.ledger_path()
    with Ledger.open(path, write=True) as ledger:
        runs = ledger.rebuild()
    if as_json:
        output.write_json({"ledger": str(path), "runs": runs})
    else:
        output.write(printable(f"{path}: {runs} runs rebuilt from their events"))

"""``hpcorch ledger``"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from hpcorch import tunables
from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.ledger import Ledger
from hpcorch.model.value_text import counted, printable
from hpcorch.services.actions.moved import note_moved

# What was passed over can be a whole cluster's folders.
_NAMED = 20


@click.group(
    epilog=examples(
        "hpcorch ledger check",
        "hpcorch ledger backup /archive/ledger-2026-11.db",
        "hpcorch --ledger /project/.hpcorch/ledger.db ledger rebuild",
        "hpcorch ledger adopt",
        "hpcorch ledger moved /scratch/old/sweeps /scratch/new/sweeps",
    )
)
def command() -> None:
    """Check, copy or rebuild the ledger, or make a lost one again."""


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

    Only you can read the copy, and the group where PATH is in a folder that the project's group shares. A file that
    exists is not overwritten.
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
        output.write(printable(f"{path}: {counted(runs, 'run')} rebuilt from events"))


@command.command(epilog=examples("hpcorch ledger adopt", "hpcorch ledger adopt /scratch/me/sweeps --json"))
@click.argument("folders", metavar="[DIRECTORY]...", nargs=-1, type=click.Path(path_type=Path))
@json_option
@pass_place
def adopt(place: Place, *, folders: tuple[Path, ...], as_json: bool) -> int:
    """Read sweep directories below each DIRECTORY into the ledger.

    A lost ledger is made again: sweep directories hold all events. Without DIRECTORY, the project's folder is
    searched. Your own sweeps are taken in, also records that were set aside; what the ledger has already is brought
    up to date. Symbolic links are not followed, and neither the directories of runs are searched nor folders that
    have a ledger of their own: name them. To do it twice does no harm. Exits with 1 if a sweep is damaged.
    """
    from hpcorch.services.adoption.adopt import adopt as take_in  # loads what reads records

    done = take_in(place.new_ledger_path(), folders)
    if as_json:
        output.write_json(done.as_plain())
        return done.exit_code
    for one in done.sweeps:
        if one.is_new:
            output.write(printable(f"sweep {one.sweep} ({counted(one.runs, 'run')}) taken in from {one.directory}"))
    for passed in done.passed_over[:_NAMED]:
        output.note(f"{passed.path} passed over: {passed.reason}")
    if len(done.passed_over) > _NAMED:
        output.note(f"{len(done.passed_over) - _NAMED} more passed over; --json has all")
    new = sum(one.is_new for one in done.sweeps)
    made = ", which was made anew" if done.is_made else ""
    output.write(
        printable(
            f"{counted(new, 'sweep')} taken into {done.ledger}{made}; it had {len(done.sweeps) - new} already"
        )
    )
    return done.exit_code


@command.command(epilog=examples("hpcorch ledger moved /scratch/sweeps /archive/sweeps"))
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option
@pass_place
def moved(place: Place, *, old: Path, new: Path, as_json: bool) -> None:
    """Note that sweep directories that were in OLD are in NEW.

    Not needed where a whole project was moved with its ledger: sweeps inside it are found again by themselves. A
    directory counts only if the record in it is the sweep's.
    """
    path = place.ledger_path()
    with Ledger.open(path, write=True) as ledger:
        sweeps = note_moved(ledger, old, new)
    if as_json:
        output.write_json({"ledger": str(path), "sweeps": sweeps})
    else:
        output.write(printable(f"{counted(len(sweeps), 'sweep')} found in {new}: {' '.join(sweeps)}"))

"""``hpcorch reproduce``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.cli.shared.output import CountsLines, value_text
from hpcorch.journal.layout import LEDGER_NAME, STATE_DIR
from hpcorch.ledger import Ledger
from hpcorch.model.states import Backend, RunState
from hpcorch.model.value_text import printable
from hpcorch.services.selection.selectors import Selector, parse_selector

if TYPE_CHECKING:
    from hpcorch.services.reproduction.original import Original
    from hpcorch.services.reproduction.reproduce import Repetition, Reproduction
    from hpcorch.slurm.protocol import SlurmClient

_KEYBOARD = 130


@click.command(
    epilog=examples(
        "hpcorch reproduce last/3 again/",
        "hpcorch reproduce 20261123-0445/0 again/ --tolerance 1e-6",
        "hpcorch reproduce last/3 again/ --backend slurm --set partition=debug",
        "hpcorch reproduce last/3 again/ --bundle reviewed/ --trust-code",
    )
)
@click.argument("run", metavar="RUN")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--backend",
    type=click.Choice([Backend.SLURM.value, Backend.LOCAL.value]),
    help="Where to run it; by default on Slurm if RUN ran on this machine's cluster, otherwise here.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a launcher key for the repetition, such as partition; repeat for several.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-9,
    show_default=True,
    help="Numbers count as equal if they differ by less than this, relative to the larger one.",
)
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIRECTORY", help="Take the run from this bundle."
)
@click.option(
    "--trust-code",
    is_flag=True,
    help="Execute the code and unpickle the objects of a bundle, or of another user's run, as yourself.",
)
@json_option
@pass_place
def command(
    place: Place,
    *,
    run: str,
    directory: Path,
    backend: str | None,
    changes: tuple[str, ...],
    tolerance: float,
    bundle: Path | None,
    trust_code: bool,
    as_json: bool,
) -> int:
    """Run a run again from its frozen record, and compare.

    Code, configuration and seed are those of RUN, which stays as it is. The repetition is a sweep of its own in
    DIRECTORY. On Slurm it asks for what RUN asked for, except for what --set changes. State, result, metrics and
    the last checkpoint are compared. Exits with 0 if they are identical, or equal within tolerance, and with 1
    otherwise.

    On Slurm the job does not depend on this command: Ctrl-C stops only the waiting. The same command again waits
    and compares; it runs nothing twice.

    With --bundle the run comes from a bundle of `hpcorch export bundle`, and the ledger of the repetition is
    created in DIRECTORY. Of the original, only its packages are needed. Code of a bundle, which may be anybody's,
    and of another user's run is executed only with --trust-code.
    """
    from hpcorch.services.actions.retry import parse_changes
    from hpcorch.services.reproduction.reproduce import compare, open_repetition  # loads the way to Slurm
    from hpcorch.slurm.choose import slurm_client

    wished, client = parse_changes(changes), slurm_client()
    original, ledger_path = _original(place, run, bundle, directory, trusts_code=trust_code)
    _tell_environment(original)
    with Ledger.open(ledger_path, write=True, create=True) as ledger:
        repetition = open_repetition(
            ledger,
            original,
            directory,
            backend=Backend(backend) if backend else None,
            changes=wished,
            client=client,
        )
        again = _command(original, directory, bundle, trusts_code=trust_code)
        stopped = (
            _executed_here(repetition) if repetition.backend is Backend.LOCAL else _submitted(repetition, client)
        )
    with Ledger.open(ledger_path) as ledger:
        stopped = stopped or _waited(ledger, repetition.sweep, again)
        if stopped:
            return stopped
        found = compare(ledger, original, repetition.sweep, tolerance=tolerance)
    return _write(found, as_json=as_json)


def _original(
    place: Place, run: str, bundle: Path | None, directory: Path, *, trusts_code: bool
) -> tuple[Original, Path]:
    """The run to repeat, and the ledger that takes the repetition."""
    from hpcorch.services.reproduction.original import find_original
    from hpcorch.services.tending.own_record import ledger_to_act_by

    if bundle is None:
        path = place.ledger_path()
        chosen = parse_selector(run)
        with Ledger.open(path, write=True) as shared, ledger_to_act_by(shared, chosen.sweep) as ledger:
            return find_original(ledger, chosen, trusts_code=trusts_code), path
    from hpcorch.services.audit.bundle_audit import open_bundle

    received = open_bundle(bundle)
    with Ledger.unchanged(received.ledger, alone=True) as ledger:
        original = find_original(ledger, parse_selector(run), lambda _: received.place, trusts_code=trusts_code)
    return original, directory.absolute() / STATE_DIR / LEDGER_NAME


def _tell_environment(original: Original) -> None:
    from hpcorch.provenance.environment.changes import grouped
    from hpcorch.services.reproduction.variables import export_line

    if not original.has_folder:
        folder = original.frozen.header.cwd
        output.note(
            f"{folder}, where relative paths started, cannot be entered here, so they start in the"
            " repetition's directory"
        )
    if original.differences is None:
        output.note("no environment is on record for the run, so it is not compared")
        return
    for members, text in grouped(original.differences):
        output.note(f"the environment differs ({members[0].severity.value}): {text}")
    if original.places:
        output.note(
            "variables that name files, devices or networks are left as they are here; this sets them as they were:"
            f" {export_line(original.places)}"
        )


def _command(original: Original, directory: Path, bundle: Path | None, *, trusts_code: bool) -> str:
    """What goes on with the repetition; ``last`` would be the repetition by then."""
    words = ["hpcorch", "reproduce", original.name, str(directory)]
    words += [] if bundle is None else ["--bundle", str(bundle)]
    return shlex.join([*words, "--trust-code"] if trusts_code else words)


def _submitted(repetition: Repetition, client: SlurmClient) -> int:
    job_id = repetition.submit(client)
    if job_id is None:
        _tell_found(repetition)
    else:
        output.note(f"sweep {repetition.sweep} repeats {repetition.original.name} as array {job_id}")
    return 0


def _executed_here(repetition: Repetition) -> int:
    """Execute it; the exit code if a signal stopped that, else 0."""
    from hpcorch.services.local.pool import Interrupted

    if not repetition.is_new:
        _tell_found(repetition)
    try:
        repetition.run_here(output.note)
    except Interrupted as stop:
        output.note(f"stopped; {repetition.sweep}/0 is recorded as CANCELLED. Name another directory to try again")
        return stop.exit_code
    return 0


def _tell_found(repetition: Repetition) -> None:
    output.note(f"sweep {repetition.sweep} repeats {repetition.original.name} there already; it does not run twice")


def _waited(ledger: Ledger, sweep: str, again: str) -> int:
    """Wait until the repetition is over; the exit code if a person stopped that, else 0."""
    from hpcorch.services.reports.follow_runs import Follower

    if all(run.state.is_final for run in ledger.runs(sweep)):
        return 0
    lines = CountsLines(f"waiting for {sweep}")
    try:
        with Follower(ledger, Selector(sweep=sweep), notify=output.note) as follower:
            for counts in follower.looks():
                lines.show(counts)
    except KeyboardInterrupt:
        output.note(f"stopped waiting; the job of sweep {sweep} goes on: `{again}` waits for it and compares")
        return _KEYBOARD
    return 0


def _write(found: Reproduction, *, as_json: bool) -> int:
    from hpcorch.services.reproduction.comparison import Sameness

    for one in found.conditions:
        output.note(
            f"the hardware differs: {one.what} was {one.before or 'unknown'} and is {one.after or 'unknown'}"
        )
    if found.run.state is not RunState.COMPLETED:
        why = found.run.error or found.run.reason
        reason = f" ({why})" if why else ""
        output.note(
            f"the repetition ended as {found.run.state.value}{reason}; to try again, name another directory"
        )
    if as_json:
        output.write_json(found.as_plain())
    else:
        _write_table(found)
    return int(found.sameness is Sameness.DIFFERENT)


def _write_table(found: Reproduction) -> None:
    output.write(printable(f"{found.sweep}/0 repeats {found.original.name}: {found.sameness.value}"))
    rows = [
        [entry.what, value_text(entry.before), value_text(entry.after), entry.sameness.value]
        for entry in found.compared
    ]
    columns = ("what", "original", "repeated", "")
    output.write_table(output.Table(columns=columns, rows=rows, flexible=frozenset(columns[1:3])))

"""``hpcorch why``"""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place, selector_argument
from hpcorch.cli.shared.output import local_time
from hpcorch.ledger import Ledger
from hpcorch.model.value_text import printable
from hpcorch.services.selection.selectors import parse_selector


@click.command(epilog=examples("hpcorch why last/3", "hpcorch why last/3 --json"))
@selector_argument
@json_option
@pass_place
def command(place: Place, *, selector: str, as_json: bool) -> int:
    """Say why a run waits and what would help.

    Asks Slurm. Shows Slurm's reason, what it means, since when it holds, when Slurm expects the run to start, and
    what would make it start sooner.
    """
    from hpcorch.services.reports.why import explain_run  # loads the way to Slurm

    with Ledger.open(place.ledger_path()) as ledger:
        why = explain_run(ledger, parse_selector(selector))
    if as_json:
        output.write_json(why.as_plain())
    else:
        run = why.run
        word = f" [{printable(why.reason)}]" if why.reason and why.reason not in why.meaning else ""
        output.write(f"run {run.run} of sweep {run.sweep} is {run.state.value}: {printable(why.meaning)}{word}")
        if why.since is not None:
            output.write(f"  since {local_time(why.since)}")
        if why.expected_start is not None:
            output.write(f"  Slurm expects it to start at {local_time(why.expected_start)}")
        if why.sooner:
            output.write(f"  {printable(why.sooner)}")
    output.notes(why.refresh.notices)
    return why.refresh.exit_code

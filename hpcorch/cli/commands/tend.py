"""``hpcorch tend``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.cli.shared.output import local_time
from hpcorch.ledger import Ledger
from hpcorch.model.ids import format_ranges
from hpcorch.model.value_text import printable
from hpcorch.services.selection.selectors import parse_selector

if TYPE_CHECKING:
    from hpcorch.services.tending.tend_result import TendResult


@click.command(epilog=examples("hpcorch tend", "hpcorch tend last", "hpcorch tend --json"))
@click.argument("selector", required=False, metavar="[SELECTOR]")
@json_option
@pass_place
def command(place: Place, *, selector: str | None, as_json: bool) -> int:
    """Do what sweeps need now, such as submitting failed runs again.

    For one sweep, or for all of yours that are not over: settles interrupted submissions, submits runs that failed
    and have a retry left (launcher key max_retries) and runs that a preemption has cancelled, and submits missing
    keeper jobs. A waiting launcher, `hpcorch wait`, `watch` and `status --refresh` do the same. This command alone
    also submits runs whose launch was stopped after they were on record and before it submitted them. To do it
    twice does no harm. Exits with 3 if Slurm did not answer, and with 2 if it refused something.
    """
    from hpcorch.services.tending.all_sweeps import tend_all  # loads the way to Slurm

    chosen = None if selector is None else parse_selector(selector).sweep
    with Ledger.open(place.ledger_path(), write=True) as ledger:
        results = tend_all(ledger, chosen)
    if as_json:
        output.write_json([one.as_plain() for one in results])
    else:
        _write(results)
    return max((error.exit_code for one in results for error in one.troubles), default=0)


def _write(results: list[TendResult]) -> None:
    for one in results:
        for sentence in one.deeds:
            output.write(printable(sentence))
        for what, runs in _by_prospect(one).items():
            output.write(f"runs {format_ranges(runs)} of sweep {one.sweep} {what}")
        output.notes([*one.sentences_of_trouble, *filter(None, [one.gone])])
    if not any(one.deeds or one.awaited or one.troubles or one.gone for one in results):
        output.note("there is nothing to do")


def _by_prospect(one: TendResult) -> dict[str, list[int]]:
    prospects: dict[str, list[int]] = {}
    for run, retry in sorted(one.awaited.items()):
        later = f"will be run again, not before {local_time(retry.at)}"
        what = "wait until Slurm accepts more of your jobs" if retry.is_first else later
        prospects.setdefault(what, []).append(run)
    return prospects

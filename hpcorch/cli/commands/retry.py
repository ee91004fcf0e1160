"""``hpcorch retry``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import (
    Place,
    dry_run_option,
    examples,
    json_option,
    pass_place,
    selector_argument,
    states_option,
)
from hpcorch.cli.shared.output import CountsLines
from hpcorch.ledger import Ledger
from hpcorch.model.ids import named_runs
from hpcorch.model.states import Backend
from hpcorch.services.selection.selectors import parse_selector

if TYPE_CHECKING:
    from hpcorch.services.actions.retry import Retry, RetryPlan, RetryResult


@click.command(
    epilog=examples(
        "hpcorch retry last --dry-run",
        "hpcorch retry last -s OOM --set mem_gb=32",
        "hpcorch retry last/3-5 --set partition=long --set timeout_min=600",
    )
)
@selector_argument
@states_option("Only runs in these states, such as OOM,TO.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a launcher key, for these runs only; repeat for several.",
)
@dry_run_option
@json_option
@pass_place
def command(
    place: Place,
    *,
    selector: str,
    states: str | None,
    changes: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run failed, cancelled, timed-out or lost runs again.

    So are runs that were never submitted, since their launch was stopped before it came to that. Runs that are
    alive or completed are left alone. A run keeps its index, directory and seed, and runs what was frozen when the
    sweep was launched. Slurm gets one array per launch of the sweep. Runs of a local sweep run here, and the
    command waits for them. The jobs get the environment of this shell.
    """
    from hpcorch.services.actions.retry import open_retry, parse_changes  # loads the way to Slurm
    from hpcorch.services.tending.own_record import ledger_to_act_by

    chosen = parse_selector(selector, states)
    with (
        Ledger.open(place.ledger_path(), write=True) as shared,
        ledger_to_act_by(shared, chosen.sweep) as ledger,
    ):
        retry = open_retry(ledger, chosen, parse_changes(changes))
        plan = retry.plan()
        if plan.runs:
            output.note("retry runs the code of the launch; `hpcorch rerun` runs code that you have changed since")
        if dry_run or not plan.runs:
            _write_plan(plan, as_json=as_json)
            return 0
        if not retry.control.is_local:
            return _write_submitted(retry.submit(), as_json=as_json)
        return _run_here(retry, as_json=as_json)


def _write_plan(plan: RetryPlan, *, as_json: bool) -> None:
    if as_json:
        output.write_json(plan.as_plain())
    for launch, runs in plan.launches.items() if not as_json else ():
        how = "on this machine" if plan.backend is Backend.LOCAL else "as one array"
        output.write(f"would run again {how}: {named_runs(runs)}, of the launch that began with run {launch}")
    if not plan.runs:
        output.note(f"there is nothing to run again in sweep {plan.sweep}")
    output.tell_passed_over(plan.passed_over)


def _write_submitted(done: RetryResult, *, as_json: bool) -> int:
    plan = done.plan
    if as_json:
        output.write_json(done.as_plain())
    for one in done.submitted if not as_json else ():
        how = "run again on this machine" if plan.backend is Backend.LOCAL else f"submitted as array {one.job_id}"
        output.write(f"{named_runs(one.runs)} of sweep {plan.sweep} {how}")
    if not plan.runs:
        output.note(f"there is nothing to run again in sweep {plan.sweep}: another process has just retried it")
    output.tell_passed_over(plan.passed_over)
    output.notes(done.notices)
    if done.error is not None:
        output.note(str(done.error))
        return done.error.exit_code
    return 0


def _run_here(retry: Retry, *, as_json: bool) -> int:
    from hpcorch.services.local.pool import Interrupted

    lines = CountsLines(f"sweep {retry.control.sweep.id}")
    try:
        done = retry.run_here(lines.show, output.note)
    except Interrupted as stop:
        output.note("stopped; every run is stopped and recorded")
        return stop.exit_code
    _write_submitted(done, as_json=as_json)
    return int(not done.is_completed)

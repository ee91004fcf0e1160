"""``hpcorch rerun``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, dry_run_option, examples, json_option, pass_place, states_option
from hpcorch.cli.shared.output import CountsLines
from hpcorch.ledger import Ledger
from hpcorch.model.ids import named_runs
from hpcorch.model.states import Backend
from hpcorch.model.value_text import agreeing, counted
from hpcorch.services.selection.selectors import parse_selector

if TYPE_CHECKING:
    from hpcorch.services.rerun.execute import RerunResult
    from hpcorch.services.rerun.plan import RerunPlan
    from hpcorch.services.rerun.record import FrozenRerun
    from hpcorch.slurm.protocol import SlurmClient


@click.command(
    epilog=examples(
        "hpcorch rerun last -s F --dry-run",
        "hpcorch rerun last/3-5,9",
        "hpcorch rerun last -s F --set model.lr=0.01",
        "hpcorch rerun last -s OOM --set hydra.launcher.mem_gb=32",
    )
)
@click.argument("selector")
@states_option("Only runs in these states, such as F,TO.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change an override, or hydra.launcher.KEY, for these runs; repeat for several.",
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
    """Run runs again with the code as it is now.

    Use it after you have corrected the program. Configuration and seed are those that were frozen, except for what
    --set changes. The selected runs become a sweep of their own, beside the directory of the old one, with the
    indices that they have there, and the old one stays as it is. `hpcorch compare OLD NEW` shows both as one.
    Jobs get the environment of this shell. Runs of a local sweep run here, and the command waits for them; it
    exits with 1 if one of them does not complete.
    """
    from hpcorch.services.rerun.overrides import read_changes  # loads the way to Slurm
    from hpcorch.services.rerun.plan import plan_rerun
    from hpcorch.services.rerun.record import freeze_rerun
    from hpcorch.services.tending.own_record import ledger_to_act_by
    from hpcorch.slurm.choose import slurm_client

    wished, client = read_changes(changes), slurm_client()
    with Ledger.open(place.ledger_path(), write=True) as ledger:
        chosen = parse_selector(selector, states)
        with ledger_to_act_by(ledger, chosen.sweep) as own:
            plan = plan_rerun(own, chosen, wished, client)
        output.notes(plan.notices)
        output.tell_passed_over(plan.passed_over)
        if dry_run or not plan.runs:
            _write_plan(plan, as_json=as_json)
            return 0
        rerun = freeze_rerun(plan, ledger=ledger.path, client=client)
        if rerun.is_unchanged:
            output.note("the code is what it was then: nothing has been changed since")
        if plan.sweep.backend is Backend.LOCAL:
            return _run_here(ledger, rerun, client, as_json=as_json)
        return _submit(ledger, rerun, client, as_json=as_json)


def _write_plan(plan: RerunPlan, *, as_json: bool) -> None:
    if as_json:
        output.write_json(plan.as_plain())
    elif plan.runs:
        how = "on this machine" if plan.sweep.backend is Backend.LOCAL else "on Slurm"
        output.write(f"would run again {how}: {named_runs(plan.runs)} of sweep {plan.sweep.id}")
        output.write(f"in {plan.directory}")
    if not plan.runs:
        output.note(f"there is nothing to run again in sweep {plan.sweep.id}")


def _submit(ledger: Ledger, rerun: FrozenRerun, client: SlurmClient, *, as_json: bool) -> int:
    from hpcorch.services.rerun.execute import submit_rerun

    done = submit_rerun(ledger, rerun, client)
    _write_result(done, as_json=as_json)
    for one in done.submitted if not as_json else ():
        output.write(f"{named_runs(one.runs)} submitted as array {one.job_id}")
    if done.waiting:
        waiting = f"{counted(done.waiting, 'more run')} {agreeing(done.waiting, 'is', 'are')} submitted"
        output.note(f"{waiting} when Slurm takes more of your jobs")
    output.notes(done.notices)
    return 0


def _run_here(ledger: Ledger, rerun: FrozenRerun, client: SlurmClient, *, as_json: bool) -> int:
    from hpcorch.services.local.pool import Interrupted
    from hpcorch.services.rerun.execute import run_rerun_here

    try:
        done = run_rerun_here(ledger, rerun, client, CountsLines(f"sweep {rerun.sweep}").show, output.note)
    except Interrupted as stop:
        output.note(f"stopped; the runs of sweep {rerun.sweep} that were not over are recorded as CANCELLED")
        return stop.exit_code
    _write_result(done, as_json=as_json)
    return int(not done.is_completed)


def _write_result(done: RerunResult, *, as_json: bool) -> None:
    plan = done.rerun.plan
    if as_json:
        output.write_json(done.as_plain())
    else:
        output.write(f"sweep {done.rerun.sweep} reruns {named_runs(plan.runs)} of sweep {plan.sweep.id}")

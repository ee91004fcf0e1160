"""What ``cancel``, ``hold`` and ``release`` share: look, announce, ask for confirmation, act, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place
from hpcorch.errors import UnavailableError
from hpcorch.ledger import Ledger
from hpcorch.model.actions import Action
from hpcorch.model.ids import named_runs
from hpcorch.services.selection.selectors import parse_selector


def act(
    place: Place,
    action: Action,
    selector: str,
    states: str | None,
    *,
    as_json: bool,
    yes: bool = True,
    dry_run: bool = False,
    checkpoint: bool = False,
) -> int:
    """Carry out an action on the selected runs.

    :param yes: without asking
    :param checkpoint: those that run save a checkpoint first
    :return: 0, or 3 if of some runs it is not known yet whether Slurm has them
    """
    from hpcorch.services.actions.control import open_control  # loads the way to Slurm
    from hpcorch.services.tending.own_record import ledger_to_act_by

    chosen = parse_selector(selector, states)
    with (
        Ledger.open(place.ledger_path(), write=True) as shared,
        ledger_to_act_by(shared, chosen.sweep) as ledger,
    ):
        control = open_control(ledger, chosen)
        control.look()
        plan = control.plan(action, chosen, checkpoint=checkpoint)
        what = f"{action.value} {named_runs(plan.targets.runs)} of sweep {plan.sweep}"
        if plan.asked_to_checkpoint and set(plan.targets.runs) == plan.asked_to_checkpoint:
            what += " after a checkpoint"
        elif plan.asked_to_checkpoint:
            what += f", {named_runs(sorted(plan.asked_to_checkpoint))} after a checkpoint"
        if plan.targets.runs and not dry_run:
            confirm(what, yes=yes)
            control.carry_out(plan)
    if as_json:
        output.write_json({**plan.as_plain(), "done": not dry_run})
    elif plan.targets.runs:
        elements = " ".join(target.addressee for target in plan.targets.targets) or "not submitted yet"
        output.write(f"{'would ' if dry_run else 'asked to '}{what} ({elements})")
    else:
        output.note(f"there is nothing to {action.value} in sweep {plan.sweep}")
    output.notes(plan.notices)
    output.tell_passed_over(plan.targets.passed_over)
    return _tell_unsettled(plan.targets.unsettled, plan.sweep)


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether it is meant.

    :raises click.UsageError: nobody is there to be asked
    :raises click.Abort: it is not meant
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"to {what} from a script, say --yes")
    click.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)


def _tell_unsettled(runs: Sequence[int], sweep: str) -> int:
    if not runs:
        return 0
    output.note(
        f"it is not known yet whether Slurm has {named_runs(sorted(runs))}: what it has is held and does not start."
        f" Try again in a few minutes, after `hpcorch status {sweep} --refresh` has settled it"
    )
    return UnavailableError.exit_code

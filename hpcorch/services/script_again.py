"""The command that submits a user's script again, where `retry` may not do it."""

from __future__ import annotations

from contextlib import suppress

from hpcorch.errors import UnavailableError
from hpcorch.model.ids import format_ranges
from hpcorch.model.states import NOT_FINE, SubmissionForm
from hpcorch.services.control import Control
from hpcorch.services.select import Selector, select_runs

_ARRAY = "--array="


def script_again(control: Control, selector: Selector) -> list[str]:
    """The words of the command; of an array for those of the selected runs that did not end well."""
    sweep, ledger = control.sweep, control.reconciler.ledger
    if not any(one.form is SubmissionForm.SCRIPT_ARRAY for one in ledger.submissions(sweep.id)):
        return list(sweep.argv)
    with suppress(UnavailableError):  # then by what is known
        control.look()
    failed = [run.run for run in select_runs(ledger, sweep.id, selector) if run.state in NOT_FINE]
    if not failed:
        return list(sweep.argv)
    flags = ledger.config(sweep.id, failed[0])["flags"]
    command, rest = sweep.argv[:2], sweep.argv[2 + len(flags) :]
    kept = [flag for flag in flags if not flag.startswith(_ARRAY)]
    return [*command, *kept, f"{_ARRAY}{format_ranges(failed)}", *rest]

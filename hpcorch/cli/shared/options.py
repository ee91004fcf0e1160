"""What commands share: options, arguments, examples in help, and the ledger that they ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from hpcorch.errors import NotFoundError
from hpcorch.journal.inbox import announced
from hpcorch.journal.project_search import default_ledger, find_ledger

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which ledger a command is about.

    :param named: what ``--ledger`` says
    """

    named: Path | None

    def ledger_path(self) -> Path:
        """The ledger's file: as named, else by $HPCORCH_LEDGER, else the nearest one walking up.

        It takes over the sweeps that were announced to it.

        :raises NotFoundError: there is none
        """
        found = self.named or find_ledger(Path.cwd())
        if found is None:
            raise NotFoundError(
                f"there is no ledger in {Path.cwd()} or above: run a sweep first, go to the project's folder, or"
                " name the ledger with --ledger or $HPCORCH_LEDGER; if it was lost, `hpcorch ledger adopt` in that"
                " folder makes it again from the sweep directories"
            )
        if announced(found):  # rarely
            from hpcorch.cli.shared.output import notes
            from hpcorch.services.adoption.inbox import take_over

            notes(take_over(found))
        return found

    def new_ledger_path(self) -> Path:
        """The ledger's file, or where a launch would make it."""
        return self.named or default_ledger(Path.cwd())


pass_place = click.make_pass_decorator(Place)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
refresh_option = click.option(
    "--refresh", is_flag=True, help="Ask Slurm first. Without it, the answer is from the journals."
)
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
where_option = click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only with runs like this: 'model.lr>0.05', 'result>=0.9', model=mlp; repeat for several."
    " A parameter that is 1 is not 1.0.",
)
selector_argument = click.argument("selector", default="last", metavar="[SELECTOR]")


def states_option(help_text: str) -> Callable[[_F], _F]:
    """``-s/--state F,TO``; :func:`hpcorch.services.selection.selectors.parse_states` reads it."""
    return click.option("-s", "--state", "states", metavar="STATES", help=help_text)


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  $ {line}" for line in lines)])

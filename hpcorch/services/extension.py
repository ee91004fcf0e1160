"""``hpcorch extend``: the program of a sweep, called again with other overrides, so that it adds what is lacking.

The program composes the larger grid, and its launcher adds the runs that the sweep has not
(:mod:`hpcorch.launcher.earlier.extension`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.layout import LEDGER_VARIABLE
from hpcorch.journal.manifest_file import read_header
from hpcorch.journal.project_search import default_ledger
from hpcorch.ledger import Ledger
from hpcorch.model.events import LaunchPlanned
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import EXTENDS_VARIABLE
from hpcorch.runtime.program.relocation import relocated_header, relocated_task
from hpcorch.runtime.program.task_file import Invocation, read_task
from hpcorch.services.audit.evidence import place_of
from hpcorch.services.reproduction.original import check_unchanged
from hpcorch.services.selection.selectors import Selector
from hpcorch.services.tending.ownership import check_own
from hpcorch.slurm.protocol import SlurmClient

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_SWEEP_DIR = "hydra.sweep.dir"
_KEPT = {_SWEEP_DIR: "directory", "hydra/launcher": "launcher", "hydra.mode": "mode"}
_PREFIXES = "+~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A call of a sweep's program that adds runs to the sweep.

    :param words: its command line
    :param cwd: where it was started
    :param environ: variables that it gets beside those of this process
    """

    words: tuple[str, ...]
    cwd: str
    environ: dict[str, str]

    def call(self) -> NoReturn:
        """Become that program.

        :raises UnavailableError: it cannot be started
        """
        try:
            os.chdir(self.cwd)
            os.execve(self.words[0], self.words, {**os.environ, **self.environ})  # noqa: S606 - no shell is needed
        except OSError as error:
            raise UnavailableError(
                f"{self.words[0]} cannot be started in {self.cwd} ({error.strerror}): put back what is missing, or"
                " launch a sweep of its own"
            ) from error


def plan_extension(ledger: Ledger, selector: Selector, overrides: Sequence[str], client: SlurmClient) -> Extension:
    """The call that adds to a sweep what a grid has more. Overrides of the sweep that are not named stay.

    :param overrides: as Hydra's command line has them
    :raises NotFoundError: no sweep is selected
    :raises UsageError: runs cannot be added to it, or an override cannot be read
    :raises RecordError: its record is gone
    :raises DriftError: what was frozen was changed since
    """
    sweep = ledger.sweep(selector.sweep).sweep
    if selector.names_runs or selector.states is not None:
        raise UsageError(f"runs are added to a sweep as a whole: name it, {sweep.id}")
    if sweep.is_wrapped:
        raise UsageError(f"{sweep.id} is a script or a command of its own: submit or execute it again")
    place = place_of(ledger, sweep)
    check_own(sweep, client, place.layout)
    launch = next((one for one in ledger.facts(sweep.id, LaunchPlanned) if isinstance(one, LaunchPlanned)), None)
    if launch is None:
        raise UsageError(f"the launch of sweep {sweep.id} was stopped before anything was planned: launch it again")
    check_unchanged(place, launch)
    header = relocated_header(read_header(place.file(launch.manifest)), place.layout.moves)
    task = relocated_task(read_task(place.layout.task(0), launch.task_digest), place.layout.moves)
    if task.invocation is None:
        raise UsageError(
            f"nothing is added to sweep {sweep.id}, whose program cannot be called again: {task.problem}"
        )
    if task.invocation.ordinal:
        raise UsageError(
            f"sweep {sweep.id} is not the first one that its program launches, which would launch the others again:"
            " launch a sweep of its own"
        )
    words = _words(task.invocation, overrides, place.layout.directory)
    options = LaunchKeys.recorded(launch.options).python_options or ()
    start = ("-m", task.invocation.module) if task.invocation.module else (words[0],)
    cwd = task.invocation.cwd or header.cwd
    environ = {EXTENDS_VARIABLE: f"{sweep.id} {task.invocation.function}"}
    if default_ledger(Path(cwd)) != ledger.path:
        environ[LEDGER_VARIABLE] = str(ledger.path)
    return Extension(words=(header.python, *options, *start, *words[1:]), cwd=cwd, environ=environ)


def _words(invocation: Invocation, overrides: Sequence[str], directory: Path) -> list[str]:
    """The program's ``sys.argv``: as it was, with these overrides in place of those of the same keys."""
    from hydra.core.override_parser.types import Quote, QuotedString

    words = list(invocation.argv)
    places = {_key(words[place]): place for place in invocation.given if _is_override(words[place])}
    more = []
    for override in _parsed(overrides):
        key, text = _key(str(override.input_line)), str(override.input_line)
        if key in _KEPT:
            raise UsageError(f"{key} cannot be given: a sweep keeps its {_KEPT[key]}")
        if key not in places:
            more.append(text)
        elif text[0] in _PREFIXES:
            words[places[key]] = text
        else:
            was = words[places[key]]
            words[places[key]] = was[: len(was) - len(was.lstrip(_PREFIXES))] + text
    if _SWEEP_DIR in places:
        del words[places[_SWEEP_DIR]]
    quoted = QuotedString(text=str(directory), quote=Quote.single).with_quotes()
    return [*words, *more, f"{_SWEEP_DIR}={quoted}"]


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _key(word: str) -> str:
    """What an override sets, however it does."""
    return word.partition("=")[0].lstrip(_PREFIXES)


def _parsed(texts: Sequence[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parsed = []
    for text in texts:
        try:
            parsed.append(OverridesParser.create().parse_override(text))
        except HydraException as error:
            cause = str(error).partition("\n")[0]
            raise UsageError(f"{text} cannot be read ({cause}): write overrides as for the program") from error
    return parsed

"""``hpcorch extend``: the program of a sweep, called again with other overrides, so that it adds what is lacking.

The program composes the larger grid, and its launcher adds the runs that the sweep has not
(:mod:`hpcorch.launcher.earlier.extension`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.layout import LEDGER_VARIABLE
from hpcorch.journal.manifest_file import read_header
from hpcorch.journal.project_search import default_ledger
from hpcorch.ledger import Ledger
from hpcorch.model.events import LaunchPlanned, RerunPlanned, RunReproduced
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import EXTENDS_VARIABLE
from hpcorch.runtime.program.relocation import relocated_header, relocated_task
from hpcorch.runtime.program.task_file import Invocation, read_task
from hpcorch.services.audit.evidence import place_of
from hpcorch.services.reproduction.original import check_unchanged
from hpcorch.services.selection.selectors import Selector
from hpcorch.services.tending.ownership import check_own
from hpcorch.slurm.protocol import SlurmClient

_SWEEP_DIR, _LAUNCHER, _MODE = "hydra.sweep.dir", "hydra/launcher", "hydra.mode"
_KEPT = {_SWEEP_DIR: "directory", _LAUNCHER: "launcher", _MODE: "mode"}
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
    if (original := _original(ledger, sweep.id)) is not None:
        raise UsageError(
            f"sweep {sweep.id} repeats runs of {original}: extend that one, or launch a sweep of its own"
        )
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
    if not os.path.isfile(task.invocation.file):  # noqa: PTH113 - asks, and never raises
        raise UsageError(f"{task.invocation.file}, the program of sweep {sweep.id}, is not there: put it back")
    kept = {_SWEEP_DIR: _quoted(str(place.layout.directory)), _LAUNCHER: f"hpcorch_{sweep.backend.value}"}
    words = _words(task.invocation, overrides, {**kept, _MODE: "MULTIRUN"})
    options = LaunchKeys.recorded(launch.options).python_options or ()
    start = ("-m", task.invocation.module) if task.invocation.module else (words[0],)
    cwd = task.invocation.cwd or header.cwd
    environ = {EXTENDS_VARIABLE: f"{sweep.id} {task.invocation.function}"}
    if default_ledger(Path(cwd)) != ledger.path:
        environ[LEDGER_VARIABLE] = str(ledger.path)
    return Extension(words=(header.python, *options, *start, *words[1:]), cwd=cwd, environ=environ)


def _original(ledger: Ledger, sweep: str) -> str | None:
    """What a sweep repeats, if it does."""
    facts = [*ledger.facts(sweep, RerunPlanned)]
    facts += [event.fact for event in ledger.events(sweep, 0, kinds={RunReproduced.kind})]
    found = (fact.of.partition("/")[0] for fact in facts if isinstance(fact, (RerunPlanned, RunReproduced)))
    return next(found, None)


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _words(invocation: Invocation, overrides: Sequence[str], kept: Mapping[str, str]) -> list[str]:
    """The program's ``sys.argv``: as it was, with these overrides in place of those of the same keys.

    :param kept: keys with the values that they have, whatever the configuration says now
    """
    given = {place: invocation.argv[place] for place in invocation.given}
    places = {_key(word): place for place, word in given.items() if _is_override(word)}
    words, more = dict(enumerate(invocation.argv)), []
    for text in map(_checked, overrides):
        key = _key(text)
        if key in _KEPT:
            raise UsageError(f"{key} cannot be given: a sweep keeps its {_KEPT[key]}")
        if key not in places:
            more.append(text)
        else:
            was = words[places[key]]
            adds = "" if text[0] in _PREFIXES else was[: len(was) - len(was.lstrip("+"))]
            words[places[key]] = adds + text
    more += [f"{key}={value}" for key, value in kept.items()]
    after = max(places.values(), default=len(words) - 1)  # Hydra takes overrides in one place
    left = [(place, word) for place, word in words.items() if place not in given or _key(word) not in kept]
    return [
        *(word for place, word in left if place <= after),
        *more,
        *(word for place, word in left if place > after),
    ]


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


def _key(word: str) -> str:
    """What an override sets, however it does."""
    return word.partition("=")[0].lstrip(_PREFIXES)


def _checked(text: str) -> str:
    """An override that can be read, as it was typed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        cause = str(error).partition("\n")[0]
        raise UsageError(f"{text} cannot be read ({cause}): write overrides as for the program") from error
    if not override.key_or_group:
        raise UsageError(f"{text} names no key: write overrides as for the program")
    return text

"""``hpcorch logs``"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place, selector_argument, states_option
from hpcorch.errors import NotFoundError
from hpcorch.ledger import Ledger
from hpcorch.model.ids import AttemptId
from hpcorch.services.logs.attempts import LogPart, error_file, find_part, read_part
from hpcorch.services.reports.status import StatusReport, report_status
from hpcorch.services.selection.selectors import Selector, count_selected, parse_selector


@click.command(
    epilog=examples(
        "hpcorch logs last/3",
        "hpcorch logs last -s F -n 20",
        "hpcorch logs last/3 -f",
        "hpcorch logs last/3 --attempt s0.r0",
    )
)
@selector_argument
@states_option("Only runs in these states, such as F,TO,R.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new output until the runs are over.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Print only the last N lines of each run."
)
@click.option(
    "--attempt", metavar="NAME", help="Print this attempt instead of the latest, by its name in `hpcorch show`."
)
@json_option
@pass_place
def command(
    place: Place,
    *,
    selector: str,
    states: str | None,
    follow: bool,
    lines: int | None,
    attempt: str | None,
    as_json: bool,
) -> int:
    """Print what runs wrote.

    Prints the latest attempt of each selected run: only its own part of the log file. Several runs get headings.
    """
    if follow and (as_json or attempt is not None):
        raise click.UsageError("--follow excludes --json and --attempt")
    chosen = parse_selector(selector, states)
    with Ledger.open(place.ledger_path()) as ledger:
        if follow:
            _follow(ledger, chosen, lines)
            return 0
        status = report_status(ledger, chosen)
        ends = ledger.log_ends(status.sweep.summary.sweep.id)
    gone = status.sweep.files.gone
    output.notes(filter(None, [*status.refresh.notices, gone]))
    try:
        _show(status, _parts(status, ends, attempt), lines, as_json=as_json)
    except NotFoundError as error:
        if gone is None:
            raise
        return error.exit_code  # why there is no log is told
    return 0


def _show(status: StatusReport, parts: Iterator[LogPart], lines: int | None, *, as_json: bool) -> None:
    if as_json:
        output.write_json([_as_plain(part, lines) for part in parts])
        return
    _print(status, parts, lines)


def _parts(status: StatusReport, ends: Mapping[AttemptId, int], attempt: str | None) -> Iterator[LogPart]:
    """The parts to print. A run without one is passed over with a note, unless it is the only one."""
    if len(status.runs) == 1:
        yield find_part(status.runs[0].run, status.runs[0].attempts, ends, attempt)
        return
    for report in status.runs:
        with _told(status):
            yield find_part(report.run, report.attempts, ends, attempt)


@contextmanager
def _told(status: StatusReport) -> Iterator[None]:
    """A log that is not there is told of, unless the sweep's files are gone, and the others are still printed."""
    try:
        yield
    except NotFoundError as error:
        sys.stdout.flush()
        if status.sweep.files.gone is None:
            output.note(str(error))


def _print(status: StatusReport, parts: Iterator[LogPart], lines: int | None) -> None:
    for part in parts:
        if len(status.runs) == 1:
            _write_blocks(part, lines)
            continue
        _head(part)
        with _told(status):
            _write_blocks(part, lines)


def _follow(ledger: Ledger, selector: Selector, lines: int | None) -> None:
    from hpcorch.services.reports.follow_logs import follow_runs  # loads the way to Slurm

    several = selector.element is None and (selector.ranges is None or sum(map(len, selector.ranges)) > 1)
    if selector.element is not None:  # a packed task has executed several
        several = sum(count_selected(ledger, ledger.sweep(selector.sweep).sweep.id, selector).values()) > 1
    shown: tuple[int, str] | None = None
    for part, block in follow_runs(ledger, selector, notify=output.note, lines=lines):
        if shown != (part.run, part.name) and (several or shown is not None):
            output.write(f"==> run {part.run}, attempt {part.name} <==")
        shown = (part.run, part.name)
        _write(block)
        sys.stdout.flush()


def _head(part: LogPart) -> None:
    output.write(f"==> run {part.run}, attempt {part.name} ({part.attempt.state.value}) <==")


def _write_blocks(part: LogPart, lines: int | None) -> None:
    for block in read_part(part, lines=lines):
        _write(block)
    if (errors := error_file(part.path)) is not None:
        output.write(f"==> standard error: {errors} <==")
        for block in read_part(replace(part, path=errors, start=0, end=None), lines=lines):
            _write(block)


def _write(block: bytes) -> None:
    # As it is, colours and progress bars included: a log is not ours to interpret.
    sys.stdout.flush()
    sys.stdout.buffer.write(block)


def _as_plain(part: LogPart, lines: int | None) -> dict[str, Any]:
    content = b"".join(read_part(part, lines=lines))
    return {
        "run": part.run,
        "attempt": part.name,
        "state": part.attempt.state.value,
        "log": str(part.path),
        "start": part.start,
        "end": part.end,
        "text": content.decode("utf-8", "backslashreplace"),
    }

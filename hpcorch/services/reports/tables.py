"""The ledger's tables for people, as other programs read them: row by row, and column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.ledger import Ledger, QueryResult
from hpcorch.model.entities import Run
from hpcorch.model.ids import parse_time
from hpcorch.model.value_text import text_of
from hpcorch.model.values import same
from hpcorch.services.json_values import seconds_between
from hpcorch.services.selection.conditions import result_values

TABLES = ("sweeps", "runs", "params", "attempts", "checkpoints", "metrics", "submissions", "failures", "events")

# Columns by name, all of the same length, each with values of one type (bool, int, float, str, datetime) or None:
# pandas, polars and Arrow make a frame of it as it is.
Columns = dict[str, list[Any]]

# Integers that columns of numbers can hold.
_INTEGERS = range(-(1 << 63), 1 << 63)


def read_table(ledger: Ledger, table: str, *, sweep: str | None = None) -> QueryResult:
    """All rows of a table, or those of one sweep.

    :param sweep: its whole id
    :raises UsageError: there is no such table
    """
    if table not in TABLES:
        raise UsageError(f"there is no table {table!r}: there are {', '.join(TABLES)}")
    condition = "" if sweep is None else " WHERE sweep = '{}'".format(sweep.replace("'", "''"))
    return ledger.query(f"SELECT * FROM v_{table}{condition}")  # noqa: S608 - of names known here


def known_tables(names: Sequence[str]) -> list[str]:
    """The tables that are asked for, each once; all if none is named.

    :raises UsageError: one does not exist
    """
    chosen = list(dict.fromkeys(names)) or list(TABLES)
    for name in chosen:
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}: there are {', '.join(TABLES)}")
    return chosen


def unique(columns: Iterable[str]) -> Iterator[str]:
    """Names that the keys of a mapping can be: a repeated one gets a number."""
    taken: set[str] = set()
    for column in columns:
        name, number = column, 1
        while name in taken:
            number += 1
            name = f"{column}_{number}"
        taken.add(name)
        yield name


def answer_columns(answer: QueryResult) -> Columns:
    """An answer column by column."""
    values = zip(*answer.rows, strict=True) if answer.rows else ([] for _ in answer.columns)
    return {name: _of_one_type(list(column)) for name, column in zip(unique(answer.columns), values, strict=True)}


def run_columns(runs: Sequence[Run], names: Mapping[str, str], settings: Columns) -> Columns:
    """Runs column by column: those of ``v_runs``, with parameters, results and metrics spread out.

    A parameter has its own name, unless another column has it: then it is ``params.NAME``, and left out where it
    only repeats the other, as ``seed`` does. A result is ``result``, or ``result.loss`` of a mapping; metrics are
    ``metrics.loss.last``, ``.min`` and ``.max``.

    :param names: sweep -> its name
    :param settings: keys of configurations -> their value of each run; such a column stands for the parameter, too
    """
    of_run: Columns = {"sweep": [run.sweep for run in runs], "name": [names[run.sweep] for run in runs]}
    of_run.update((key, [value_of(run) for run in runs]) for key, value_of in _OF_RUN.items())
    told = {**_spread([result_values(run) for run in runs]), **_spread([_metric_values(run) for run in runs])}
    params = [
        (f"params.{key}" if key in of_run or key in told else key, values)
        for key, values in {**_spread([run.params for run in runs]), **settings}.items()
        if not _repeats(values, of_run.get(key))
    ]
    identity = [(key, of_run.pop(key)) for key in ("sweep", "name", "run", "state")]
    found = [*identity, *params, *told.items(), *of_run.items()]
    keys = unique(key for key, _ in found)
    return {key: _of_one_type(values) for key, (_, values) in zip(keys, found, strict=True)}


def moment(text: str | None) -> datetime | None:
    """A recorded time, aware; None if there is none, or it is not one."""
    try:
        return None if text is None else parse_time(text)
    except ValueError:
        return None


def duration_s(started_at: str | None, ended_at: str | None) -> float | None:
    """Seconds from start to end; None while it is not over."""
    end = moment(ended_at)
    return None if end is None else seconds_between(started_at, end)


_OF_RUN: Mapping[str, Callable[[Run], Any]] = {
    "run": lambda run: run.run,
    "state": lambda run: run.state.value,
    "duration_s": lambda run: duration_s(run.started_at, run.ended_at),
    "node": lambda run: run.node,
    "attempts": lambda run: run.attempts,
    "seed": lambda run: run.seed,
    "job_id": lambda run: run.job_id,
    "started_at": lambda run: moment(run.started_at),
    "ended_at": lambda run: moment(run.ended_at),
    "exit_code": lambda run: run.exit_code,
    "reason": lambda run: run.reason,
    "error": lambda run: run.error,
    "log": lambda run: run.log,
    "directory": lambda run: run.directory,
    "config_digest": lambda run: run.config_digest,
    "key": lambda run: run.key,
}


def _metric_values(run: Run) -> dict[str, Any]:
    return {
        f"metrics.{name}.{part}": float(metric[part][1])
        for name, metric in run.metrics.items()
        for part in ("last", "min", "max")
        if part in metric
    }


def _repeats(values: Sequence[Any], others: Sequence[Any] | None) -> bool:
    if others is None:
        return False
    return all(value is None or same(value, other) for value, other in zip(values, others, strict=True))


def _spread(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Mappings column by column, in the order in which keys are met."""
    return {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}


def _of_one_type(values: Sequence[Any]) -> list[Any]:
    """Values as a column: as they are, else all as numbers, else all as text."""
    types = {_column_type(value) for value in values if value is not None}
    if len(types) <= 1 and types <= {bool, int, str, bytes, datetime}:
        return list(values)
    if types <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else text_of(value) for value in values]


def _column_type(value: Any) -> type:
    """The type of the column that a value alone would make."""
    if type(value) is int:
        return int if value in _INTEGERS else object
    return type(value)

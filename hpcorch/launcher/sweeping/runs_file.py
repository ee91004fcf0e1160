"""A file with a run a line: CSV with the keys in its first line, or JSON lines with a mapping each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.launcher.sweeping.choices import element_of, spelt


def rows(path: Path) -> list[list[str]]:
    """The overrides of each line, in order.

    In CSV a cell is what it would be on the command line if that is one value, else a text; an empty cell leaves
    its key out. In JSON lines values have their JSON type.

    :raises UsageError: the file cannot be read, or a line has another form; it says which
    """
    read = _json_lines if path.suffix in (".jsonl", ".ndjson", ".json") else _csv
    try:
        found = list(read(path))
    except OSError as error:
        raise UsageError(f"hydra.sweeper.runs: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"hydra.sweeper.runs: {path} is no text in UTF-8") from error
    except csv.Error as error:
        raise UsageError(f"hydra.sweeper.runs: {path} is no CSV: {error}") from error
    if not found:
        raise UsageError(f"hydra.sweeper.runs: {path} has no runs")
    return found


def _csv(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        keys = [key.strip() for key in next(reader, [])]
        if not keys or not all(keys) or len(set(keys)) != len(keys):
            raise UsageError(f"hydra.sweeper.runs: the first line of {path} has to have a key a column, each once")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(keys):
                raise UsageError(
                    f"hydra.sweeper.runs: line {reader.line_num} of {path} has {len(cells)} cells, but there are"
                    f" {len(keys)} keys: put a text that has commas into double quotation marks"
                )
            yield [f"{key}={_cell(cell)}" for key, cell in zip(keys, cells, strict=True) if cell.strip()]


def _cell(cell: str) -> str:
    text = cell.strip()
    return text if element_of(text) is not None else spelt(text)


def _json_lines(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            values = _mapping(line)
            if not values:
                raise UsageError(
                    f"hydra.sweeper.runs: line {number} of {path} is no JSON mapping such as"
                    ' {"lr": 0.1, "model": "cnn"}'
                )
            yield [f"{key}={spelt(value)}" for key, value in values.items()]


def _mapping(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and all(values) else None

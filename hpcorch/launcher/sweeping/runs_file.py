"""A file with a run a line: CSV with the keys in its first line, or JSON lines with a mapping each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from hpcorch.errors import UsageError
from hpcorch.launcher.sweeping.choices import Choice, choice, chosen, element_of, parsed, spelt

_MOST_BYTES: Final = 64 * 1024**2


def rows(path: Path, parser: OverridesParser) -> list[tuple[Choice, ...]]:
    """The values of each line, in order.

    In CSV a cell is what it would be on the command line if that is one value, else a text; an empty cell leaves
    its key out. In JSON lines values have their JSON type.

    :raises UsageError: the file cannot be read, or a line has another form; it says which
    """
    read = _json_lines if path.suffix in (".jsonl", ".ndjson", ".json") else _csv
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise UsageError(f"hydra.sweeper.runs: {path} is not a regular file")
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"hydra.sweeper.runs: {path} is larger than 64 MiB: a line of it has to be a run")
        found = list(read(path, parser))
    except OSError as error:
        raise UsageError(f"hydra.sweeper.runs: {path} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise UsageError(f"hydra.sweeper.runs: {path} is no text in UTF-8") from error
    except csv.Error as error:
        raise UsageError(f"hydra.sweeper.runs: {path} is no CSV: {error}") from error
    if not found:
        raise UsageError(f"hydra.sweeper.runs: {path} has no runs")
    return found


def _csv(path: Path, parser: OverridesParser) -> Iterator[tuple[Choice, ...]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        keys = _keys(path, next(reader, []), parser)
        known: dict[tuple[int, str], Choice] = {}
        for cells in reader:
            texts = [cell.strip() for cell in cells]
            if not any(texts):
                continue
            if len(texts) != len(keys):
                raise UsageError(
                    f"hydra.sweeper.runs: line {reader.line_num} of {path} has {len(texts)} cells, but there are"
                    f" {len(keys)} keys: put a text that has commas into double quotation marks"
                )
            columns = [column for column, text in enumerate(texts) if text]
            for column in columns:
                if (column, texts[column]) not in known:
                    known[column, texts[column]] = _cell(keys[column], texts[column])
            yield tuple(known[column, texts[column]] for column in columns)


def _keys(path: Path, cells: Sequence[str], parser: OverridesParser) -> list[Override]:
    names = [cell.strip() for cell in cells]
    if not names or not all(names) or len(set(names)) != len(names):
        raise UsageError(f"hydra.sweeper.runs: the first line of {path} has to have a key a column, each once")
    try:
        return [parsed(f"{name}=1", parser) for name in names]
    except UsageError as error:
        raise UsageError(
            f"hydra.sweeper.runs: the first line of {path} has to have keys, separated by commas: {error}"
        ) from error


def _cell(key: Override, text: str) -> Choice:
    element = element_of(text)
    if element is None:
        return chosen(key, f"{key.get_key_element()}={spelt(text)}", text)
    return chosen(key, f"{key.get_key_element()}={text}", element.value())


def _json_lines(path: Path, parser: OverridesParser) -> Iterator[tuple[Choice, ...]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            values = _mapping(line)
            if not values:
                raise UsageError(
                    f"hydra.sweeper.runs: line {number} of {path} is no JSON mapping such as"
                    ' {"lr": 0.1, "model": "cnn"}, with each key once'
                )
            try:
                yield tuple(choice(f"{key}={spelt(value)}", parser) for key, value in values.items())
            except UsageError as error:
                raise UsageError(f"hydra.sweeper.runs: line {number} of {path}: {error}") from error
            except RecursionError as error:
                raise UsageError(f"hydra.sweeper.runs: line {number} of {path} is nested too deeply") from error


def _mapping(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line, object_pairs_hook=_each_once)
        json.dumps(values, ensure_ascii=False).encode()  # JSON can escape what is no text
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and all(values) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found

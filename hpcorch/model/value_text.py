"""Values and counts as text for people, values as JSON for programs, and numbers read from text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

from hpcorch.model.values import digits, integer

#: Python's readers of JSON, and others, refuse longer integers.
_LONGEST_NUMBER: Final = 4300
_WHOLE: Final = re.compile(r"[+-]?(0|[1-9](_?[0-9])*)", re.ASCII)
_BROKEN: Final = re.compile(
    r"[+-]?(([0-9](_?[0-9])*)?\.([0-9](_?[0-9])*)?(e[+-]?[0-9]+)?|[0-9](_?[0-9])*e[+-]?[0-9]+|inf|nan)",
    re.ASCII | re.IGNORECASE,
)
_WORDS: Final = {"null": None, "true": True, "false": False}


def text_of(value: Any) -> str:
    """A value as one writes it in an override: text without quotation marks, ``nan``, ``inf``, integers in full."""
    if isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    return quoted(value)


def typed_text(value: Any) -> str:
    """A value such that :func:`literal_of` gives it back: a text that would be another value in quotation marks."""
    text = text_of(value)
    return f'"{text}"' if isinstance(value, str) and literal_of(text) != value else text


def quoted(value: Any) -> str:
    """A value as it stands within a list or mapping: text in quotation marks."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(quoted, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {quoted(item)}" for key, item in value.items()) + "}"
    if type(value) is int:
        return digits(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)


def shortened(text: str, width: int) -> str:
    """At most so many characters, the last one an ellipsis if some are missing."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def printable(text: str) -> str:
    """Text on one line, with everything that is not printable escaped as in a Python literal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escaped(c) for c in text)


def escaped(character: str) -> str:
    """A character as it is written in a Python literal: ``\\x1b``."""
    return character.encode("unicode_escape").decode("ascii")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON in ASCII.

    ``nan``, ``inf``, ``-inf`` and integers of more than 4,300 digits are text, since JSON or its readers have no
    number for them. Bytes are text in hexadecimal, and paths are text.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(_json_value(value), indent=indent, allow_nan=False)


def to_yaml(value: Any) -> str:
    """A value as YAML, with all types that OmegaConf has, but for paths, which are text."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(int, lambda dumper, one: dumper.represent_scalar("tag:yaml.org,2002:int", digits(one)))
    Dumper.add_multi_representer(Path, lambda dumper, one: dumper.represent_str(str(one)))
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True))


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {text_of(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    if type(value) is int and len(text := digits(value)) > _LONGEST_NUMBER:
        return text
    return text_of(value) if isinstance(value, (bytes, Path)) else value


def number_of(value: Any) -> int | float | None:
    """A number, or the one that a text stands for, exactly; None for everything else, True and False included."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if not isinstance(value, str):
        return value
    for read in (integer, float):
        try:
            return read(value)
        except ValueError:
            continue
    return None


def literal_of(text: str) -> Any:
    """The value that a text stands for in an override, and its type: ``1`` is no ``1.0``, and ``'1'`` is a text.

    Of lists and mappings those are understood that are JSON; everything else is text.
    """
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    if _WHOLE.fullmatch(text):
        return integer(text.replace("_", ""))
    if _BROKEN.fullmatch(text) and text.strip("+-.") != "":
        return float(text)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text[:1] in "[{":
        try:
            return json.loads(text, parse_int=integer)
        except ValueError:
            return text
    return text


def counted(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def agreeing(count: int, one: str, several: str) -> str:
    """The words that go with a number: ``is`` of 1, ``are`` of 2."""
    return one if count == 1 else several

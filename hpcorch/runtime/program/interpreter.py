"""How Python was started: its options, the program, and the program's arguments, from ``sys.orig_argv``."""

from __future__ import annotations

from collections.abc import Sequence

from hpcorch.quick_dataclasses import dataclass

_TAKES_VALUE = "WX"
_ENDS_OPTIONS = "cm"
_LEFT_OUT = "i"  # a job has nobody who would type


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command line of Python's.

    :param options: of the interpreter, as they were typed
    :param module: what ``-m`` was given; None if a file was given, or a command
    :param file: the script or folder; None if a module or a command was given
    :param arguments: the program's
    """

    options: tuple[str, ...]
    module: str | None
    file: str | None
    arguments: tuple[str, ...]


def parse_command_line(words: Sequence[str]) -> CommandLine:
    """Take a command line apart as Python does (python(1)).

    :param words: with the interpreter's name first
    """
    options: list[str] = []
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word.startswith("--"):
            options.append(word)
            if word == "--check-hash-based-pycs" and rest:
                options.append(rest.pop(0))
            continue
        flag, letter, value = _split(word)
        options += [flag] if flag else []
        if letter is None:
            continue
        if not value and rest:
            value = rest.pop(0)
        if letter in _TAKES_VALUE:
            options += [f"-{letter}", value]
            continue
        module = value if letter == "m" else None
        return CommandLine(options=tuple(options), module=module, file=None, arguments=tuple(rest))
    file = rest.pop(0) if rest else None
    return CommandLine(options=tuple(options), module=None, file=file, arguments=tuple(rest))


def _split(word: str) -> tuple[str | None, str | None, str]:
    """The flags of a word such as ``-OWerror``, then the letter that takes a value, and the value's beginning."""
    for at, letter in enumerate(word[1:], start=1):
        if letter in _TAKES_VALUE + _ENDS_OPTIONS:
            return _kept(word[1:at]), letter, word[at + 1 :]
    return _kept(word[1:]), None, ""


def _kept(letters: str) -> str | None:
    left = "".join(letter for letter in letters if letter not in _LEFT_OUT)
    return f"-{left}" if left else None

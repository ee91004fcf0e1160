"""Values of a YAML file with their positions, so that an error names file, line and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from hpcorch.errors import UsageError
from hpcorch.model.value_text import shortened
from hpcorch.quick_dataclasses import dataclass

if TYPE_CHECKING:
    import yaml

_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")
# YAML 1.1 reads 010 as 8 and 1:30 as 90; nobody who writes them means that, so only decimal digits are numbers.
_WHOLE: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_AMOUNT: Final = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MOST: Final = 10**9  # more than anything that a profile counts; Slurm's own numbers have 32 bits
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """One value of a file. Its content is checked only when it is read.

    Every method that reads raises :class:`UsageError`, naming file, line and key, if the value is of another kind.

    :param key: the way to it from the top, such as ``resources.scratch_io.capacity``; empty for the top itself
    """

    node: yaml.Node | None
    file: str
    key: str = ""

    @property
    def line(self) -> int:
        """The line that the value starts on, counted from 1."""
        return 1 if self.node is None else self.node.start_mark.line + 1

    def error(self, problem: str) -> UsageError:
        """What is wrong with the value, as an error to raise."""
        where = f"{self.file}, line {self.line}"
        return UsageError(f"{where}: {self.key} {problem}" if self.key else f"{where}: {problem}")

    def is_null(self) -> bool:
        """Whether nothing is written, or null."""
        return self.node is None or self._has_tag("null")

    def section(self, known: Collection[str]) -> dict[str, Marked]:
        """A mapping whose keys are given; those without a value are left out."""
        found = self.mapping()
        for name, value in found.items():
            if name not in known:
                raise value.error(f"is not a known key{suggestion(name, known)}")
        return {name: value for name, value in found.items() if not value.is_null()}

    def mapping(self) -> dict[str, Marked]:
        """A mapping with any names as keys; null is an empty one."""
        import yaml

        if self.is_null():
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("must be a mapping, with one `name: value` a line")
        found: dict[str, Marked] = {}
        for key, value in self.node.value:
            name = self._name(key)
            if name in found:
                again = Marked(node=key, file=self.file, key=found[name].key)
                raise again.error(f"is given twice (first on line {found[name].line}); keep one of them")
            found[name] = Marked(node=value, file=self.file, key=f"{self.key}.{name}" if self.key else name)
        return found

    def items(self) -> list[Marked]:
        """The values of a list."""
        import yaml

        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("must be a list, such as [normal, long]")
        return [
            Marked(node=node, file=self.file, key=f"{self.key}[{at}]") for at, node in enumerate(self.node.value)
        ]

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(item.text() for item in self.items())

    def text(self) -> str:
        """A text on one line; a number is taken as it is written, since names and accounts may be numbers."""
        import yaml

        if not isinstance(self.node, yaml.ScalarNode) or self.is_null():
            raise self.error("must be text")
        value = self.node.value
        if not value.strip() or not value.isprintable():
            raise self.error(f"must be text on one line, not {value!r}")
        return str(value)

    def whole(self, minimum: int | None = None) -> int:
        """A whole number of at most 10**9, written in decimal digits, at least ``minimum`` if one is given."""
        wanted = "a whole number" if minimum is None else f"a whole number of at least {minimum}"
        value = self._number(_WHOLE, wanted)
        if minimum is not None and value < minimum:
            raise self.error(f"must be {wanted}, not {self._shown()}")
        if abs(value) > _MOST:
            raise self.error(f"must be {wanted} and at most {_MOST}, not {self._shown()}")
        return int(value)

    def amount(self) -> float:
        """A finite number of at least 0."""
        wanted = "a number of at least 0"
        value = self._number(_AMOUNT, wanted)
        if not 0 <= value < float("inf"):
            raise self.error(f"must be {wanted}, not {self._shown()}")
        return value

    def one_of(self, words: type[_E]) -> _E:
        """A member of an enum, by its value."""
        known = [str(word.value) for word in words]
        text = self.text()
        if text not in known:
            raise self.error(f"must be one of {', '.join(known)}, not {text!r}{suggestion(text, known)}")
        return words(text)

    def _name(self, key: yaml.Node) -> str:
        import yaml

        if not isinstance(key, yaml.ScalarNode):
            raise Marked(node=key, file=self.file, key=self.key).error("has a key that is not text")
        return str(key.value)

    def _number(self, form: re.Pattern[str], wanted: str) -> float:
        """What is written, as a float: exact for all whole numbers that are accepted."""
        import yaml

        is_number = self._has_tag("int", "float")
        if isinstance(self.node, yaml.ScalarNode) and is_number and form.fullmatch(self.node.value):
            return float(self.node.value)
        hint = "; write it in decimal digits, without leading zeros" if self._has_tag("int") else ""
        raise self.error(f"must be {wanted}, not {self._shown()}{hint}")

    def _has_tag(self, *names: str) -> bool:
        return self.node is not None and self.node.tag in {f"tag:yaml.org,2002:{name}" for name in names}

    def _shown(self) -> str:
        import yaml

        if not isinstance(self.node, yaml.ScalarNode):
            return "a mapping or list"
        text = shortened(str(self.node.value), _SHOWN)
        return text if text and text.isprintable() and self._has_tag("int", "float", "bool") else repr(text)


def read(text: str, file: str) -> Marked:
    """The top of a YAML document.

    :param file: the file's name, for what may be wrong with it
    :raises UsageError: it is not YAML, or nested deeper than anybody writes
    """
    import yaml

    try:
        return Marked(node=yaml.compose(text, Loader=yaml.SafeLoader), file=file)
    except RecursionError:
        raise UsageError(
            f"{file}: its lists or mappings are nested too deeply; a closing bracket may be missing"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter two of \U escapes beyond Unicode
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        raise UsageError(
            f"{file}{where}: this is not YAML: {problem}; a space or a quotation mark may be missing"
        ) from error


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean X?``, or the names that there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "; there are none"


def optional(section: Mapping[str, Marked], key: str, read_value: Callable[[Marked], _T], default: _T) -> _T:
    """A key's value, or the default if it is not there."""
    return read_value(section[key]) if key in section else default

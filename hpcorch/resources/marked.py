"""Values of a YAML file that know where they stand, so that what is wrong with one names file, line and key."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from hpcorch.errors import UsageError

if TYPE_CHECKING:
    import yaml

_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """One value of a file. What it holds is looked at only when it is asked for, and then checked.

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
        return self.node is None or self.node.tag == "tag:yaml.org,2002:null"

    def section(self, known: Collection[str]) -> dict[str, Marked]:
        """A mapping whose keys are given; those without a value are left out."""
        found = self.mapping()
        for name, value in found.items():
            if name not in known:
                raise value.error(f"is not a key that is known here{suggestion(name, known)}")
        return {name: value for name, value in found.items() if not value.is_null()}

    def mapping(self) -> dict[str, Marked]:
        """A mapping with whatever names as keys; null is an empty one."""
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
                raise again.error(f"stands here a second time (first on line {found[name].line}); keep one of them")
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
        """A whole number, at least ``minimum`` if one is given."""
        value = self._scalar()
        if isinstance(value, bool) or not isinstance(value, int) or (minimum is not None and value < minimum):
            wanted = "a whole number" if minimum is None else f"a whole number of at least {minimum}"
            raise self.error(f"must be {wanted}, not {self._shown(value)}")
        return value

    def amount(self) -> float:
        """A number of at least 0."""
        value = self._scalar()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise self.error(f"must be a number of at least 0, not {self._shown(value)}")
        return float(value)

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

    def _scalar(self) -> Any:
        import yaml

        if not isinstance(self.node, yaml.ScalarNode):
            return None
        try:
            return yaml.constructor.SafeConstructor().construct_object(self.node)
        except (yaml.YAMLError, ValueError):
            return self.node.value

    def _shown(self, value: Any) -> str:
        return "a mapping or list" if value is None and not self.is_null() else repr(value)


def read(text: str, file: str) -> Marked:
    """The top of a YAML document.

    :param file: the file's name, for what may be wrong with it
    :raises UsageError: it is not YAML
    """
    import yaml

    try:
        return Marked(node=yaml.compose(text, Loader=yaml.SafeLoader), file=file)
    except yaml.YAMLError as error:
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

"""The values that a sweep gives to one key, each as a text that Hydra reads and as what Hydra reads it as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException

from hpcorch.errors import UsageError
from hpcorch.launcher.sweeping.sweep_keys import SHOWN
from hpcorch.model.value_text import shortened
from hpcorch.model.values import same
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.program.configuration import canonical, plain

_MOST_VALUES: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value of one key.

    :param text: the override, as Hydra's own sweeper writes it
    :param name: its key without signs such as ``+``
    :param value: in plain form
    :param identity: equal for overrides that are written differently and mean the same
    """

    text: str
    name: str
    value: Any
    identity: str


#: What a sweep varies together: in each row one value of each of some keys.
Axis = tuple[tuple[Choice, ...], ...]


def axes_of(overrides: Iterable[Override], parser: OverridesParser) -> dict[str, Axis]:
    """An axis for each key with its signs, in the order given; of one that is there twice the last values hold.

    :raises UsageError: a key is one of Hydra's own, or has no values or too many
    :raises hydra.errors.HydraException: an override cannot be enumerated, in the words of Hydra's basic sweeper
    """
    axes: dict[str, Axis] = {}
    for override in overrides:
        _check_size(override)
        try:
            texts = [text for (text,) in BasicSweeper.split_arguments([override], None)[0]]
        except ValueError as error:
            raise UsageError(f"{override.input_line} has a sweep as one of its values: write one list") from error
        if not texts:
            raise UsageError(f"{override.input_line} has no values")
        axes[override.get_key_element()] = tuple((choice(text, parser),) for text in texts)
    return axes


def _check_size(override: Override) -> None:
    """Refuse a range that nobody can wait for, before its numbers are made."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return
    try:
        count = sum(1 for _ in islice(value.range(), _MOST_VALUES + 1))
    except (ValueError, ArithmeticError) as error:
        raise UsageError(f"{override.input_line} is no range: {error}") from error
    if count > _MOST_VALUES:
        raise UsageError(f"{override.input_line} has more than {_MOST_VALUES} values: give fewer")


def choice(text: str, parser: OverridesParser) -> Choice:
    """What an override of one value means.

    :raises UsageError: Hydra cannot read it, or the key is one of Hydra's own
    """
    override = parsed(text, parser)
    return chosen(override, text, override.value())


def chosen(key: Override, text: str, value: Any) -> Choice:
    """The choice of a value, as Hydra reads it, for the key of an override."""
    form = plain(value)
    return Choice(
        text=text,
        name=name_of(key.get_key_element()),
        value=form,
        identity=f"{key.get_key_element()}={canonical(form)}",
    )


def parsed(text: str, parser: OverridesParser) -> Override:
    """What Hydra reads an override as.

    :raises UsageError: Hydra cannot read it, or the key is one of Hydra's own
    """
    why = "there is no key"
    try:
        (override,) = parser.parse_overrides([text])
        if override.is_hydra_override() or override.key_or_group == "hydra":
            raise UsageError(
                f"a sweep cannot set {override.key_or_group}, which all of its runs share: set it on the command"
                " line, or below hydra: in the configuration"
            )
        if override.key_or_group:
            return override
    except RecursionError:
        why = "it is nested too deeply"
    except HydraException as error:
        why = str(error.__context__ or error).partition("\n")[0]
    except ValueError as error:
        why = str(error)
    raise UsageError(f"Hydra cannot read {shortened(text, SHOWN)}: {shortened(why, SHOWN)}")


def name_of(key: str) -> str:
    """A key without the signs that say what an override does with it."""
    return key.lstrip("+~")


def texts_of(values: Mapping[str, Any]) -> list[str]:
    """Overrides by key: a text is taken as it would stand on the command line, any other value as itself."""
    return [f"{key}={value if isinstance(value, str) else spelt(value)}" for key, value in values.items()]


def spelt(value: Any) -> str:
    """A value such that Hydra's grammar gives it back.

    :param value: None, a bool, number or text, or lists and mappings of such
    :raises UsageError: a mapping has a key that Hydra's grammar has no form for
    """
    return str(Override._get_value_element_as_str(_element(value)))  # noqa: SLF001 - the inverse of Hydra's parser


def _element(value: Any) -> Any:
    if isinstance(value, str):
        return value if _is_read_as(value, value) else QuotedString(text=value, quote=Quote.single)
    if isinstance(value, list):
        return [_element(item) for item in value]
    if isinstance(value, dict):
        return {_mapping_key(key): _element(item) for key, item in value.items()}
    return value


def _mapping_key(key: Any) -> Any:
    if isinstance(key, str) and not _is_read_as(key, key):
        raise UsageError(f"{key!r} cannot be a key within a mapping: Hydra's overrides can only have words there")
    return key


@lru_cache(maxsize=4096)
def _is_read_as(text: str, value: str) -> bool:
    """Whether a text without quotation marks is a value for Hydra, and a word that people would leave bare."""
    if not text.replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum():
        return False
    element = element_of(text)
    return element is not None and same(plain(element.value()), value)


def element_of(text: str) -> Override | None:
    """The override of some key by one value that is written like this; None if it is not one value."""
    try:
        override = _parser().parse_override(f"key={text}")
    except (HydraException, ValueError, RecursionError):
        return None
    return None if override.is_sweep_override() else override


@lru_cache(maxsize=1)
def _parser() -> OverridesParser:
    return OverridesParser.create()

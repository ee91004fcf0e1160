"""The values that a sweep gives to one key, each as a text that Hydra reads and as what Hydra reads it as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from hpcorch.model.values import same
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.program.configuration import canonical, plain


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
    """An axis for each key by its name, in the order given; of a key that is there twice the last values hold.

    :raises hydra.errors.HydraException: an override cannot be enumerated, in the words of Hydra's basic sweeper
    """
    axes: dict[str, Axis] = {}
    for override in overrides:
        texts = [text for (text,) in BasicSweeper.split_arguments([override], None)[0]]
        choices = [choice(text, parser) for text in texts]
        axes[name_of(override)] = tuple((one,) for one in choices)
    return axes


def choice(text: str, parser: OverridesParser) -> Choice:
    """What an override of one value means."""
    override = parser.parse_override(text)
    value = plain(override.value())
    return Choice(
        text=text,
        name=name_of(override),
        value=value,
        identity=f"{override.get_key_element()}={canonical(value)}",
    )


def name_of(override: Override) -> str:
    """The key that an override is about, whatever it does with it."""
    return override.get_key_element().lstrip("+~")


def texts_of(values: Mapping[str, Any]) -> list[str]:
    """Overrides by key: a text is taken as it would stand on the command line, any other value as itself."""
    return [f"{key}={value if isinstance(value, str) else spelt(value)}" for key, value in values.items()]


def spelt(value: Any) -> str:
    """A value such that Hydra's grammar gives it back.

    :param value: None, a bool, number or text, or lists and mappings of such
    """
    return str(Override._get_value_element_as_str(_element(value)))  # noqa: SLF001 - the inverse of Hydra's parser


def _element(value: Any) -> Any:
    if isinstance(value, str):
        return value if _is_read_as(value, value) else QuotedString(text=value, quote=Quote.single)
    if isinstance(value, list):
        return [_element(item) for item in value]
    if isinstance(value, dict):
        return {_element(key): _element(item) for key, item in value.items()}
    return value


def _is_read_as(text: str, value: Any) -> bool:
    """Whether a text without quotation marks is a value for Hydra, and a word that people would leave bare."""
    if not text.replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum():
        return False
    element = element_of(text)
    return element is not None and same(plain(element.value()), value)


def element_of(text: str) -> Override | None:
    """The override of some key by one value that is written like this; None if it is not one value."""
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return None
    return None if override.is_sweep_override() else override

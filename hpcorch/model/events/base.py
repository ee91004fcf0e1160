"""The base class of facts, the event that holds one, and their form on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, TypeAlias

from hpcorch.model.ids import are_ranges, is_time
from hpcorch.model.states import SubmissionForm
from hpcorch.model.values import INTEGERS_OF_JSON
from hpcorch.quick_dataclasses import dataclass

CONTROL_SOURCE = "control"
LEDGER_SOURCE = "ledger"  # of what is recorded of a sweep that has no directory to be written to
NO_SUBMISSION = -1  # for a run to which something happened before it was submitted

_MODULES: Mapping[str, tuple[str, ...]] = {
    "planning": (
        *("sweep-created", "launch-planned", "base-planned", "run-planned", "code-frozen", "environment-frozen"),
        *("run-reused", "run-reproduced", "rerun-planned", "feeding-planned"),
    ),
    "directory": ("directory-moved", "directory-removed"),
    "submission": (
        *("submission-intended", "submission-accepted", "submission-released", "submission-rejected"),
        *("submission-unknown", "keeper-submitted"),
    ),
    "scheduler": ("control-requested", "job-observed"),
    "attempt": (
        *("attempt-claimed", "attempt-verified", "environment-found", "drift-found", "attempt-seeded"),
        *("attempt-called", "attempt-signalled", "attempt-ended"),
    ),
    "checkpoint": (
        *("checkpoint-saved", "checkpoint-failed", "checkpoint-rejected", "checkpoint-restored"),
        "checkpoint-absent",
    ),
    "resources": ("lease-reported", "input-recorded", "metrics-logged", "metrics-summarised"),
    "command": ("command-started", "command-ended"),
}
#: Kind of fact -> the module that has its class, which is loaded when it is needed: a job needs few.
KINDS: Mapping[str, str] = {kind: f"{__package__}.{module}" for module, kinds in _MODULES.items() for kind in kinds}


Ranges: TypeAlias = str
"""Indices as :func:`hpcorch.model.ids.format_ranges` writes them."""
Time: TypeAlias = str
"""UTC, as :func:`hpcorch.model.ids.format_time` writes it."""
Form: TypeAlias = str
"""A word of SubmissionForm."""
StepValue: TypeAlias = list[Any]
"""A step, and the value that a metric had then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Base of all facts. ``kind`` names the class on disk and never changes.

    The name of the class follows from the kind: ``job-observed`` is JobObserved.

    :cvar archived: whether the ledger stores it; other facts stay in the journal only
    """

    kind: ClassVar[str]
    archived: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownFact(Fact):
    """A fact that this version does not understand, kept as it was written. Nothing follows from it.

    :ivar original_kind: one that this version does not know, or knows with other fields
    """

    kind = "unknown"
    original_kind: str
    body: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact in its place. ``seq`` counts from 0 within the source."""

    sweep: str
    source: str
    seq: int
    time: str
    fact: Fact

    @property
    def id(self) -> str:
        """The identity that makes ingestion idempotent."""
        return f"{self.sweep}/{self.source}/{self.seq}"


class _Form(NamedTuple):
    """How facts of a kind are written.

    :ivar names: of all fields
    :ivar required: those without a default
    :ivar accept: whether a field may have a value, by the field's name
    """

    cls: type[Fact]
    names: tuple[str, ...]
    required: frozenset[str]
    accept: Mapping[str, Callable[[Any], bool]]


@cache
def _form(kind: str) -> _Form:
    cls = getattr(import_module(KINDS[kind]), kind.title().replace("-", ""))
    items = dataclasses.fields(cls)
    required = (item.name for item in items if item.default is MISSING and item.default_factory is MISSING)
    return _Form(
        cls=cls,
        names=tuple(item.name for item in items),
        required=frozenset(required),
        accept={item.name: _acceptance(str(item.type)) for item in items},
    )


@cache
def _acceptance(annotation: str) -> Callable[[Any], bool]:
    """Whether a value from a journal is of the type that a field is annotated with."""
    if annotation.endswith(_OPTIONAL):
        inner = _acceptance(annotation.removesuffix(_OPTIONAL))
        return lambda value: value is None or inner(value)
    for container, prefix in ((list, "list["), (dict, "dict[str, ")):
        if annotation.startswith(prefix):
            inner = _acceptance(annotation[len(prefix) : -1])
            return lambda value: type(value) is container and all(map(inner, _items(value)))
    return _SIMPLE[annotation]


def _items(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def is_integer(value: Any) -> bool:
    """Whether the ledger has room for a value from JSON as an integer."""
    return type(value) is int and value in INTEGERS_OF_JSON


_OPTIONAL = " | None"
_SIMPLE: Mapping[str, Callable[[Any], bool]] = {
    "Any": lambda _: True,
    "bool": lambda value: type(value) is bool,
    "int": is_integer,
    "float": lambda value: type(value) is float or is_integer(value),
    "str": lambda value: type(value) is str,
    "Ranges": lambda value: type(value) is str and are_ranges(value),
    "Time": lambda value: type(value) is str and is_time(value),
    "Form": lambda value: any(value == form.value for form in SubmissionForm),
    "StepValue": lambda value: type(value) is list and len(value) == 2 and is_integer(value[0]),
}


def fact_class(kind: str) -> type[Fact]:
    """The class of the facts of a kind; UnknownFact of one that this version does not know."""
    return _form(kind).cls if kind in KINDS else UnknownFact


def kind_of(fact: Fact) -> str:
    """The kind under which a fact is written, even if this version does not know it."""
    return fact.original_kind if isinstance(fact, UnknownFact) else fact.kind


def to_body(fact: Fact) -> dict[str, Any]:
    """The fields of a fact as they are written, without those that are ``None``."""
    if isinstance(fact, UnknownFact):
        return dict(fact.body)
    return {name: value for name in _form(fact.kind).names if (value := getattr(fact, name)) is not None}


def from_body(kind: str, body: Mapping[str, Any]) -> Fact:
    """Read a fact back. Fields that this version does not know are ignored.

    A kind that this version does not know becomes UnknownFact; so does a known one that lacks a field it needs, or
    has a value of another type in one. A line is only checksummed, so anybody who may write to a journal decides
    what stands there.
    """
    if kind not in KINDS:
        return UnknownFact(original_kind=kind, body=dict(body))
    cls, names, required, accept = _form(kind)
    known = {name: body[name] for name in names if name in body}
    if not (required <= known.keys() and all(accept[name](value) for name, value in known.items())):
        return UnknownFact(original_kind=kind, body=dict(body))
    return cls(**known)

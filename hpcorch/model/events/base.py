"""The base class of facts, the event that holds one, and their form on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

from hpcorch.quick_dataclasses import dataclass

CONTROL_SOURCE = "control"
NO_SUBMISSION = -1  # for a run to which something happened before it was submitted

_MODULES: Mapping[str, tuple[str, ...]] = {
    "planning": (
        *("sweep-created", "launch-planned", "base-planned", "run-planned", "code-frozen", "environment-frozen"),
        *("run-reused", "run-reproduced", "rerun-planned", "feeding-planned"),
    ),
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
    """A fact of a kind that this version does not know, kept as it was written."""

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
    """How facts of a kind are written: the names of all fields, and of those without a default."""

    cls: type[Fact]
    names: tuple[str, ...]
    required: frozenset[str]


@cache
def _form(kind: str) -> _Form:
    cls = getattr(import_module(KINDS[kind]), kind.title().replace("-", ""))
    items = dataclasses.fields(cls)
    required = (item.name for item in items if item.default is MISSING and item.default_factory is MISSING)
    return _Form(cls=cls, names=tuple(item.name for item in items), required=frozenset(required))


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

    A kind that this version does not know, or a known one that lacks a field it needs, becomes UnknownFact.
    """
    if kind not in KINDS or not _form(kind).required <= body.keys():
        return UnknownFact(original_kind=kind, body=dict(body))
    cls, names, _ = _form(kind)
    return cls(**{name: body[name] for name in names if name in body})

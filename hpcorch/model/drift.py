"""Drift: something is not as it was frozen. Of what, how much it may matter, and what is done about it."""

from __future__ import annotations

from enum import Enum


class Aspect(str, Enum):
    """What drift may be of: each has its policy, ``hydra.launcher.drift.ASPECT``."""

    CODE = "code"
    CONFIGURATION = "configuration"
    ENVIRONMENT = "environment"
    INPUTS = "inputs"


class Policy(str, Enum):
    """What is done about drift that is found. It is on record in any case."""

    REFUSE = "refuse"  # the attempt ends before the task runs
    WARN = "warn"  # the run's log says so
    RECORD = "record"


class Severity(str, Enum):
    """How much a difference may matter for a result; in rising order of :attr:`rank`."""

    NOTE = "note"
    MINOR = "minor"
    MAJOR = "major"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)

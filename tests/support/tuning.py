"""Other times and sizes in this process, for the length of a test."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hpcorch import tunables


@dataclass(frozen=True)
class Tune:
    """``tune(LOCK_LEASE_S=0.5)`` sets what :mod:`hpcorch.tunables` has under that name.

    A program that a test starts sets it itself: ``from hpcorch import tunables; tunables.LOCK_LEASE_S = 0.5``.
    """

    patch: pytest.MonkeyPatch

    def __call__(self, **values: object) -> None:
        for name, value in values.items():
            self.patch.setattr(tunables, name, value)

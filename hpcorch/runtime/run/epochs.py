"""Where in an epoch of data a task is, so that a checkpoint may be saved in the middle of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from hpcorch.errors import UsageError
from hpcorch.runtime.run import generators

T = TypeVar("T")


class Epochs:
    """Iterates over epochs, one at a time.

    :ivar position: how many batches of the current epoch were given out, and the states of the generators that it
        began with; None between epochs. Plain values, for a checkpoint
    """

    def __init__(self) -> None:
        self.position: dict[str, Any] | None = None
        self._interrupted: tuple[dict[str, Any], Mapping[str, Any]] | None = None

    def restore(self, position: dict[str, Any] | None, at_save: Mapping[str, Any]) -> None:
        """Continue with the epoch in which a checkpoint was saved.

        :param at_save: the states of the generators at the save
        """
        self._interrupted = None if position is None else (position, at_save)

    def batches(self, loader: Iterable[T], registered: Mapping[str, Any]) -> Iterator[T]:
        """One epoch, or the rest of the interrupted one.

        :param registered: generators of the task's own
        :raises UsageError: another epoch is being iterated over
        """
        if self.position is not None:
            raise UsageError("batches() is for one loop at a time: iterate over the loader itself in the inner one")
        interrupted, self._interrupted = self._interrupted, None
        try:
            if interrupted is None:
                position = self.position = {"start": generators.capture(registered), "done": 0}
                iterator = iter(loader)
            else:
                position, at_save = interrupted
                self.position = position
                iterator = _resumed(loader, position, at_save, registered)
            for batch in iterator:
                position["done"] += 1
                yield batch
        finally:
            self.position = None


def _resumed(
    loader: Iterable[T], position: Mapping[str, Any], at_save: Mapping[str, Any], registered: Mapping[str, Any]
) -> Iterator[T]:
    generators.restore(position["start"], registered)
    iterator = iter(loader)
    next(islice(iterator, position["done"], position["done"]), None)
    # Not the states of now: what the task drew since it restored, such as a model's first weights, does not count.
    generators.restore(at_save, registered)
    return iterator

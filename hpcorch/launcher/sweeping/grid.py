"""The combinations of a sweep, by number: a sum of products, none of which is ever held as a whole."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import chain

from hpcorch.launcher.sweeping.choices import Axis, Choice
from hpcorch.quick_dataclasses import dataclass

#: How many combinations are looked at.
ENUMERABLE = 1_000_000
_TRIES_PER_RUN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """All combinations of the rows of some axes; the last axis varies fastest."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(len(axis) for axis in self.axes)

    def at(self, index: int) -> tuple[Choice, ...]:
        """The combination with a number from 0."""
        rows = []
        for axis in reversed(self.axes):
            index, row = divmod(index, len(axis))
            rows.append(axis[row])
        return tuple(chain.from_iterable(reversed(rows)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Some products, one after the other."""

    products: tuple[Product, ...]

    @property
    def size(self) -> int:
        """How many combinations there are, repeated ones included."""
        return sum(product.size for product in self.products)

    def at(self, index: int) -> tuple[Choice, ...]:
        """The combination with a number from 0.

        :raises IndexError: there are fewer
        """
        for product in self.products:
            if index < product.size:
                return product.at(index)
            index -= product.size
        raise IndexError(index)


def in_random_order(size: int, seed: int, wanted: int) -> Iterator[int]:
    """Numbers below ``size``, each at most once, the same ones for the same seed.

    :param wanted: how many will be used. Of more than a million numbers not all come, but a million and ten for
        each wanted
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    if size <= ENUMERABLE:
        yield from draw.sample(range(size), size)
        return
    seen: set[int] = set()
    for _ in range(ENUMERABLE + _TRIES_PER_RUN * wanted):
        number = draw.randrange(size)
        if number not in seen:
            seen.add(number)
            yield number

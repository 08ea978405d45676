"""Whose question comes next: owners take turns, so that one who asks much makes the others wait for one question at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class OwnerTurns(Generic[T]):
    """Order of waiting items by the turns of their owners.

    Args:
        owner_of: whose an item is.
    """

    def __init__(self, owner_of: Callable[[T], str]) -> None:
        self._owner_of = owner_of
        self._served: dict[str, int] = {}
        self._turn = 0

    def order(self, waiting: Iterable[T]) -> list[T]:
        """First items of all owners, then second ones, and so on; owners served longest ago come first."""
        ranks: Counter[str] = Counter()
        keyed = []
        for item in waiting:
            owner = self._owner_of(item)
            keyed.append(((ranks[owner], self._served.get(owner, -1)), item))
            ranks[owner] += 1
        self._served = {owner: turn for owner, turn in self._served.items() if owner in ranks}
        return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]

    def serve(self, items: Iterable[T]) -> None:
        """Note that these were served now."""
        self._turn += 1
        self._served.update({self._owner_of(item): self._turn for item in items})

# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon remembers for whoever looks in: who has held which block since when, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from saru.core.action import Change
from saru.core.settings import Division
from saru.status.holders import Holders

_COUNTED = {
    Change.LAPSED: "lapses",
    Change.TERM: "terms",
    Change.FENCED: "fences",
    Change.BLOCKS: "moves",
}


class Book:
    """Kept since the daemon started at `now`, in ns."""

    def __init__(self, divisions: Iterable[Division], now: int) -> None:
        self.holders = {division.id: Holders(division.blocks, now) for division in divisions}
        self.counts = dict.fromkeys(_COUNTED.values(), 0)
        self._reported: object = None

    def count(self, change: Change) -> None:
        """A change of this kind was told."""
        if change in _COUNTED:
            self.counts[_COUNTED[change]] += 1

    def follow(self, reported: object, held_by: Callable[[int], dict[str, int]], now: int) -> None:
        """Note who holds what of an id, as `held_by` says, if `reported` is another than before."""
        if reported != self._reported:
            self._reported = reported
            for number, holders in self.holders.items():
                holders.update(held_by(number), now)

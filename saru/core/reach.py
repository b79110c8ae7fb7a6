# SPDX-License-Identifier: GPL-2.0-or-later
"""Ping nodes: a director that reaches fewer of them than another one gives way to it.

Which of them reaches the world outside cannot be told by beats. A director that gives way shall
hold no blocks, so that they move as by a drain, and stands for nothing. If all reach equally few,
nobody gives way to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

MARK_BYTES = 4


class Reach(msgspec.Struct, frozen=True, array_like=True):
    """How many ping nodes a director reaches, of those that `mark` stands for.

    Counts with different marks say nothing about each other.
    """

    count: int
    mark: bytes


class Yielding:
    """Whether this node gives way. `settle`, in ns: for how long it must have been otherwise."""

    def __init__(self, settle: int) -> None:
        self.reach: Reach | None = None  # None: not known, or there are no ping nodes
        self.yields = False
        self.settle = settle
        self._since: int | None = None  # since when it should be otherwise

    def look(self, others: Iterable[Reach], now: int) -> bool:
        """Whether it is otherwise from now on.

        `others` are those of the directors that would hold the blocks of this one. Without any
        there is nobody to give way to, and nothing to wait for.
        """
        counts = [o.count for o in others if self.reach is not None and o.mark == self.reach.mark]
        if not counts:
            self._since = None
            changed, self.yields = self.yields, False
            return changed
        assert self.reach is not None
        if (self.reach.count < max(counts)) == self.yields:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now < self._since + self.settle:
            return False
        self._since = None
        self.yields = not self.yields
        return True

    def times(self) -> Iterator[int]:
        """When time alone changes it."""
        if self._since is not None:
            yield self._since + self.settle

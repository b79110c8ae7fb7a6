# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated time: what is to happen, in its order, and a check after every event."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timeline:
    """A world's time, us; `check` says what must hold whenever a kernel was `touched`."""

    def __init__(self) -> None:
        self.now = 0
        self.touched = False
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._order = 0

    def at(self, time: int, what: Callable[[], object]) -> None:
        """Do something at a time, us."""
        self._order += 1
        heapq.heappush(self._queue, (time, self._order, what))

    def run(self, until: int) -> None:
        """Let time pass up to `until`, checking after every event."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            time, _, what = heapq.heappop(queue)
            self.now = max(self.now, time)
            what()
            if self.touched:  # time alone makes nobody accept more
                self.check()
        self.now = max(self.now, until)
        self.check()

    def check(self) -> None:
        """Raise InvariantError if something is wrong at this very moment."""
        raise NotImplementedError

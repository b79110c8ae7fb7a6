# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has held each block since when, as seen from one place. Pure: `now` comes in, in ns."""

from __future__ import annotations

from collections.abc import Mapping

from saru.core.blocks import bitmap_blocks
from saru.status import Run


class Holders:
    """Follows the holders of the blocks of one id."""

    def __init__(self, blocks: int, now: int) -> None:
        self._held: dict[str, int] = {}
        self._every = (1 << blocks) - 1
        self._holder: list[str | None] = [None] * blocks
        self._since = [now] * blocks

    def update(self, held: Mapping[str, int], now: int) -> None:
        """Take note of who holds what now; `held` maps a director's name to its bitmap.

        A block in two bitmaps goes to the first name that has it. Costs what has changed.
        """
        free = self._every
        fresh: dict[str, int] = {}
        for name in sorted(held):
            fresh[name] = held[name] & free
            free &= ~fresh[name]
        lost = 0
        for name in self._held.keys() | fresh.keys():
            lost |= self._held.get(name, 0) & ~fresh.get(name, 0)
        for block in bitmap_blocks(lost):
            self._holder[block] = None
            self._since[block] = now
        for name, bitmap in fresh.items():
            gained = bitmap & ~self._held.get(name, 0)
            for block in bitmap_blocks(gained):
                self._holder[block] = name
                self._since[block] = now
        self._held = fresh

    @property
    def held(self) -> Mapping[str, int]:
        """Who holds what now, by name; nothing is in two hands here."""
        return self._held

    @property
    def unheld(self) -> int:
        """How many blocks nobody holds."""
        return self._holder.count(None)

    def runs(self, now: int) -> tuple[Run, ...]:
        """All blocks in order: neighbours with the same holder and the same start together."""
        runs: list[Run] = []
        first = 0
        for block in range(1, len(self._holder) + 1):
            if block < len(self._holder) and (
                self._holder[block] == self._holder[first]
                and self._since[block] == self._since[first]
            ):
                continue
            runs.append(
                Run(
                    first=first,
                    last=block - 1,
                    holder=self._holder[first],
                    since_ms=max(0, now - self._since[first]) // 1_000_000,
                )
            )
            first = block
        return tuple(runs)

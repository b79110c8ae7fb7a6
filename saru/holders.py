# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has held each block since when, as seen from one place. Pure: `now` comes in, in ns."""

from __future__ import annotations

from collections.abc import Mapping

from saru.status import Run


class Holders:
    """Follows the holders of the blocks of one id."""

    def __init__(self, blocks: int, now: int) -> None:
        self._holder: list[str | None] = [None] * blocks
        self._since = [now] * blocks

    def update(self, held: Mapping[str, int], now: int) -> None:
        """Take note of who holds what now; `held` maps a director's name to its bitmap.

        A block in two bitmaps goes to the first name that has it.
        """
        holder: list[str | None] = [None] * len(self._holder)
        for name in sorted(held, reverse=True):
            for block, bit in enumerate(reversed(f"{held[name]:b}"[-len(holder) :])):
                if bit == "1":
                    holder[block] = name
        for block, name_now in enumerate(holder):
            if name_now != self._holder[block]:
                self._holder[block] = name_now
                self._since[block] = now

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

# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of single probes."""

from __future__ import annotations

from bisect import bisect_left

from deploy.demonstration.record import Record


class Ledger(Record):
    """A record that is also asked what became of single blocks."""

    def twice(self) -> list[int]:
        """The probes that two directors accepted."""
        return [number for number, by in enumerate(self._accepted) if by.bit_count() > 1]

    def who(self, number: int) -> str:
        """A probe in words: its block, and who accepted it."""
        names = [name for bit, name in enumerate(self._names) if self._accepted[number] >> bit & 1]
        return f"block {self._blocks[number]}: {', '.join(names) or 'nobody'}"

    def answered(self, since: int) -> dict[int, int]:
        """By block, when the first probe was sent, of those since then, that was accepted."""
        found: dict[int, int] = {}
        for number in range(bisect_left(self._sent, since), len(self._sent)):
            if self._accepted[number]:
                found.setdefault(self._blocks[number], self._sent[number])
        return found

# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of the probes of single blocks."""

from __future__ import annotations

from bisect import bisect_left

from deploy.demonstration.record import Record


class Ledger(Record):
    """A record that is also asked what became of single blocks."""

    def answered(self, since: int) -> dict[int, int]:
        """By block, when the first probe was sent, of those since then, that was accepted."""
        found: dict[int, int] = {}
        for number in range(bisect_left(self._sent, since), len(self._sent)):
            if self._accepted[number]:
                found.setdefault(self._blocks[number], self._sent[number])
        return found

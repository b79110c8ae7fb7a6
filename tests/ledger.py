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

    def unanswered(self, since: int, until: int) -> int:
        """How many of the probes sent between two moments nobody accepted."""
        begin, end = bisect_left(self._sent, since), bisect_left(self._sent, until)
        return sum(not self._accepted[number] for number in range(begin, end))

    def longest(self, since: int) -> int:
        """The longest time, in ns, from a probe since then that nobody accepted until one of the
        same block that somebody did."""
        lost: dict[int, int] = {}
        longest = 0
        for number in range(bisect_left(self._sent, since), len(self._sent)):
            block = self._blocks[number]
            if not self._accepted[number]:
                lost.setdefault(block, self._sent[number])
            elif block in lost:
                longest = max(longest, self._sent[number] - lost.pop(block))
        return longest

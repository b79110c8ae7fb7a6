# SPDX-License-Identifier: GPL-2.0-or-later
"""A record of guests, whose copies of a probe may lie in a queue while its block moves."""

from __future__ import annotations

from tests.ledger import Ledger

MOVE = 5_000_000
"""ns; no block comes out of one director's hands and into another's in less."""


class QueuedLedger(Ledger):
    """Tells a probe that two held at a time from one that the second had late, and rightly.

    What a network card has taken in, a stalled guest sees when it goes on. If the block has become
    its own meanwhile, it accepts its copy of a probe that another director had accepted before it
    let the block go: two accepted the probe, and at no moment was the block two directors'. Then
    the second was later by a move at least, and from then on the block is his: the next probe of it
    that anybody accepts is not the first one's. A director that still holds what is another's does
    not pass for that: the other goes on accepting.
    """

    def twice(self, begin: int = 0, end: int | None = None) -> list[str]:
        """As of any record, but for those of `late` and `undecided`."""
        return self._stories(self._of_two(begin, end), False)

    def late(self) -> list[str]:
        """The probes that lay in a queue until their block was another's, in words."""
        return self._stories(self._of_two(), True)

    def undecided(self) -> list[str]:
        """Those of whose blocks nobody has accepted a later probe yet, in words."""
        return self._stories(self._of_two(), None)

    def _stories(self, numbers: list[int], moved: bool | None) -> list[str]:
        return [self._story(number) for number in numbers if self._moved(number) is moved]

    def _moved(self, number: int) -> bool | None:
        """Whether the block had moved from the first who accepted a probe to the second.

        None until somebody has accepted a later probe of the block.
        """
        frames = sorted(self._when[number], key=lambda frame: frame[1])
        (first, _), (second, late) = frames[0], frames[-1]
        before = max(when for name, when in frames if name == first)
        if {name for name, _ in frames} != {first, second} or late - before < MOVE:
            return False
        block = self._blocks[number]
        for other in range(number + 1, len(self._sent)):
            after = [name for name, when in self._when[other] if when > late]
            if self._blocks[other] == block and after:
                return first not in after
        return None

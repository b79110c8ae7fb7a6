# SPDX-License-Identifier: GPL-2.0-or-later
"""A record of guests, whose copies of a probe may lie in a queue while its block moves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from tests.ledger import Ledger

MOVE = 5_000_000
"""ns; no block comes out of one director's hands and into another's in less."""
BEHIND = 30_000_000
"""ns; a director that is later than another by that much has a queue, not only a longer way."""
AROUND = 3
"""Probes of the same block that are told of before one, and after it."""


class QueuedLedger(Ledger):
    """Tells a probe that two held at a time from one that the second had late, and rightly.

    What a network card has taken in, a stalled guest sees when it goes on. If the block has become
    its own meanwhile, it accepts its copy of a probe that another director had accepted before it
    let the block go: two accepted the probe, and at no moment was the block two directors'. Then
    the second was later by a move at least, and from then on the block is his: the next probe of it
    that anybody accepts is not the first one's. A director that still holds what is another's does
    not pass for that: the other goes on accepting.

    A block may also have gone there and back between two probes of it. The next one is the first
    one's then, alone, and the one before was not the second's: he cannot have held it all along.
    And he is seen to have had a queue: he was far behind with this probe, and behind with another.
    """

    def twice(self, begin: int = 0, end: int | None = None) -> list[str]:
        """As of any record, but for those of `late` and `undecided`."""
        return self._stories(self._of_two(begin, end), False)

    def late(self) -> list[str]:
        """The probes that lay in a queue until their block was another's, in words."""
        return self._stories(self._of_two(), True)

    def undecided(self, end: int | None = None) -> list[str]:
        """Those, sent before `end`, of whose blocks nobody has accepted a later probe yet."""
        return self._stories(self._of_two(0, end), None)

    def _story(self, number: int) -> str:
        """With what became of the probes of the same block around it."""
        before, after = islice(self._before(number), AROUND), islice(self._after(number), AROUND)
        around = [super(QueuedLedger, self)._story(other) for other in (*before, *after)]
        return f"{super()._story(number)} (around it: {'; '.join(around)})"

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
        for other in self._after(number):
            after = {name for name, when in self._when[other] if when > late}
            if after:
                holders = self._holders_before(number)
                there_and_back = after == {first} and len(holders) > 0 and second not in holders
                return first not in after or (
                    there_and_back
                    and late - before >= BEHIND
                    and self._behind(second, before, number)
                )
        return None

    def _holders_before(self, number: int) -> set[str]:
        """Who accepted the last probe of the same block before this one that anybody did."""
        last = next(self._before(number), None)
        return set() if last is None else {name for name, _ in self._when[last]}

    def _before(self, number: int) -> Iterator[int]:
        """The accepted probes of the same block before one, backwards."""
        return self._alike(number, range(number - 1, -1, -1))

    def _after(self, number: int) -> Iterator[int]:
        """Those after it."""
        return self._alike(number, range(number + 1, len(self._sent)))

    def _alike(self, number: int, others: range) -> Iterator[int]:
        block = self._blocks[number]
        return (other for other in others if self._blocks[other] == block and self._when[other])

    def _behind(self, who: str, moment: int, number: int) -> bool:
        """Whether he took a move's time beyond a moment for another probe sent by then, too."""
        return any(
            name == who and when - moment >= MOVE and other != number
            for other in range(bisect_right(self._sent, moment))
            for name, when in self._when[other]
        )

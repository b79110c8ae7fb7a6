# SPDX-License-Identifier: GPL-2.0-or-later
"""Which blocks change hands, so that everybody's lie evenly over the whole space.

How many blocks each owner shall have is settled before (`saru.core.allocation`).
Whoever shall have fewer only gives, whoever shall have more only takes, so the
number of blocks that change hands is fixed, and the least possible. Free is
which ones. That is decided from coarse to fine:

1. The space is cut at the ends of the port ranges that clients use, into at
   most five cells, and every owner's number is divided over the cells in
   proportion to their widths (`_divide`). A range can be two cells or more, and
   rounding errors add up there. So pairs of owners then trade: one takes its
   next block in this cell instead of that, the other the reverse. The best trade
   is made until none is worth it (`_Trades`).
2. Each cell is divided further, at every 32nd part of the space.
3. In each part, an owner that gives keeps the first block of each of its slots,
   the stretches that would hold one block each if its blocks lay evenly. Owners
   that take have their due places, the middles of their empty slots. The blocks
   that came free, in order, go to the due places, in order (`_deal`).

The rule "giving or taking only" is kept by bounds. Let an owner have l blocks to
the left of a cut and r to the right, and shall have n in all. If it takes, its
future number on the left lies in l … n - r; if it gives, in n - r … l (and in
0 … n). At a cut everybody's numbers on the left must add up to the blocks there.
That is always possible: unbounded proportional numbers add up, and the bounds of
the givers and takers allow every sum from "nobody moves" on.

Even lengths are what the `range` map needs; the `hash` map does not care.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from itertools import pairwise, permutations
from math import inf
from struct import pack

from saru.core.blocks import PORT_BITS

CLIENT_PORTS = {"Linux": (32768, 61000), "Windows/BSD": (49152, 65536), "NAT": (1024, 65536)}
"""The source ports of common clients: first, and one past the last."""

TOLERANCE = 0.02
"""An owner's part of a client range may be off by this much of its share, or by one block."""

_PARTS = 32
_GUARD = 0.7
_GUARD_WEIGHT = 10
_WORTH = 0.01
_FRACTION_BITS = 16
_OWNER_BITS = 8

Counts = Sequence[int]
"""A number of blocks for each owner: 0 (nobody), 1, 2, …"""


def redistribute(owners: bytearray, counts: Counts, ideals: Sequence[float]) -> None:
    """Change the fewest owners, one byte a block, so that owner i gets counts[i] blocks.

    `counts` add up to the number of blocks. ideals[i] is the number of blocks, not
    rounded, that owner i's weight asks for: where counts[i] was rounded up, its
    parts of the client ranges rather turn out small.
    """
    blocks = len(owners)
    ranges = {name: _scaled(ports, blocks) for name, ports in CLIENT_PORTS.items()}
    ends = {end for ends in ranges.values() for end in ends}
    cells = sorted({0, blocks} | ends)
    edges = sorted({0, blocks} | ends | set(range(0, blocks, max(1, blocks // _PARTS))))
    below = {0: [0] * len(counts)}
    for start, end in pairwise(edges):
        part = owners[start:end]
        below[end] = [number + part.count(owner) for owner, number in enumerate(below[start])]
    if below[blocks] == list(counts):
        return

    trades = _Trades(cells, below, _divide(cells, below, counts), ideals)
    for (start, end), numbers in zip(pairwise(cells), trades.settle(), strict=True):
        inside = [edge for edge in edges if start <= edge <= end]
        for (left, right), wanted in zip(
            pairwise(inside), _divide(inside, below, numbers), strict=True
        ):
            if wanted != _between(below, left, right):
                _deal(owners, left, right, wanted)


def _scaled(ports: tuple[int, int], blocks: int) -> tuple[int, int]:
    """A range of ports as a range of blocks; a block counts if half of it is inside."""
    first, end = (round(port * blocks / (1 << PORT_BITS)) for port in ports)
    return first, end


def _between(below: dict[int, list[int]], start: int, end: int) -> list[int]:
    """How many blocks each owner has from start to end, by its numbers below each edge."""
    return [after - before for before, after in zip(below[start], below[end], strict=True)]


def _divide(edges: Counts, below: dict[int, list[int]], counts: Counts) -> list[list[int]]:
    """Divide `counts` over the parts between `edges`: one list of counts a part."""
    if len(edges) == 2:
        return [list(counts)]
    middle = len(edges) // 2
    start, cut, end = edges[0], edges[middle], edges[-1]
    left = _split(
        counts, cut - start, end - start, _between(below, start, cut), _between(below, cut, end)
    )
    right = [count - number for count, number in zip(counts, left, strict=True)]
    return _divide(edges[: middle + 1], below, left) + _divide(edges[middle:], below, right)


def _split(counts: Counts, cut: int, width: int, left: Counts, right: Counts) -> list[int]:
    """What each owner shall have of the first `cut` of `width` blocks, where it has `left` now.

    Within its bounds each gets the whole number nearest to its proportion; those
    whose proportion is nearest to the next one make up for the difference.
    """
    numbers: list[int] = []
    bounds: list[tuple[int, int]] = []
    errors: list[int] = []  # how far above the proportion, in 1/width of a block
    for count, on_left, on_right in zip(counts, left, right, strict=True):
        low, high = sorted((on_left, count - on_right))
        low, high = max(low, 0), min(high, count)
        number = min(max((2 * count * cut + width) // (2 * width), low), high)
        numbers.append(number)
        bounds.append((low, high))
        errors.append(number * width - count * cut)
    missing = cut - sum(numbers)
    step = 1 if missing > 0 else -1
    while missing:
        ready = sorted(
            (step * errors[owner], owner)
            for owner, (low, high) in enumerate(bounds)
            if low <= numbers[owner] + step <= high
        )
        for _, owner in ready[: abs(missing)]:
            numbers[owner] += step
            errors[owner] += step * width
            missing -= step
    return numbers


class _Trades:
    """Pairs of owners trade between cells until no trade makes the client ranges more even."""

    def __init__(
        self,
        edges: Counts,
        below: dict[int, list[int]],
        wanted: list[list[int]],
        ideals: Sequence[float],
    ) -> None:
        has = [_between(below, start, end) for start, end in pairwise(edges)]
        self._has = [list(cells) for cells in zip(*has, strict=True)]
        self._wants = [list(cells) for cells in zip(*wanted, strict=True)]
        self._ideals = ideals
        self._ranges = [
            (edges.index(first), edges.index(end), (end - first) / edges[-1])
            for first, end in (_scaled(ports, edges[-1]) for ports in CLIENT_PORTS.values())
            if first < end
        ]
        self._effects = {
            (source, target): [
                (first <= target < end) - (first <= source < end) for first, end, _ in self._ranges
            ]
            for source, target in permutations(range(len(wanted)), 2)
        }
        """By (from cell, to cell): how many blocks more or less each client range gets."""
        self._prices = {pair: [inf] * len(ideals) for pair in self._effects}
        """By (from cell, to cell) and owner: what it costs if the owner has one block less in
        the first and one more in the second; inf if it may not."""
        for owner in range(len(ideals)):
            self._set_prices(owner)

    def settle(self) -> list[list[int]]:
        """Make every trade that is worth it, the best first; one list of counts a cell."""
        while True:
            best = (-_WORTH, 0, 0, 0, 0)
            for source, target in self._effects:
                if source < target:
                    best = min(best, self._best(source, target))
            _, one, other, source, target = best
            if one == other:
                return [list(numbers) for numbers in zip(*self._wants, strict=True)]
            for owner, step in ((one, 1), (other, -1)):
                self._wants[owner][source] -= step
                self._wants[owner][target] += step
                self._set_prices(owner)

    def _best(self, source: int, target: int) -> tuple[float, int, int, int, int]:
        """The best trade between two cells: price, owner that goes, owner that comes, cells."""
        there, back = self._prices[source, target], self._prices[target, source]
        going = nsmallest(2, range(len(there)), key=there.__getitem__)
        coming = nsmallest(2, range(len(back)), key=back.__getitem__)
        return min(
            (there[one] + back[other], one, other, source, target)
            for one in going
            for other in coming
            if one != other
        )

    def _set_prices(self, owner: int) -> None:
        has, wants, ideal = self._has[owner], self._wants[owner], self._ideals[owner]
        whole = sum(wants)
        takes = whole > sum(has)
        changes: list[tuple[float, float, float]] = []  # for no block, one more, one less
        for first, end, part in self._ranges:
            number = sum(wants[first:end])
            now, more, less = (
                _unevenness(number + step, whole * part, ideal * part) for step in (0, 1, -1)
            )
            changes.append((0.0, more - now, less - now))
        for pair, steps in self._effects.items():
            source, target = pair
            if takes:
                allowed = wants[source] > has[source]
            else:
                allowed = wants[source] > 0 and wants[target] < has[target]
            price = inf
            if allowed:
                price = sum(change[step] for change, step in zip(changes, steps, strict=True))
            self._prices[pair][owner] = price


def _unevenness(number: int, even: float, ideal: float) -> float:
    """How bad it is that an owner's part of a client range is `number`, by the tolerance.

    Off from an even part of its whole number of blocks: that stays when weights
    change a little or others come and go, and its number does not. Off from an even
    part of its ideal, too, but only beyond `_GUARD`, on the way out of the tolerance.
    """
    tolerance = max(1.0, TOLERANCE * ideal)
    lasting = (number - even) / tolerance
    beyond = max(0.0, abs(number - ideal) / tolerance - _GUARD)
    return lasting * lasting + _GUARD_WEIGHT * beyond * beyond


def _deal(owners: bytearray, start: int, end: int, wanted: Counts) -> None:
    """Hand blocks over between start and end so that owner i gets wanted[i] of them there."""
    part = owners[start:end]
    has: list[list[int]] = [[] for _ in wanted]
    add = [offsets.append for offsets in has]
    for offset, owner in enumerate(part):
        add[owner](offset)
    free: list[int] = []
    due: list[int] = []
    for owner, (offsets, number) in enumerate(zip(has, wanted, strict=True)):
        if number < len(offsets):
            free += _surplus(offsets, number, len(part))
        elif number > len(offsets):
            due += _due(offsets, number, len(part), owner)
    free.sort()
    due.sort()
    takers = pack(f"<{len(due)}Q", *due)[::8]  # the lowest byte of each place: its owner
    for offset, taker in zip(free, takers, strict=True):
        part[offset] = taker
    owners[start:end] = part


def _surplus(offsets: Counts, number: int, width: int) -> Counts:
    """What to give of these blocks to be left with `number`: all but the first in each slot.

    Slot k begins at k * width / number. A block that finds all slots up to its own
    filled is surplus, until enough are; there are always enough, as there are no more
    than `number` slots to fill.
    """
    if not number:
        return offsets
    surplus: list[int] = []
    begin = 0  # of the first slot not filled, in 1/number of a block
    for offset in offsets:
        if offset * number < begin:
            surplus.append(offset)
        else:
            begin += width
    return surplus[: len(offsets) - number]


def _due(offsets: Counts, number: int, width: int, owner: int) -> list[int]:
    """The places where an owner that has `offsets` is due a block to reach `number`.

    A place is the middle of a slot that none of its blocks fills, in 1/65536 of a
    block, shifted to carry the owner in its lowest byte: so places of all owners
    can be sorted as plain numbers. At equal places the lower owner comes first.
    A block fills the first slot not filled yet that does not end before it.
    """
    slot = (width << _FRACTION_BITS) // number << _OWNER_BITS
    places = range((slot >> _OWNER_BITS + 1 << _OWNER_BITS) + owner, slot * number, slot)
    if not offsets:
        return list(places)
    fills = [(offset << _FRACTION_BITS + _OWNER_BITS) - slot // 2 for offset in offsets]
    fills.append(slot * number)  # beyond all places
    coming = iter(fills)
    fill = next(coming)
    empty: list[int] = []
    for place in places:
        if fill <= place:
            fill = next(coming)
        else:
            empty.append(place)
    return empty[: number - len(offsets)]

# SPDX-License-Identifier: GPL-2.0-or-later
"""The allocations that this node has received or made."""

from __future__ import annotations

from saru.core.beat import Allocation, Beat, Offer
from saru.core.term import Term, Version

KEEP = 16  # allocations per id: a change of master needs the few that are still reported


class Library:
    """The newest allocations of each id."""

    def __init__(self) -> None:
        self._shelves: dict[int, dict[Version, Allocation]] = {}
        self._asked: dict[tuple[str, int, Version], int] = {}
        self._offers: dict[int, Offer] = {}
        self.known = 0  # grows with every allocation learnt

    def add(self, allocation: Allocation) -> None:
        """Keep an allocation; the oldest of its id makes room."""
        shelf = self._shelves.setdefault(allocation.id, {})
        if allocation.version in shelf:
            return
        shelf[allocation.version] = allocation
        self.known += 1
        if len(shelf) > KEEP:
            del shelf[min(shelf)]

    def get(self, number: int, version: Version) -> Allocation | None:
        """The allocation of that id and version, if it is here."""
        return self._shelves.get(number, {}).get(version)

    def newest(self, number: int, term: Term | None) -> Allocation | None:
        """The newest allocation of that id and term."""
        versions = [v for v in self._shelves.get(number, ()) if v.term == term]
        return self._shelves[number][max(versions)] if versions else None

    def offer(self, number: int, term: Term | None) -> Offer | None:
        """The newest allocation of that id and term, as a beat names it."""
        newest = self.newest(number, term)
        if newest is None:
            return None
        old = self._offers.get(number)
        if old is None or old.version != newest.version:
            old = self._offers[number] = Offer(number, newest.version, newest.digest())
        return old

    def empty(self, beat: Beat) -> bool:
        """Whether the versions that a beat reports name no block for its session."""
        for report in beat.reports:
            for version in (report.taken, report.taking):
                if version is None:
                    continue
                allocation = self.get(report.id, version)
                if allocation is None or allocation.bitmap(beat.node, beat.session):
                    return False
        return True

    def turn(self, asker: str, number: int, version: Version, holders: list[str]) -> str:
        """Whose turn it is to answer: the next holder by name each time the asker asks again."""
        key = (asker, number, version)
        count = self._asked.get(key, 0)
        self._asked = {key: count + 1}
        return holders[count % len(holders)]

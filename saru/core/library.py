# SPDX-License-Identifier: GPL-2.0-or-later
"""The allocations that this node has received or made."""

from __future__ import annotations

from collections.abc import Iterable

from saru.core.beat import Allocation, Beat, Offer, Report, Want
from saru.core.term import Term, Version

KEEP = 16  # allocations per id, beside those that somebody reports


class Library:
    """The newest allocations of each id, and those that somebody reports to hold.

    A master cannot make its first allocation without the contents of every version reported, old as
    it may be: what is reported is never thrown away.
    """

    def __init__(self) -> None:
        self._shelves: dict[int, dict[Version, Allocation]] = {}
        self._reported: dict[str, frozenset[tuple[int, Version]]] = {}
        self._asked: dict[str, dict[Want, int]] = {}
        self._offers: dict[int, Offer] = {}
        self.known = 0  # grows with every allocation learnt

    def add(self, allocation: Allocation) -> None:
        """Keep an allocation; the oldest of its id that nobody reports makes room."""
        shelf = self._shelves.setdefault(allocation.id, {})
        if allocation.version in shelf:
            return
        shelf[allocation.version] = allocation
        self.known += 1
        if len(shelf) > KEEP:
            needed = frozenset().union(*self._reported.values())
            spare = [version for version in shelf if (allocation.id, version) not in needed]
            for version in sorted(spare)[: len(shelf) - KEEP]:
                del shelf[version]

    def report(self, node: str, reports: Iterable[Report]) -> None:
        """`node` reports to hold these versions now, and no others."""
        versions = ((r.id, v) for r in reports for v in (r.taken, r.taking) if v is not None)
        self._reported[node] = frozenset(versions)

    def needed(self, term: Term | None) -> tuple[Allocation, ...]:
        """What somebody reports to hold, and the newest of each id in `term`."""
        needed = frozenset[tuple[int, Version]]().union(*self._reported.values())
        for number in self._shelves:
            newest = self.newest(number, term)
            if newest is not None:
                needed |= {(number, newest.version)}
        return tuple(
            allocation
            for number, version in sorted(needed)
            if (allocation := self.get(number, version)) is not None
        )

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

    def asked(self, asker: str, wants: Iterable[Want]) -> list[tuple[Want, int]]:
        """`asker` wants these now; with each, how many times running it has asked before."""
        before = self._asked.get(asker, {})
        now = {want: before.get(want, -1) + 1 for want in wants}
        self._asked[asker] = now
        return list(now.items())

    def turn(self, want: Want, before: int, nodes: Iterable[str]) -> str | None:
        """Who of `nodes` answers a want that was there so many times before; None if nobody can.

        One of those who report to hold it answers at a time: the next by name whenever it is asked
        for again.
        """
        key = (want.id, want.version)
        holders = sorted(n for n in nodes if key in self._reported.get(n, ()))
        return holders[before % len(holders)] if holders else None

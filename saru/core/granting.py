# SPDX-License-Identifier: GPL-2.0-or-later
"""R5: the master's allocations, and the next safe step towards who should hold what.

A block moves in two versions: out of the old hands, and, once that is acknowledged, into the new.
Both fall out of one rule: a version takes from everybody what the plan does not leave him, and
gives a director only what nobody else can still be holding.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable

import msgspec

from saru.core.allocation import plan
from saru.core.beat import Allocation, Grant, Report, Want
from saru.core.blocks import bitmap_blocks
from saru.core.settings import Division
from saru.core.term import Session, Term, Version

# Blocks of an id that are between two hands at a time, at most. What a kernel needs to take a table
# grows with the blocks that change, and a block that moves is unheld for two of these times.
MOVE_MAX = 1024


class Standing(enum.Enum):
    """What the master can say of a director at this moment."""

    REPORTED = "reported"  # in our term, from less than L ago
    FENCED = "fenced"  # or gone for good: it holds nothing
    UNKNOWN = "unknown"


class Director(msgspec.Struct, frozen=True):
    """A director as the master sees it now; it is news only when one of these fields changes."""

    node: str
    session: Session
    standing: Standing
    reports: tuple[Report, ...]
    weight: int  # 0: shall hold nothing
    joined: bool  # may take blocks from a live holder
    grantable: bool  # in our term, in contact and with a lease


Lookup = Callable[[int, Version], Allocation | None]


class _Ledger:
    """One id: what was issued in this term, and what is meant to become of it."""

    def __init__(self, division: Division, term: Term) -> None:
        self.id = division.id
        self.blocks = division.blocks
        self.everything = (1 << division.blocks) - 1
        self.term = term
        self.issued: list[Allocation] = []  # the newest last; older ones until all acknowledge
        self.intent: dict[str, int] = {}
        self._planned_for: object = None
        self._planned_from: dict[str, int] = {}
        self.wants: list[Want] = []

    @property
    def made(self) -> Allocation | None:
        return self.issued[-1] if self.issued else None

    def report(self, director: Director) -> Report | None:
        return next((r for r in director.reports if r.id == self.id), None)

    def may_hold(self, director: Director, lookup: Lookup) -> int:
        """The blocks that `director` may be holding or may still come to hold: R5's (a) and (b)."""
        if director.standing is Standing.FENCED:
            return 0
        report = self.report(director)
        if report is None or self._unaccounted(director):
            return self.everything
        held = 0
        for version in (report.taken, report.taking):
            if version is None:
                continue
            allocation = lookup(self.id, version)
            if allocation is None:
                self.wants.append(Want(self.id, version))
                return self.everything
            held |= allocation.bitmap(director.node, director.session)
        for allocation in self.issued:
            if report.taken is None or allocation.version > report.taken:
                held |= allocation.bitmap(director.node, director.session)
        return held

    def current(
        self, directors: Iterable[Director], may: dict[str, int]
    ) -> dict[str, tuple[Session, int]] | None:
        """In whose hands the blocks are; None while the first allocation must still wait.

        The first one of a term keeps every reported holder; it waits until each director has
        reported, and nothing is on its way into a kernel.
        """
        hands: dict[str, tuple[Session, int]] = {}
        if self.made is None:
            taken = 0
            for director in directors:
                if director.standing is Standing.FENCED:
                    continue
                report = self.report(director)
                if report is None or self._unaccounted(director) or report.taking:
                    return None
                if self.wants:
                    return None
                # Two reported holders of one block do not exist under a quorum; without one they
                # do after a partition: the first by name keeps it, the other lets go.
                hands[director.node] = (director.session, may[director.node] & ~taken)
                taken |= may[director.node]
            return hands
        alive = {d.node: d for d in directors if d.standing is not Standing.FENCED}
        for grant in self.made.grants:
            holder = alive.get(grant.node)
            if holder is None:
                continue
            if holder.standing is Standing.UNKNOWN or holder.session == grant.session:
                hands[grant.node] = (grant.session, grant.bitmap())
        return hands

    def replan(self, directors: Iterable[Director], hands: dict[str, tuple[Session, int]]) -> None:
        """Say anew who should hold what, if that has changed.

        A block between two hands keeps its destination, and a plan stands while it is carried out:
        a new one would cost the time that the blocks on their way are unheld.
        """
        weights: dict[str, int] = {}
        joined: list[str] = []
        for director in directors:
            silent = director.standing is Standing.UNKNOWN and director.node not in hands
            if director.standing is Standing.FENCED or silent:
                continue
            weights[director.node] = director.weight
            if director.joined:
                joined.append(director.node)
        held = 0
        for _, bitmap in hands.values():
            held |= bitmap
        holding = {node: hands[node][1] if node in hands else 0 for node in weights}
        for node, bitmap in self.intent.items():
            if weights.get(node):
                holding[node] |= bitmap & ~held
        if self._planned_for != (weights, joined) or self._strayed(holding):
            self.intent = plan(self.blocks, holding, weights, joined)
            self._planned_for, self._planned_from = (weights, joined), holding

    def _strayed(self, holding: dict[str, int]) -> bool:
        """Whether anybody holds blocks that he neither shall have nor had when this was planned."""
        return any(
            held & ~self.intent.get(node, 0) & ~self._planned_from.get(node, 0)
            for node, held in holding.items()
        )

    def _staying(
        self,
        directors: Iterable[Director],
        hands: dict[str, tuple[Session, int]],
        may: dict[str, int],
    ) -> dict[str, int]:
        """The blocks that stay in their hands for the moment, though others shall have them.

        They wait while nobody could be given them, because somebody is unaccounted for, and where
        more than MOVE_MAX would be between two hands.
        """
        leaving = 0
        for director in directors:
            if director.standing is not Standing.FENCED and director.node in hands:
                leaving |= may[director.node] & ~hands[director.node][1]
        budget = max(0, MOVE_MAX - leaving.bit_count())
        if self.wants or any(self._unaccounted(director) for director in directors):
            budget = 0
        staying: dict[str, int] = {}
        for node, (_, held) in hands.items():
            out = held & ~self.intent.get(node, 0)
            if out.bit_count() > budget:
                first = bitmap_blocks(out)[budget]
                staying[node] = out >> first << first
            budget -= (out & ~staying.get(node, 0)).bit_count()
        return staying

    def _unaccounted(self, director: Director) -> bool:
        """Whether there is no telling what `director` holds."""
        if director.standing is Standing.FENCED:
            return False
        return director.standing is Standing.UNKNOWN or self.report(director) is None

    def step(
        self, directors: tuple[Director, ...], lookup: Lookup, anew: bool = False
    ) -> Allocation | None:
        """The next version, if one is due; `anew`: though it names the same holders again."""
        self.wants.clear()
        may = {director.node: self.may_hold(director, lookup) for director in directors}
        self._forget(directors)
        hands = self.current(directors, may)
        if hands is None:
            return None
        self.replan(directors, hands)
        staying = self._staying(directors, hands, may)
        grants: list[Grant] = []
        for director, others in zip(directors, _others(directors, may), strict=True):
            session, now = hands.get(director.node, (director.session, 0))
            wanted = self.intent.get(director.node, 0)
            held = now & (wanted | staying.get(director.node, 0))
            if director.grantable and session == director.session:
                held |= wanted & ~others
            if held:
                size = (self.blocks + 7) // 8
                grants.append(Grant(director.node, session, held.to_bytes(size, "little")))
        if self.made is not None and self.made.grants == tuple(grants) and not anew:
            return None
        serial = self.made.version.serial + 1 if self.made else 1
        allocation = Allocation(self.id, Version(self.term, serial), tuple(grants))
        self.issued.append(allocation)
        return allocation

    def _forget(self, directors: tuple[Director, ...]) -> None:
        """Drop the issued versions, but for the newest, by which nobody can come to hold blocks."""
        old = [a for a in self.issued[:-1] if any(self._may_yet_take(d, a) for d in directors)]
        self.issued = old + self.issued[-1:]

    def _may_yet_take(self, director: Director, allocation: Allocation) -> bool:
        """Whether `director` may come to hold blocks by `allocation`."""
        named = next((g.session for g in allocation.grants if g.node == director.node), None)
        if named is None or director.standing is Standing.FENCED:
            return False
        if director.standing is Standing.UNKNOWN:
            return True
        if director.session > named:
            return False
        report = self.report(director)
        return report is None or report.taken is None or allocation.version > report.taken


def _others(directors: tuple[Director, ...], may: dict[str, int]) -> list[int]:
    """For each director, what the others together may hold."""
    before = [0]
    for director in directors:
        before.append(before[-1] | may[director.node])
    after = 0
    result: list[int] = []
    for place in range(len(directors) - 1, -1, -1):
        result.append(before[place] | after)
        after |= may[directors[place].node]
    return result[::-1]


class Granting:
    """A master's allocations in its term. Directors are given in the order of their names."""

    def __init__(self, term: Term, divisions: tuple[Division, ...]) -> None:
        self._ledgers = [_Ledger(division, term) for division in divisions]
        self._seen: tuple[Director, ...] | None = None
        self._known = -1

    def step(
        self,
        directors: tuple[Director, ...],
        lookup: Lookup,
        known: int,
        anew: Collection[int] = (),
    ) -> list[Allocation]:
        """The versions that are due now. `known` grows with every allocation `lookup` learns.

        Of the ids in `anew` there is one in any case, if there has been one already.
        """
        if directors == self._seen and known == self._known and not anew:
            return []
        self._seen, self._known = directors, known
        steps = [ledger.step(directors, lookup, ledger.id in anew) for ledger in self._ledgers]
        return [allocation for allocation in steps if allocation is not None]

    def wants(self) -> tuple[Want, ...]:
        """The reported allocations that the master lacks."""
        return tuple(dict.fromkeys(want for ledger in self._ledgers for want in ledger.wants))

    def made(self) -> tuple[Allocation, ...]:
        """The newest allocation of each id that has one."""
        return tuple(ledger.made for ledger in self._ledgers if ledger.made is not None)

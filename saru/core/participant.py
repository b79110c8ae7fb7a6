# SPDX-License-Identifier: GPL-2.0-or-later
"""What every node does, whoever tells it who is alive: its tables, its lease, its share.

A participant takes what it is granted (R5), keeps it as long as it has a lease (R2), and lets go
when that has passed (R3), the tables first (R7). Where the lease comes from, and who is master, is
up to those that inherit: `Coordinator` by beats, `EnsembleCoordinator` by ZooKeeper. The daemon
drives either in the same way: every event gives the actions to carry out, in their order, and
`wake` says when `tick` is due.
"""

from __future__ import annotations

import abc
from typing import Generic, TypeVar

from saru.core.action import Action, Change, Drop, Note, Push, Renew
from saru.core.beat import Allocation
from saru.core.holding import Holding
from saru.core.notes import blocks_note
from saru.core.reach import Reach, Yielding
from saru.core.settings import Settings
from saru.core.share import Share
from saru.core.term import Session, Term, Version

More = TypeVar("More")
"""The actions that a kind of participant asks for, beside `Action`."""


class Participant(abc.ABC, Generic[More]):
    """The state of one node. `now` is CLOCK_BOOTTIME in ns, read after the event it judges."""

    LAPSED_WHY = "nobody proved in time that it is alive"

    def __init__(
        self, settings: Settings, node: str, session: Session, now: int, weight: int
    ) -> None:
        self.settings = settings
        self.node = node
        self.session = session
        self.start = now
        self.share = Share(weight)
        self.weight = weight  # the share's, but 0 for one that is about to leave
        self.able = False  # the guard: no rules, no blocks
        self.left = False
        self.retiring = False  # it stands for nothing any more
        self.yielding = Yielding(settings.ping_settle)
        self.lease = 0  # until when; 0: none
        self.next_beat = now  # when it is to prove once more that it is alive
        self.dropping = False  # the tables are being deleted; nothing is said before they are
        self.holdings = {d.id: Holding(d.id) for d in settings.divisions}
        self._blocks = {d.id: d.blocks for d in settings.divisions}
        self._actions: list[Action | More] = []

    # --- what those that inherit know -----------------------------------------------------------

    @abc.abstractmethod
    def _settle(self, now: int) -> list[Action | More]:
        """Draw the conclusions from an event, and give the actions for it."""

    @abc.abstractmethod
    def _resign(self, why: str) -> None:
        """Be master no more."""

    @abc.abstractmethod
    def _lapse(self, why: str) -> None:
        """Its lease has passed: what of that is not about its tables."""

    @abc.abstractmethod
    def wake(self, now: int) -> int:
        """When `tick` is due next: the next moment at which time alone changes something."""

    @property
    @abc.abstractmethod
    def term(self) -> Term | None:
        """The term this node is in: it takes allocations of no other."""

    # --- events ---------------------------------------------------------------------------------

    def tick(self, now: int) -> list[Action | More]:
        """Time has passed."""
        self._begin(now)
        return self._settle(now)

    def pushed(self, number: int, version: Version, ok: bool, now: int) -> list[Action | More]:
        """A Push has returned from the kernel; `ok` is False if it was refused."""
        self._begin(now)
        holding = self.holdings[number]
        if not ok and holding.taking == version:
            self._let_go(now, "the kernel refused the table")
        elif (changed := holding.confirm(version)) is not None:
            self._actions += blocks_note(self.node, number, version, *changed)
        return self._settle(now)

    def stale(self, number: int, version: Version, now: int) -> list[Action | More]:
        """The kernel refused a Renew: it came after the deadline, and nothing revives that table.

        So what is held here is accepted by nobody. Only a new session gets blocks again.
        """
        self._begin(now)
        if self.holdings[number].table == version:
            self._let_go(now, "the kernel was told too late of its new deadline")
        return self._settle(now)

    def dropped(self, now: int) -> list[Action | More]:
        """The tables have been deleted."""
        self._begin(now)
        self.dropping = False
        return self._settle(now)

    def guard(self, ok: bool, why: str, now: int) -> list[Action | More]:
        """The rules are in place, or are not: no rules, no blocks."""
        self._begin(now)
        if ok != self.able:
            self.able = ok
            self._note(Change.GUARD, self.node, "may hold blocks" if ok else "holds nothing", why)
            if not ok:
                self._let_go(now, why)
        return self._settle(now)

    def weigh(self, weight: int, now: int) -> list[Action | More]:
        """Change this director's weight (0 to 65535); 0 gives its blocks to the others."""
        self._begin(now)
        self.weight = weight
        return self._settle(now)

    def apportion(self, share: Share, now: int) -> list[Action | More]:
        """The operator has changed this director's share."""
        self.share = share
        return self.weigh(share.effective, now)

    def reaches(self, reach: Reach | None, now: int) -> list[Action | More]:
        """So many ping nodes are reached; None if that is not known, or there are none."""
        self._begin(now)
        self.yielding.reach = reach
        return self._settle(now)

    def leave(self, now: int) -> list[Action | More]:
        """Hold nothing, stand for nothing, and say so: this incarnation ends here."""
        self._begin(now)
        if not self.left:
            self.left = True
            self._note(Change.LEFT, self.node, "leaves")
            self._resign("it leaves")
            self._let_go(now, "it leaves")
        return self._settle(now)

    def retire(self, now: int) -> list[Action | More]:
        """Stand for nothing from now on: before a pause somebody else should be master."""
        self._begin(now)
        self.retiring = True
        return self._settle(now)

    # --- what is so now -------------------------------------------------------------------------

    @property
    def offered(self) -> int:
        """The weight that it tells the others: 0 for one that gives way to them."""
        return 0 if self.yielding.yields else self.weight

    @property
    def holds(self) -> bool:
        """Whether its kernel may hold any block."""
        return any(holding.held or holding.coming for holding in self.holdings.values())

    def leased(self, now: int) -> bool:
        """Whether it has a lease."""
        return now < self.lease

    # --- the tables -----------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        """R3: a lease that has passed is found out before anything else is done."""
        if self.lease and now >= self.lease:
            self._note(Change.LAPSED, self.node, "lapsed", self.LAPSED_WHY)
            self._lapse("its lease has passed")
            self._let_go(now, "its lease has passed")

    def _let_go(self, now: int, why: str) -> None:
        """Hold nothing from now on: a new session, and no table left in the kernel."""
        self.session = self.session.next()
        self.lease = 0
        for holding in self.holdings.values():
            lost = holding.let_go()
            if lost:
                text = f"lost all {lost.bit_count()} blocks of id {holding.id}"
                self._note(Change.BLOCKS, self.node, text, why)
        if not self.dropping:
            self._drop()
        self.next_beat = min(self.next_beat, now)

    def _drop(self) -> None:
        self.dropping = True
        self._actions.append(Drop())

    def _prolong(self) -> None:
        """R2: give the kernel the new deadline, where it has an older one."""
        for holding in self.holdings.values():
            version = holding.table
            if version is not None and self.lease > holding.deadline:
                holding.deadline = self.lease
                self._actions.append(Renew(holding.id, version, self.lease))

    def _take_version(self, holding: Holding, newest: Allocation | None, now: int) -> None:
        """R5: a director takes a version only while it has a lease."""
        if newest is None or not self.leased(now) or self.dropping or not self.able:
            return
        if self.node not in self.settings.witnesses and holding.may_take(newest, self.term):
            held = holding.take(newest, self.node, self.session, self.lease)
            if held is not None:
                self._actions.append(Push(holding.id, newest.version, held, self.lease))

    def _note(self, change: Change, who: str, what: str, why: str = "") -> None:
        self._actions.append(Note(change, who, what, why))

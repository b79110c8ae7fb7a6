# SPDX-License-Identifier: GPL-2.0-or-later
"""One node's part in the cluster: events and the time come in, actions go out.

Every event first finds out whether the lease has passed (R3), then takes in what is new, then
settles: follow or stand (R4), fence (R6), allocate and take (R5), renew (R2), and beat if a beat is
due or if what it would say has changed. Nothing here waits for a tick: `wake` says when time alone
will change something.
"""

from __future__ import annotations

from saru.core import suspension
from saru.core.action import Action, Change, Drop, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.admission import Admission
from saru.core.alarm import next_wake
from saru.core.beat import Allocation, Beat, Role, Want
from saru.core.holding import Holding
from saru.core.invariants import InvariantError, well_formed
from saru.core.lease import lease_until
from saru.core.library import Library
from saru.core.mastership import Mastership, myself
from saru.core.notes import blocks_note, watch, yield_note
from saru.core.office import Office
from saru.core.peer import Peer, Sent
from saru.core.reach import Reach, Yielding
from saru.core.settings import Settings
from saru.core.share import Share
from saru.core.speech import compose
from saru.core.state import State
from saru.core.term import Session, Term, Version
from saru.core.voter import Voter


class Coordinator:
    """The state of one node. `now` is CLOCK_BOOTTIME in ns, read after the event it judges."""

    def __init__(
        self, settings: Settings, node: str, incarnation: int, now: int, weight: int = 100
    ) -> None:
        self.settings = settings
        self.node = node
        self.session = Session(incarnation, 1)
        self.start = now
        self.share = Share(weight)
        self.weight = weight  # the share's, but 0 for one that is about to leave
        self.able = False  # the guard: no rules, no blocks
        self.left = False
        self.retiring = False  # it stands for nothing any more
        self.suspended = False  # it says nothing any more
        self.yielding = Yielding(settings.ping_settle)
        self.lease = 0  # until when; 0: none
        self.dropping = False  # the tables are being deleted; nothing is said before they are
        self.peers = {name: Peer(name) for name in settings.nodes if name != node}
        self.holdings = {d.id: Holding(d.id) for d in settings.divisions}
        self.library = Library()
        self._blocks = {d.id: d.blocks for d in settings.divisions}
        self.admission = Admission(settings, self._note)
        self.sent = Sent(settings.lease)
        self.seq = 0
        self.next_beat = now
        self.seen = now  # when the newest event was
        self._said: object = None
        self._waited_told = False
        self._actions: list[Action] = []
        self.voter = Voter(settings, self.peers, now)
        self.office = Office(
            settings, node, incarnation, self.peers, self.voter.promises, self.sent, self._note
        )

    # --- events ---------------------------------------------------------------------------------

    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        self._begin(now)
        return self._settle(now)

    def receive(self, beat: Beat, now: int) -> list[Action]:
        """A beat has been received; `now` was read after that."""
        self._begin(now)
        if beat.node != self.node and self.admission.admits(beat):
            peer = self.peers.setdefault(beat.node, Peer(beat.node))
            if peer.is_news(beat):
                self._hear(peer, beat, now)
        return self._settle(now)

    def receive_allocation(self, allocation: Allocation, now: int) -> list[Action]:
        """An allocation has been received in full."""
        self._begin(now)
        blocks = self._blocks.get(allocation.id)
        if blocks is not None:
            try:
                well_formed(allocation, blocks)
            except InvariantError as error:
                self._note(Change.REFUSED, "allocation", str(allocation.version), str(error))
            else:
                self.library.add(allocation)
        return self._settle(now)

    def pushed(self, number: int, version: Version, ok: bool, now: int) -> list[Action]:
        """A Push has returned from the kernel; `ok` is False if it was refused."""
        self._begin(now)
        holding = self.holdings[number]
        if not ok and holding.taking == version:
            self._let_go(now, "the kernel refused the table")
        elif (changed := holding.confirm(version)) is not None:
            self._actions += blocks_note(self.node, number, version, *changed)
        return self._settle(now)

    def stale(self, number: int, version: Version, now: int) -> list[Action]:
        """The kernel refused a Renew: it came after the deadline, and nothing revives that table.

        So what is held here is accepted by nobody. Only a new session gets blocks again.
        """
        self._begin(now)
        if self.holdings[number].table == version:
            self._let_go(now, "the kernel was told too late of its new deadline")
        return self._settle(now)

    def dropped(self, now: int) -> list[Action]:
        """The tables have been deleted."""
        self._begin(now)
        self.dropping = False
        return self._settle(now)

    def guard(self, ok: bool, why: str, now: int) -> list[Action]:
        """The rules are in place, or are not: no rules, no blocks."""
        self._begin(now)
        if ok != self.able:
            self.able = ok
            self._note(Change.GUARD, self.node, "may hold blocks" if ok else "holds nothing", why)
            if not ok:
                self._let_go(now, why)
        return self._settle(now)

    def weigh(self, weight: int, now: int) -> list[Action]:
        """Change this director's weight (0 to 65535); 0 gives its blocks to the others."""
        self._begin(now)
        self.weight = weight
        return self._settle(now)

    def apportion(self, share: Share, now: int) -> list[Action]:
        """The operator has changed this director's share."""
        self.share = share
        return self.weigh(share.effective, now)

    def reaches(self, reach: Reach | None, now: int) -> list[Action]:
        """So many ping nodes are reached; None if that is not known, or there are none."""
        self._begin(now)
        self.yielding.reach = reach
        return self._settle(now)

    def leave(self, now: int) -> list[Action]:
        """Hold nothing, stand for nothing, and say so: this incarnation ends here."""
        self._begin(now)
        if not self.left:
            self.left = True
            self._note(Change.LEFT, self.node, "leaves")
            self.office.resign("it leaves")
            self._let_go(now, "it leaves")
        return self._settle(now)

    def retire(self, now: int) -> list[Action]:
        """Stand for nothing from now on: before a pause somebody else should be master."""
        self._begin(now)
        self.retiring = True
        return self._settle(now)

    def suspend(self, now: int) -> tuple[list[Action], State]:
        """Resign, say so in a last beat, and say and do nothing more.

        The state is what `resume` goes on from. ValueError while a table is on its way into the
        kernel: nobody would learn whether it came there.
        """
        if any(holding.taking for holding in self.holdings.values()):
            raise ValueError("a table is on its way into the kernel")
        self._begin(now)
        self.office.resign("it pauses")
        self.next_beat = now
        if not self.dropping:
            self._beat(now)
        self.suspended = True
        actions, self._actions = self._actions, []
        return actions, suspension.capture(self, now)

    @classmethod
    def resume(cls, settings: Settings, state: State, now: int) -> Coordinator:
        """Go on from `state`; the first event finds out whether the lease has passed meanwhile.

        Only in the boot of the pause, and only once. ValueError if the settings differ in what all
        must share, or the clock has gone back.
        """
        if settings.digest() != state.settings:
            raise ValueError("the cluster's settings have changed")
        if now < state.at:
            raise ValueError("the clock has gone back")
        core = cls(settings, state.node, state.session.incarnation, state.start)
        suspension.restore(core, state)
        if state.dropping:
            core._drop()
        return core

    # --- what is so now -------------------------------------------------------------------------

    @property
    def refused(self) -> dict[str, list[str]]:
        """By node: the settings in which it differs from this one."""
        return self.admission.refused

    @property
    def term(self) -> Term | None:
        """The term this node is in."""
        return self.office.term

    @property
    def role(self) -> Role:
        """What it is in its term."""
        return self.office.role

    @property
    def mastership(self) -> Mastership | None:
        """What it does as master; None if it is not."""
        return self.office.mastership

    @property
    def voters(self) -> int:
        """n: how many voters there are."""
        return self.office.voters

    @property
    def needed(self) -> int:
        """q: how many of them must agree."""
        return self.office.needed

    @property
    def offered(self) -> int:
        """The weight that the beats say: 0 for one that gives way to others."""
        return 0 if self.yielding.yields else self.weight

    def waited(self, now: int) -> bool:
        """Whether this node is past its start-up wait (R8)."""
        return self.voter.waited(now)

    def joined(self, now: int) -> bool:
        """Whether it may take blocks from a live holder."""
        return now >= self.start + max(self.settings.join_delay, self.settings.start_wait)

    def leased(self, now: int) -> bool:
        """Whether it has a lease."""
        return now < self.lease

    def contacts(self, now: int) -> list[Peer]:
        """The nodes in two-way contact (R1) that have not left."""
        length = self.settings.lease
        return [
            p for p in self.peers.values() if p.contact(now, length) and p.beat and not p.beat.left
        ]

    def master(self) -> Peer | None:
        """The other node whose newest beat shows it as master of this node's term."""
        return self.office.master()

    def hears(self, now: int) -> bool:
        """Whether it hears the master of its term, as its master; a master hears itself."""
        return self.office.hears(now)

    # --- taking in ------------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        """R3: a lease that has passed is found out before anything else is done.

        Whoever was stopped for a while has heard nothing meanwhile, and that proves nothing: what
        the others said is still to be read. (With a quorum a silence only counts if others agree.)
        """
        if now > self.seen + 2 * self.settings.keepalive:
            for peer in self.peers.values():
                peer.unheard_since = now
        self.seen = now
        if self.lease and now >= self.lease:
            self._note(Change.LAPSED, self.node, "lapsed", "no quorum vouched for it in time")
            self.office.resign("its lease has passed")
            self._let_go(now, "its lease has passed")

    def _hear(self, peer: Peer, beat: Beat, now: int) -> None:
        old = peer.beat.session if peer.beat else None
        peer.hear(beat, now, self.sent, (self.node, self.session), self.settings.lease)
        if old is None or old.incarnation != beat.session.incarnation:
            self._said = None  # it waits to be named
        if 0 < beat.lease_left < self.settings.lease // 2:
            # It runs short: it waits to be named, too. Not at any rate, or two of a minority would
            # answer each other for nothing as fast as the network can.
            at = (self.sent.newest or 0) + self.settings.keepalive // 4
            self.next_beat = min(self.next_beat, max(now, at))
        self.office.seen(peer, beat.session != old, now)
        self.library.report(peer.name, beat.reports)
        for want, before in self.library.asked(peer.name, beat.wants):
            self._answer(want, before, now)

    def _answer(self, want: Want, before: int, now: int) -> None:
        """Send an allocation to one who lacks it, and has asked for it so many times before."""
        allocation = self.library.get(want.id, want.version)
        fresh = [p.name for p in self.peers.values() if p.fresh(now, self.settings.lease)]
        if allocation and self.library.turn(want, before, [self.node, *fresh]) == self.node:
            self._actions.append(SendAllocation(allocation))

    # --- settling -------------------------------------------------------------------------------

    def _settle(self, now: int) -> list[Action]:
        if self.suspended:
            self._actions = []
            return []
        self._actions += watch(self.peers.values(), now, self.settings)
        self._yield(now)
        if self.waited(now) and not self.left:
            if not self._waited_told:
                self._waited_told = True
                self._note(Change.READY, self.node, "takes part", "its start-up wait is over")
            stands = not (self.retiring or self.yielding.yields)
            self.office.elect(self.contacts(now), self.leased(now), stands, now)
        if self.mastership is not None:
            self._actions += self.mastership.fence(self.library, now)
            self._actions += self.mastership.allocate(myself(self, now), self.library, now)
        self._extend(now)
        for holding in self.holdings.values():
            self._take(holding, now)
        leased = self.leased(now)
        if not self.dropping:
            self._beat(now)
        self._extend(now)
        actions, self._actions = self._actions, []
        if self.leased(now) and not leased:  # where the own beat alone gives a lease
            actions += self._settle(now)
        return actions

    def _yield(self, now: int) -> None:
        """Give way to directors that reach more ping nodes, or do so no more."""
        beats = [peer.beat for peer in self.contacts(now) if peer.beat is not None]
        beats = [beat for beat in beats if beat.node not in self.settings.witnesses]
        takers = [beat for beat in beats if beat.waited and beat.able and beat.weight]
        if self.yielding.look([b.reach for b in takers if b.reach is not None], now):
            self._actions.append(yield_note(self.node, self.yielding, takers))

    def _let_go(self, now: int, why: str) -> None:
        """Hold nothing from now on: a new session, and no table left in the kernel."""
        self.session = self.session.next()
        self.lease = 0
        for peer in self.peers.values():
            peer.good_until = 0
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

    # --- the director's part --------------------------------------------------------------------

    def _extend(self, now: int) -> None:
        """R2: work out the lease, and give the kernel the new deadline."""
        own = self.term is not None and not self.left
        until = lease_until(
            self.needed,
            own,
            (p.good_until for p in self.peers.values()),
            self.sent.newest + self.settings.lease if self.sent.newest is not None else None,
        )
        if until > self.lease and until > now and own and not self.dropping:
            self.lease = until
        for holding in self.holdings.values():
            version = holding.table
            if version is not None and self.lease > holding.deadline:
                holding.deadline = self.lease
                self._actions.append(Renew(holding.id, version, self.lease))

    def _take(self, holding: Holding, now: int) -> None:
        """R5: a director takes a version only while it has a lease."""
        newest = self.library.newest(holding.id, self.term)
        if newest is None or not self.leased(now) or self.dropping or not self.able:
            return
        if self.node not in self.settings.witnesses and holding.may_take(newest, self.term):
            held = holding.take(newest, self.node, self.session, self.lease)
            if held is not None:
                self._actions.append(Push(holding.id, newest.version, held, self.lease))

    # --- beats ----------------------------------------------------------------------------------

    def _beat(self, now: int) -> None:
        asks = self.office.asks(now)
        beat = compose(self, self.seq + 1, asks, now)
        said = beat.gist()
        if now < self.next_beat and said == self._said:
            return
        if now >= self.next_beat:
            self.next_beat = now + self.settings.keepalive
            if self.mastership is not None:
                self._actions += self.mastership.lacking()
        self._said = said
        self.seq = beat.seq
        self.sent.add(beat.seq, now)
        self.voter.said(beat, now)
        self.library.report(self.node, beat.reports)
        self._actions.append(SendBeat(beat))

    # --- time -----------------------------------------------------------------------------------

    def wake(self, now: int) -> int:
        """When `tick` is due next: the next moment at which time alone changes something."""
        return next_wake(self, now)

    def _note(self, change: Change, who: str, what: str, why: str = "") -> None:
        self._actions.append(Note(change, who, what, why))

# SPDX-License-Identifier: GPL-2.0-or-later
"""One node's part in the cluster: events and the time come in, actions go out.

Every event first finds out whether the lease has passed (R3), then takes in what is new, then
settles: follow or stand (R4), fence (R6), allocate and take (R5), renew (R2), and beat if a beat is
due or if what it would say has changed. Nothing here waits for a tick: `wake` says when time alone
will change something.
"""

from __future__ import annotations

from typing import Never

from saru.core import suspension
from saru.core.action import Action, Change, SendAllocation, SendBeat
from saru.core.admission import Admission
from saru.core.alarm import next_wake
from saru.core.beat import Allocation, Beat, Claim, Role, Want
from saru.core.holding import Holding
from saru.core.invariants import InvariantError, well_formed
from saru.core.lease import lease_until
from saru.core.library import Library
from saru.core.mastership import Mastership, myself
from saru.core.notes import bar_note, watch, yield_note
from saru.core.office import Office
from saru.core.pace import Pace
from saru.core.participant import Participant
from saru.core.peer import Peer, Sent
from saru.core.rivals import Rivals
from saru.core.settings import Quorum, Settings
from saru.core.speech import compose
from saru.core.state import State
from saru.core.term import Session, Term
from saru.core.voter import Voter


class Coordinator(Participant[Never]):
    """The state of one node. `now` is CLOCK_BOOTTIME in ns, read after the event it judges."""

    LAPSED_WHY = "no quorum vouched for it in time"

    def __init__(
        self,
        settings: Settings,
        node: str,
        incarnation: int,
        now: int,
        weight: int = 100,
        former_until: int | None = None,
    ) -> None:
        """`former_until`: when the deadlines of the life before pass (None: that is not known)."""
        super().__init__(settings, node, Session(incarnation, 1), now, weight)
        self.suspended = False  # it says nothing any more
        self.former = True  # tables of a life before may be in the kernel (R8)
        self.former_until = now + settings.start_wait if former_until is None else former_until
        self.listens_until = 0  # without a quorum: whoever was stopped stands for nothing before
        self.peers = {name: Peer(name) for name in settings.nodes if name != node}
        self.library = Library()
        self.admission = Admission(settings, self._note)
        self.rivals = Rivals(settings, node)
        self.sent = Sent(settings.lease)
        self.seq = 0
        self.seen = now  # when the newest event was
        self.pace = Pace(settings, node)
        self._said: object = None
        self._waited_told = False
        self.voter = Voter(settings, self.peers, now)
        self.office = Office(
            settings, node, incarnation, self.peers, self.voter.promises, self.sent, self._note
        )

    # --- events ---------------------------------------------------------------------------------

    def receive(self, beat: Beat, now: int) -> list[Action]:
        """A beat has been received; `now` was read after that."""
        self._begin(now)
        if beat.node == self.node:
            pass
        elif not self.admission.admits(beat):
            known = self.peers.get(beat.node)
            if self.rivals.hear(beat, now) and beat.claim is Claim.FORMER and known is not None:
                # A life before, perhaps one with this node's settings, has only just ended.
                known.unheard_since = now
        else:
            self.rivals.admitted(beat.node)
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
        suspension.restore(core, state, now)
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
        """The weight that it tells the others: 0 for one that gives way."""
        return 0 if self.rivals.barred else super().offered

    def waited(self, now: int) -> bool:
        """Whether this node is past its start-up wait (R8)."""
        return self.voter.waited(now)

    def joined(self, now: int) -> bool:
        """Whether it may take blocks from a live holder."""
        return now >= self.start + max(self.settings.join_delay, self.settings.start_wait)

    @property
    def longest(self) -> int:
        """The longest L by which its kernel may accept, in this life and the one before."""
        return max(self.settings.lease, self.settings.earlier_lease if self.former else 0)

    def claim(self, now: int) -> Claim:
        """How it stands to blocks. With a majority, all that are in it claim them."""
        if self.left:
            return Claim.NOTHING
        if self.former and now < self.former_until and self.node not in self.settings.witnesses:
            return Claim.FORMER
        none = self.settings.quorum is Quorum.NONE
        fit = self.leased(now) and not (none and not (self.able and super().offered))
        return self.rivals.claim(fit, self.holds)

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
            self.listen_again(now)
        self.seen = now
        super()._begin(now)

    def listen_again(self, now: int) -> None:
        """Nothing was heard for a while that others may have said."""
        for peer in self.peers.values():
            peer.listened_to_again(now)
        self.rivals.listens_again(now)
        if self.settings.quorum is Quorum.NONE:  # and there may be others whom it does not know
            self.listens_until = now + self.settings.lease_plus

    def _resign(self, why: str) -> None:
        self.office.resign(why)

    def _lapse(self, why: str) -> None:
        self.office.resign(why)

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
        masters = beat.role is Role.MASTER and beat.term == self.term
        if masters and self.pace.hear(peer.name, now):
            self.next_beat = min(self.next_beat, self.pace.due(self.sent.newest or 0))
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
        self._face(now)
        if self.waited(now) and not self.left:
            if self.former:
                # They have run to their deadline by now. Nothing is said before they are gone.
                self.former = False
                if not self.dropping:
                    self._drop()
            if not self._waited_told:
                self._waited_told = True
                self._note(Change.READY, self.node, "takes part", "its start-up wait is over")
            listens = not self.holds and now < self.listens_until
            stands = not (self.retiring or self.yielding.yields or listens)
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

    def _face(self, now: int) -> None:
        """Give way to whom it refuses, or do so no more, where no majority decides who serves."""
        if self.left:
            return
        before = self.rivals.barred
        self.rivals.look(self.holds, now)
        barred = self.rivals.barred
        if barred != before:
            self._actions.append(bar_note(self.node, barred))
        if barred is not None and self.holds:
            self._let_go(now, barred.what)

    def _let_go(self, now: int, why: str) -> None:
        """No vouch counts that was for the session before."""
        for peer in self.peers.values():
            peer.good_until = 0
        super()._let_go(now, why)

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
        self._prolong()

    def _take(self, holding: Holding, now: int) -> None:
        """R5: a director takes the newest allocation of its term, and of that alone."""
        if self.rivals.barred is None:
            self._take_version(holding, self.library.newest(holding.id, self.term), now)

    # --- beats ----------------------------------------------------------------------------------

    def _beat(self, now: int) -> None:
        asks = self.office.asks(now)
        beat = compose(self, self.seq + 1, asks, now)
        said = beat.gist()
        if now < self.next_beat and said == self._said:
            return
        if now >= self.next_beat:
            if self.mastership is not None:
                self.next_beat = self.pace.masters_due(self.next_beat, now)
                self._actions += self.mastership.lacking()
            else:
                self.next_beat = self.pace.due(now)
        self._said = said
        self.seq = beat.seq
        self.sent.add(beat.seq, now)
        self.voter.said(beat, self.master())
        self.rivals.said(beat.claim, now)
        self.library.report(self.node, beat.reports)
        self._actions.append(SendBeat(beat))

    # --- time -----------------------------------------------------------------------------------

    def wake(self, now: int) -> int:
        """When `tick` is due next: the next moment at which time alone changes something."""
        return next_wake(self, now)

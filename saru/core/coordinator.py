# SPDX-License-Identifier: GPL-2.0-or-later
"""One node's part in the cluster: events and the time come in, actions go out.

Every event first finds out whether the lease has passed (R3), then takes in what is new, then
settles: follow or stand (R4), fence (R6), allocate and take (R5), renew (R2), and beat if a beat is
due or if what it would say has changed. Nothing here waits for a tick: `wake` says when time alone
will change something.
"""

from __future__ import annotations

import zlib

from saru.core import election
from saru.core.action import Action, Change, Drop, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.beat import Allocation, Ask, Beat, Heard, Promise, Role
from saru.core.fence import Promises
from saru.core.granting import Director, Standing
from saru.core.holding import Holding
from saru.core.invariants import InvariantError, well_formed
from saru.core.lease import lease_until, quorum
from saru.core.library import Library
from saru.core.mastership import Mastership
from saru.core.notes import blocks_note, watch
from saru.core.peer import Peer, Sent
from saru.core.settings import Quorum, Settings, differing
from saru.core.term import COUNTER_MAX, PLACE_MAX, Session, Term, Version


class Coordinator:
    """The state of one node. `now` is CLOCK_BOOTTIME in ns, read after the event it judges."""

    def __init__(
        self, settings: Settings, node: str, incarnation: int, now: int, weight: int = 100
    ) -> None:
        self.settings = settings
        self.node = node
        self.session = Session(incarnation, 1)
        self.start = now
        self.weight = weight
        self.able = False  # the guard: no rules, no blocks
        self.left = False
        self.term: Term | None = None
        self.role = Role.FOLLOWER
        self.lease = 0  # until when; 0: none
        self.dropping = False  # the tables are being deleted; nothing is said before they are
        self.peers = {name: Peer(name) for name in settings.nodes if name != node}
        self.holdings = {d.id: Holding(d.id) for d in settings.divisions}
        self.mastership: Mastership | None = None
        self.library = Library()
        self.refused: dict[str, list[str]] = {}  # by node: the settings in which it differs
        self._blocks = {d.id: d.blocks for d in settings.divisions}
        self._digest = settings.digest()
        self._sent = Sent(settings.lease)
        self._seq = 0
        self._next_beat = now
        self._said: object = None
        self._counter = 0  # the highest term counter seen
        self._promises = Promises(settings, now)
        self._candidacy = election.Candidacy(settings)
        self._stand_at: int | None = None
        self._waited_told = False
        self._actions: list[Action] = []

    # --- events ---------------------------------------------------------------------------------

    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        self._begin(now)
        return self._settle(now)

    def receive(self, beat: Beat, now: int) -> list[Action]:
        """A beat has been received; `now` was read after that."""
        self._begin(now)
        if beat.node != self.node and self._admits(beat):
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

    def leave(self, now: int) -> list[Action]:
        """Hold nothing, stand for nothing, and say so: this incarnation ends here."""
        self._begin(now)
        if not self.left:
            self.left = True
            self._note(Change.LEFT, self.node, "leaves")
            self._resign("it leaves")
            self._let_go(now, "it leaves")
        return self._settle(now)

    # --- what is so now -------------------------------------------------------------------------

    @property
    def voters(self) -> int:
        """n: how many voters there are."""
        return len(self.settings.nodes) or len(self.peers) + 1

    @property
    def needed(self) -> int:
        """q: how many of them must agree."""
        return quorum(self.settings, self.voters)

    def waited(self, now: int) -> bool:
        """Whether this node is past its start-up wait (R8)."""
        return now >= self.start + self.settings.initdead

    def joined(self, now: int) -> bool:
        """Whether it may take blocks from a live holder."""
        return now >= self.start + max(self.settings.join_delay, self.settings.initdead)

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
        return election.master_of(self.term, self.peers.values())

    def hears(self, now: int) -> bool:
        """Whether it hears the master of its term, as its master; a master hears itself."""
        if self.role is Role.MASTER:
            return True
        master = self.master()
        return master is not None and master.fresh(now, self.settings.lease)

    # --- taking in ------------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        """R3: a lease that has passed is found out before anything else is done."""
        if self.lease and now >= self.lease:
            self._note(Change.LAPSED, self.node, "lapsed", "no quorum vouched for it in time")
            self._resign("its lease has passed")
            self._let_go(now, "its lease has passed")

    def _admits(self, beat: Beat) -> bool:
        keys = differing(self._digest, beat.settings)
        if self.settings.nodes and beat.node not in self.settings.nodes:
            keys = sorted({"cluster.nodes", *keys})
        if keys and self.refused.get(beat.node) != keys:
            text = "refused: its settings differ in " + ", ".join(keys)
            self._note(Change.REFUSED, beat.node, text, "make them the same in both")
        if keys:
            self.refused[beat.node] = keys
        else:
            self.refused.pop(beat.node, None)
        return not keys

    def _hear(self, peer: Peer, beat: Beat, now: int) -> None:
        old = peer.beat.session if peer.beat else None
        peer.hear(beat, now, self._sent, (self.node, self.session), self.settings.lease)
        if old is None or old.incarnation != beat.session.incarnation:
            self._said = None  # it waits to be named
        if beat.term is not None:
            self._counter = max(self._counter, beat.term.counter)
        if beat.term != self.term:
            peer.in_term_since = None
        elif peer.in_term_since is None or beat.session != old:
            peer.in_term_since = now
        for want in beat.wants:
            self._answer(peer, want.id, want.version)

    def _answer(self, peer: Peer, number: int, version: Version) -> None:
        """Send an allocation to one who lacks it; one of those who hold it answers at a time."""
        allocation = self.library.get(number, version)
        holding = self.holdings.get(number)
        if allocation is None or holding is None or version not in (holding.taken, holding.taking):
            return
        holders = [self.node]
        for other in self.peers.values():
            if other.beat and any(
                r.id == number and r.taken == version for r in other.beat.reports
            ):
                holders.append(other.name)
        if self.library.turn(peer.name, number, version, sorted(holders)) == self.node:
            self._actions.append(SendAllocation(allocation))

    # --- settling -------------------------------------------------------------------------------

    def _settle(self, now: int) -> list[Action]:
        self._actions += watch(self.peers.values(), now, self.settings)
        if self.waited(now) and not self.left:
            self._elect(now)
        if self.mastership is not None:
            self._actions += self.mastership.fence(self.library, now)
            self._actions += self.mastership.allocate(self._own(now), self.library, now)
        self._extend(now)
        for holding in self.holdings.values():
            self._take(holding, now)
        if not self.dropping:
            self._beat(now)
        self._extend(now)
        actions, self._actions = self._actions, []
        return actions

    def _elect(self, now: int) -> None:
        if not self._waited_told:
            self._waited_told = True
            self._note(Change.READY, self.node, "takes part", "its start-up wait is over")
        contacts = self.contacts(now)
        self._stand_at = None
        if not self.hears(now):
            higher = election.higher_term(self.term, contacts)
            if higher is not None:
                self._enter(higher, Role.FOLLOWER, now)
                self._candidacy.followed(now)
        elif self.mastership is not None and not self.lease:
            if now >= self.mastership.since + self.settings.lease:
                self._resign("no quorum vouches for it")
            return
        if self.settings.quorum is Quorum.NONE:
            self._yield(contacts, now)
        unled = [] if self.hears(now) else election.unled(contacts)
        if self.settings.quorum is Quorum.NONE:
            may = len(unled) == sum(p.beat is not None and p.beat.waited for p in contacts)
        else:
            may = len(unled) + 1 >= self.needed
        may = may and not self.hears(now) and self.role is not Role.CANDIDATE
        self._stand_at = self._candidacy.due(now, may, sum(name < self.node for name in unled))
        if self._stand_at is not None and now >= self._stand_at:
            self._stand(now)
        if self.role is Role.CANDIDATE and self.term is not None:
            followers = election.in_term(self.term, contacts)
            if followers + 1 >= self.needed:
                self._become_master(now)

    def _yield(self, contacts: list[Peer], now: int) -> None:
        """Without a quorum two masters may meet; the lower term gives way."""
        higher = election.higher_term(self.term, contacts)
        if higher is not None and self.hears(now):
            self._resign("a higher term is in contact")
            self._enter(higher, Role.FOLLOWER, now)
        if self.role is Role.MASTER and self.master() is not None:
            # With no voters named, two that never met may have chosen the same term.
            self._resign("another master has the same term")

    def _stand(self, now: int) -> None:
        if self._counter >= COUNTER_MAX:
            raise InvariantError("the term counter has run out")
        self._counter += 1
        if self.settings.nodes:
            place = self.settings.nodes.index(self.node)
        else:
            place = zlib.crc32(self.node.encode()) & PLACE_MAX
        term = Term(self._counter, place, self.session.incarnation)
        self._stand_at = None
        self._enter(term, Role.CANDIDATE, now)

    def _enter(self, term: Term, role: Role, now: int) -> None:
        why = "stands as candidate" if role is Role.CANDIDATE else "follows"
        self._note(Change.TERM, self.node, f"term {term}", why)
        self.term, self.role = term, role
        self._counter = max(self._counter, term.counter)
        self.mastership = None
        for peer in self.peers.values():
            same = peer.beat is not None and peer.beat.term == term
            peer.in_term_since = now if same else None

    def _become_master(self, now: int) -> None:
        assert self.term is not None
        self._note(Change.MASTER, self.node, f"is master of term {self.term}", "a quorum follows")
        self.role = Role.MASTER
        self.mastership = Mastership(
            self.settings, self.term, now, self.needed, self.peers, self._promises, self._sent
        )

    def _resign(self, why: str) -> None:
        if self.role is Role.MASTER:
            self._note(Change.RESIGNED, self.node, f"resigns as master of term {self.term}", why)
            self.role, self.mastership = Role.RESIGNED, None

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
        self.dropping = True
        self._actions.append(Drop())
        self._next_beat = min(self._next_beat, now)

    def _own(self, now: int) -> Director | None:
        """The master itself as a director; None for a witness."""
        if self.node in self.settings.witnesses:
            return None
        able = self.able and not self.left
        return Director(
            self.node,
            self.session,
            Standing.REPORTED,
            () if self.dropping else tuple(h.report() for h in self.holdings.values()),
            self.weight if able else 0,
            self.joined(now),
            able and self.leased(now),
        )

    # --- the director's part --------------------------------------------------------------------

    def _extend(self, now: int) -> None:
        """R2: work out the lease, and give the kernel the new deadline."""
        own = self.term is not None and not self.left
        until = lease_until(
            self.needed,
            own,
            (p.good_until for p in self.peers.values()),
            self._sent.newest + self.settings.lease if self._sent.newest is not None else None,
        )
        if until > self.lease and until > now and own and not self.dropping:
            self.lease = until
        for holding in self.holdings.values():
            version = holding.pushed
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
            self._actions.append(Push(holding.id, newest.version, held, self.lease))

    # --- beats ----------------------------------------------------------------------------------

    def _asks(self, now: int) -> tuple[Ask, ...]:
        """Whom the master of this node's term, itself perhaps, wants fenced."""
        if self.mastership is not None:
            return self.mastership.asks(now)
        master = self.master()
        return master.beat.asks if master is not None and master.beat is not None else ()

    def _heard(self, now: int) -> tuple[Heard, ...]:
        """R1: whom this node hears, and for whom it vouches."""
        evicted = {ask.node for ask in self._asks(now)}
        entries = []
        for peer in self.peers.values():
            beat = peer.beat
            if beat is None or not peer.fresh(now, self.settings.lease):
                continue
            vouch = (
                self.waited(now)
                and self.term is not None
                and beat.term == self.term
                and peer.contact(now, self.settings.lease)
                and peer.name not in evicted
                and not self._promises.forbid(beat, now)
            )
            entries.append(Heard(peer.name, beat.session, beat.seq, vouch))
        return tuple(entries)

    def _promised(self, now: int) -> tuple[Promise, ...]:
        """R6: what this node can promise the master now."""
        master = self.master()
        if master is None or master.beat is None or not self.waited(now):
            return ()
        return tuple(
            Promise(ask.node, ask.session, master.beat.seq)
            for ask in master.beat.asks
            if ask.node in self.peers and now >= self._promises.silent_at(self.peers[ask.node])
        )

    def _beat(self, now: int) -> None:
        beat = Beat(
            node=self.node,
            session=self.session,
            seq=self._seq + 1,
            settings=self._digest,
            term=self.term,
            role=self.role,
            hears=self.hears(now),
            waited=self.waited(now),
            joined=self.joined(now),
            able=self.able,
            left=self.left,
            weight=self.weight,
            lease_left=max(0, self.lease - now),
            heard=self._heard(now),
            asks=self._asks(now) if self.mastership else (),
            promises=self._promised(now),
            reports=tuple(h.report() for h in self.holdings.values()),
            offers=tuple(
                offer
                for d in self.settings.divisions
                if (offer := self.library.offer(d.id, self.term)) is not None
            ),
            wants=self.mastership.wants() if self.mastership else (),
        )
        said = beat.gist()
        if now < self._next_beat and said == self._said:
            return
        if now >= self._next_beat:
            self._next_beat = now + self.settings.keepalive
            if self.mastership is not None:
                self._actions += self.mastership.lacking()
        self._said = said
        self._seq = beat.seq
        self._sent.add(beat.seq, now)
        for heard in beat.heard:
            if heard.vouch:
                peer = self.peers[heard.node]
                peer.vouched_at = peer.received
        for promise in beat.promises:
            self._promises.make(promise.node, promise.session, now)
        self._actions.append(SendBeat(beat))

    # --- time -----------------------------------------------------------------------------------

    def wake(self, now: int) -> int:
        """When `tick` is due next: the next moment at which time alone changes something."""
        length = self.settings.lease
        times = [
            self._next_beat,
            self.lease,
            self.start + self.settings.initdead,
            self.start + self.settings.join_delay,
            self._stand_at or 0,
            self.mastership.since + length if self.mastership else 0,
        ]
        for ask in self._asks(now):
            if ask.node in self.peers:
                peer = self.peers[ask.node]
                times.append(self._promises.silent_at(peer))
                times.append(peer.received + self.settings.lease_plus)
        for peer in self.peers.values():
            times += [
                peer.received + length,
                peer.contact_until(length),
                peer.received + (self.settings.warntime or length),
                (peer.in_term_since or 0) + length,
            ]
        return min((time for time in times if time > now), default=now + self.settings.keepalive)

    def _note(self, change: Change, who: str, what: str, why: str = "") -> None:
        self._actions.append(Note(change, who, what, why))

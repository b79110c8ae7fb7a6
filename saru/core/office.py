# SPDX-License-Identifier: GPL-2.0-or-later
"""R4: the term that a node is in, and what it is there: follower, candidate, master."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping

from saru.core import election
from saru.core.action import Change
from saru.core.beat import Ask, Role
from saru.core.fence import Promises
from saru.core.invariants import InvariantError
from saru.core.lease import quorum
from saru.core.mastership import Mastership
from saru.core.peer import Peer, Sent
from saru.core.settings import Quorum, Settings
from saru.core.term import COUNTER_MAX, PLACE_MAX, Term

Tell = Callable[[Change, str, str, str], None]


class Office:
    """One node's place in its term. `tell` takes what the operator should read of it."""

    def __init__(
        self,
        settings: Settings,
        node: str,
        incarnation: int,
        peers: Mapping[str, Peer],
        promises: Promises,
        sent: Sent,
        tell: Tell,
    ) -> None:
        self.term: Term | None = None
        self.role = Role.FOLLOWER
        self.mastership: Mastership | None = None
        self._settings = settings
        self._node = node
        self._incarnation = incarnation
        self._peers = peers
        self._promises = promises
        self._sent = sent
        self._tell = tell
        self.counter = 0  # the highest term counter seen
        self._candidacy = election.Candidacy(settings)
        self._stand_at: int | None = None
        self._unleased_since: int | None = None

    # --- what is so now -------------------------------------------------------------------------

    @property
    def voters(self) -> int:
        """n: how many voters there are."""
        return len(self._settings.nodes) or len(self._peers) + 1

    @property
    def needed(self) -> int:
        """q: how many of them must agree."""
        return quorum(self._settings, self.voters)

    def master(self) -> Peer | None:
        """The other node whose newest beat shows it as master of this node's term."""
        return election.master_of(self.term, self._peers.values())

    def hears(self, now: int) -> bool:
        """Whether the master of the term is heard, as its master; a master hears itself."""
        if self.role is Role.MASTER:
            return True
        master = self.master()
        return master is not None and master.fresh(now, self._settings.lease)

    def asks(self, now: int) -> tuple[Ask, ...]:
        """Whom the master of this node's term, itself perhaps, wants fenced."""
        if self.mastership is not None:
            return self.mastership.asks(now)
        master = self.master()
        return master.beat.asks if master is not None and master.beat is not None else ()

    # --- what happens ---------------------------------------------------------------------------

    def seen(self, peer: Peer, new_session: bool, now: int) -> None:
        """A newer beat of `peer` has been taken in."""
        assert peer.beat is not None
        if peer.beat.term is not None:
            self.counter = max(self.counter, peer.beat.term.counter)
        if peer.beat.term != self.term:
            peer.in_term_since = None
        elif peer.in_term_since is None or new_session:
            peer.in_term_since = now

    def restore(self, term: Term | None, role: Role, counter: int) -> None:
        """Go on after a pause, as no master."""
        self.term, self.role, self.counter = term, role, counter

    def resign(self, why: str) -> None:
        """Be master, or candidate, no more."""
        if self.role in (Role.MASTER, Role.CANDIDATE):
            what = f"resigns as {self.role.name.lower()} of term {self.term}"
            self._tell(Change.RESIGNED, self._node, what, why)
            self.role, self.mastership = Role.RESIGNED, None

    def elect(self, contacts: list[Peer], leased: bool, stands: bool, now: int) -> None:
        """Follow, stand, become master, or resign, as things are now.

        `contacts` are the nodes in contact, `leased` is whether this node has a lease, `stands`
        whether it wants to be master at all.
        """
        self._stand_at = None
        self._doubt(contacts, leased, now)
        if not stands:
            self.resign("it stands for nothing")
        if not self.hears(now):
            higher = election.higher_term(self.term, contacts)
            if higher is not None:
                self._enter(higher, Role.FOLLOWER, now)
                self._candidacy.followed(now)
        unled = [] if self.hears(now) else election.unled(contacts)
        if self._settings.quorum is Quorum.NONE:
            may = len(unled) == sum(p.beat is not None and p.beat.waited for p in contacts)
        else:
            may = len(unled) + 1 >= self.needed
        may = may and stands and not self.hears(now) and self.role is not Role.CANDIDATE
        self._stand_at = self._candidacy.due(now, may, sum(name < self._node for name in unled))
        if self._stand_at is not None and now >= self._stand_at:
            self._stand(now)
        if self.role is Role.CANDIDATE and self.term is not None:
            followers = election.in_term(self.term, contacts)
            if followers + 1 >= self.needed:
                self._become_master(now)

    def _doubt(self, contacts: list[Peer], leased: bool, now: int) -> None:
        """Whether a master should go on.

        Not if nobody vouches for it, and not if a node in contact is in a higher term: that one
        stood while a quorum heard no master, was too late, and can never come back into this term.
        It would be left out, without blocks, for as long as this master lives. Nothing is lost by
        following it: leases and holders outlast a change of master.
        """
        if leased:
            self._unleased_since = None
        elif self._unleased_since is None:
            self._unleased_since = now
        higher = election.higher_term(self.term, contacts)
        if self.mastership is not None:
            since = self._resigns_at()
            if since is not None and now >= since:
                self.resign("no quorum vouches for it")
            elif higher is not None:
                self.resign(f"a node in contact is in the higher term {higher}")
        if self._settings.quorum is Quorum.NONE:
            # Without a quorum two masters may meet; the lower term gives way.
            if higher is not None and self.hears(now):
                self._enter(higher, Role.FOLLOWER, now)
            if self.role is Role.MASTER and self.master() is not None:
                # With no voters named, two that never met may have chosen the same term.
                self.resign("another master has the same term")

    def _resigns_at(self) -> int | None:
        """When a master that has no lease gives up; None with a lease."""
        if self.mastership is None or self._unleased_since is None:
            return None
        return max(self.mastership.since, self._unleased_since) + self._settings.lease

    def _stand(self, now: int) -> None:
        if self.counter >= COUNTER_MAX:
            raise InvariantError("the term counter has run out")
        self.counter += 1
        if self._settings.nodes:
            place = self._settings.nodes.index(self._node)
        else:
            place = zlib.crc32(self._node.encode()) & PLACE_MAX
        self._stand_at = None
        self._enter(Term(self.counter, place, self._incarnation), Role.CANDIDATE, now)

    def _enter(self, term: Term, role: Role, now: int) -> None:
        why = "stands as candidate" if role is Role.CANDIDATE else "follows"
        self._tell(Change.TERM, self._node, f"term {term}", why)
        self.term, self.role = term, role
        self.counter = max(self.counter, term.counter)
        self.mastership = None
        for peer in self._peers.values():
            same = peer.beat is not None and peer.beat.term == term
            peer.in_term_since = now if same else None

    def _become_master(self, now: int) -> None:
        assert self.term is not None
        what = f"is master of term {self.term}"
        self._tell(Change.MASTER, self._node, what, "a quorum follows")
        self.role = Role.MASTER
        self.mastership = Mastership(
            self._settings, self.term, now, self.needed, self._peers, self._promises, self._sent
        )

    def times(self) -> Iterator[int]:
        """When time alone changes something here."""
        if self._stand_at is not None:
            yield self._stand_at
        if self.mastership is not None:
            yield from self.mastership.times()
            resigns = self._resigns_at()
            if resigns is not None:
                yield resigns

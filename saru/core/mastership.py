# SPDX-License-Identifier: GPL-2.0-or-later
"""What a master does in its term: whom it asks to fence (R6), what it allocates (R5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from saru.core.action import Action, Change, Note, SendAllocation
from saru.core.beat import Allocation, Ask, Want
from saru.core.fence import Fences, Promises
from saru.core.granting import Director, Granting, Standing
from saru.core.invariants import well_formed
from saru.core.library import Library
from saru.core.peer import Peer, Sent
from saru.core.settings import Quorum, Settings, plus
from saru.core.term import NEVER, Session, Term

if TYPE_CHECKING:
    from saru.core.coordinator import Coordinator


class Mastership:
    """One term's work, from the moment a quorum is in the term until the master resigns."""

    def __init__(
        self,
        settings: Settings,
        term: Term,
        since: int,
        needed: int,
        peers: Mapping[str, Peer],
        promises: Promises,
        sent: Sent,
    ) -> None:
        self.since = since
        self._settings = settings
        self._term = term
        self._peers = peers
        self._promises = promises
        self._sent = sent
        self._sessions: dict[str, Session] = {}
        self._blocks = {d.id: d.blocks for d in settings.divisions}
        self._granting = Granting(term, settings.divisions)
        self._fences = Fences(settings, term, len(settings.nodes) or len(peers) + 1, needed)

    def _others(self) -> list[Peer]:
        """The other nodes that can hold blocks."""
        return [p for p in self._peers.values() if p.name not in self._settings.witnesses]

    def _newest_session(self, peer: Peer) -> Session:
        """The newest session of a node that anyone has told of in this term."""
        newest = self._sessions.get(peer.name, Session(0, 0))
        if peer.beat is not None:
            newest = max(newest, peer.beat.session)
        for other in self._peers.values():
            if other.beat is not None:
                for heard in other.beat.heard:
                    if heard.node == peer.name and heard.session > newest:
                        newest = heard.session
        self._sessions[peer.name] = newest
        return newest

    def _patience(self, peer: Peer) -> int:
        """Until when a node that is heard again has time to hear us, too.

        Contact takes its next beat, at the latest. To ask at once would cost it L+: the promises
        would bar the very session in which it comes back.
        """
        return peer.back_since + 2 * self._settings.keepalive

    def asks(self, now: int) -> tuple[Ask, ...]:
        """Whom the master wants fenced: directors that it is not in contact with in its term."""
        length = self._settings.lease
        late = now >= self.since + length
        asks = []
        for peer in self._others():
            beat = peer.beat
            astray = beat is None or beat.term != self._term
            if peer.contact(now, length) and not (astray and late):
                continue
            if peer.fresh(now, length) and now < self._patience(peer):
                continue
            session = self._newest_session(peer)
            if not self._fences.holds(peer.name, session):
                asks.append(Ask(peer.name, session))
        return tuple(asks)

    def _over(self, peer: Peer, now: int) -> int:
        """Without a quorum: from when on nothing of a node's is left that it could hold.

        It is silent, or has just started and holds nothing in this life; then an L+ of what it has
        left, of the longer L of the two, is over.
        """
        since = peer.life_since if self._starting(peer, now) else peer.unheard_since
        return since + self._longest(peer)

    def _longest(self, peer: Peer) -> int:
        """L+, of the longer L of this node and the other."""
        return plus(max(self._settings.lease, peer.beat.deadtime if peer.beat else 0))

    def _starting(self, peer: Peer, now: int) -> bool:
        """Whether a node is in its start-up wait for sure, not only by its newest beat."""
        return now < peer.waits_until()

    def fence(self, library: Library, now: int) -> Iterator[Note]:
        """Find out who is fenced."""
        guessed = self._settings.quorum is Quorum.NONE
        for peer in self._peers.values():
            beat = peer.beat
            if beat is None:
                continue
            if not peer.contact(now, self._settings.lease):
                continue
            if beat.left:
                # It takes nothing any more, in whatever term. Whoever starts there anew waits for
                # 2 L+, and this beat is younger than L: he has no lease yet, and gets none in a
                # lower term, for a quorum is in this one. An older farewell proves nothing: a later
                # incarnation that is not heard here may hold blocks.
                self._fences.find(peer.name, beat.session)
            elif (
                beat.term == self._term
                and self._fences.knows(peer.name)
                and (guessed or library.empty(beat))
            ):
                # It lives in this session: it was fenced before it ever had a lease to lose, or
                # nobody knew whether it had one.
                self._fences.lift(peer.name)
        for ask in self.asks(now):
            peer = self._peers[ask.node]
            if guessed:
                if now >= self._over(peer, now):
                    self._fences.find(ask.node, ask.session)
                    why = "has only just started" if self._starting(peer, now) else "silent"
                    yield Note(Change.FENCED, ask.node, "counts as fenced", f"{why}, no quorum")
                continue
            own = now >= self._promises.silent_at(peer)
            if self._fences.count(ask, own, self._peers.values(), self._sent, now):
                what = f"fenced in session {ask.session}"
                yield Note(Change.FENCED, ask.node, what, "enough voters promised")

    def director(self, peer: Peer, library: Library, now: int) -> Director:
        """What the master can say of another director now.

        One that cannot be granted blocks at this moment takes none from live holders either: they
        would be unheld until it can.
        """
        beat, length = peer.beat, self._settings.lease
        session = beat.session if beat else NEVER
        if self._fences.holds(peer.name, session):
            return Director(peer.name, session, Standing.FENCED, (), 0, False, False)
        if beat is None or beat.term != self._term or not peer.fresh(now, length):
            weight = beat.weight if beat else 0
            return Director(peer.name, session, Standing.UNKNOWN, (), weight, False, False)
        leased = beat.lease_left > 0
        # One that has just come will have a lease in a moment: plan for it already. Not for long:
        # what is meant for it nobody else holds meanwhile.
        hopeful = leased or now < (peer.in_term_since or 0) + self._settings.keepalive
        contact = peer.contact(now, length)
        hopeful = hopeful and (contact or not library.empty(beat))
        weight = beat.weight if beat.able and hopeful else 0
        grantable = leased and beat.able and contact
        joined = beat.joined and grantable
        return Director(
            peer.name, session, Standing.REPORTED, beat.reports, weight, joined, grantable
        )

    def allocate(self, own: Director | None, library: Library, now: int) -> Iterator[Action]:
        """Issue the versions that are due; `own` is the master itself, if it can hold blocks."""
        directors = [self.director(peer, library, now) for peer in self._others()]
        if own is not None:
            directors.append(own)
        directors.sort(key=lambda d: d.node)
        for allocation in self._granting.step(tuple(directors), library.get, library.known):
            well_formed(allocation, self._blocks[allocation.id])
            library.add(allocation)
            yield SendAllocation(allocation)
            held = ", ".join(f"{g.node} {g.bitmap().bit_count()}" for g in allocation.grants)
            yield Note(
                Change.VERSION,
                "allocation",
                f"version {allocation.version} of id {allocation.id}",
                held or "nobody holds blocks",
            )

    def lacking(self) -> Iterator[SendAllocation]:
        """The newest allocations, once more, where somebody who may take one has an older one."""
        for allocation in self._granting.made():
            if any(self._lacks(peer, allocation) for peer in self._others()):
                yield SendAllocation(allocation)

    def _lacks(self, peer: Peer, allocation: Allocation) -> bool:
        beat = peer.beat
        if beat is None or beat.term != self._term or beat.lease_left <= 0 or not beat.able:
            return False
        reports = [r for r in beat.reports if r.id == allocation.id]
        return any(allocation.version not in (r.taken, r.taking) for r in reports)

    def times(self) -> Iterator[int]:
        """When time alone changes something here, beside what R1 and R6 wait for."""
        yield self.since + self._settings.lease
        for peer in self._peers.values():
            if peer.in_term_since is not None:
                yield peer.in_term_since + self._settings.keepalive
            # Where there is no quorum, see `_over`.
            yield peer.life_since + self._longest(peer)
            yield peer.unheard_since + self._longest(peer)
            yield self._patience(peer)

    def wants(self) -> tuple[Want, ...]:
        """The reported allocations that the master lacks."""
        return self._granting.wants()


def myself(core: Coordinator, now: int) -> Director | None:
    """The master itself as a director; None for a witness."""
    if core.node in core.settings.witnesses:
        return None
    able = core.able and not core.left
    grantable = able and core.leased(now)
    return Director(
        core.node,
        core.session,
        Standing.REPORTED,
        () if core.dropping else tuple(h.report() for h in core.holdings.values()),
        core.offered if able else 0,
        core.joined(now) and grantable,
        grantable,
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeping blocks without ZooKeeper, while all other members vouch.

A director that finds its writes unanswered is in doubt, and vouches for those that it is in contact
with (R1, R2). Who is vouched for by *every* other member of what it holds keeps its lease. Nobody
is fenced by a master whose own vouch may still be good: see `Roster.fenced`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from saru.core.admission import Admission
from saru.core.beat import Beat, Heard, Role
from saru.core.peer import Peer, Sent
from saru.core.term import Session

if TYPE_CHECKING:
    from saru.core.ensemble.coordinator import EnsembleCoordinator


class Failsafe:
    """The beats of one node beside ZooKeeper, and what they prove.

    Beats know a session by the daemon's `incarnation`, which has one without ZooKeeper too.
    """

    def __init__(self, core: EnsembleCoordinator, incarnation: int, admission: Admission) -> None:
        self.peers = {n: Peer(n) for n in core.settings.nodes if n != core.node}
        self.seq = 0
        self._core = core
        self._incarnation = incarnation
        self._admission = admission
        self._lease = core.settings.lease
        self._sent = Sent(self._lease)
        self._vouched: dict[str, int] = {}
        self._said: object = None

    @property
    def session(self) -> Session:
        """The present session, as beats know it."""
        return Session(self._incarnation, self._core.session.number)

    def hear(self, beat: Beat, now: int) -> None:
        """A beat has been received."""
        core = self._core
        if beat.node == core.node or not self._admission.admits(beat):
            return
        peer = self.peers.setdefault(beat.node, Peer(beat.node))
        if not peer.is_news(beat):
            return
        known = peer.beat is not None and (
            peer.beat.session.incarnation == beat.session.incarnation
        )
        peer.hear(beat, now, self._sent, (core.node, self.session), self._lease)
        if not known:
            self._said = None  # it waits to be named
        if 0 < beat.lease_left < self._lease // 2:
            # It runs short, and waits to be named, too; see `Coordinator._hear`.
            at = (self._sent.newest or 0) + core.settings.keepalive // 4
            core.next_beat = min(core.next_beat, max(now, at))

    def doubts(self, now: int) -> bool:
        """Whether this node may have lost ZooKeeper: half of its lease is gone.

        Not only when all is gone: those whose lease ends first would find nobody who vouches yet.
        """
        proved = self._core.proved
        return proved is None or now >= proved + self._lease // 2

    def _heard(self, now: int) -> tuple[Heard, ...]:
        doubts = self.doubts(now) and not self._core.left
        return tuple(
            Heard(p.name, p.beat.session, p.beat.seq, doubts and p.contact(now, self._lease))
            for p in self.peers.values()
            if p.beat is not None and p.fresh(now, self._lease)
        )

    def let_go(self) -> None:
        """No vouch counts that was for the session before."""
        for peer in self.peers.values():
            peer.good_until = 0

    def until(self, needed: Collection[str]) -> int:
        """R2: until when all of `needed`, and at least one, have vouched; 0 if they have not."""
        vouches = [self.peers[name].good_until if name in self.peers else 0 for name in needed]
        return min(vouches, default=0)

    def silent_at(self, name: str, patience: int) -> int:
        """From when on no vouch of this node's for `name` is good, if it gives no more.

        Its lives before may have vouched until its start. `patience` is L+.
        """
        return max(self._core.start, self._vouched.get(name, 0)) + patience + 1

    def beat(self, now: int) -> Beat | None:
        """The beat that is due now; what it says binds from now on."""
        core = self._core
        beat = Beat(
            node=core.node,
            session=self.session,
            seq=self.seq + 1,
            settings=self._admission.digest,
            term=None,
            role=Role.FOLLOWER,
            hears=False,
            waited=True,
            joined=core.joined(now),
            able=core.able,
            left=core.left,
            weight=core.offered,
            lease_left=max(0, core.lease - now),
            heard=self._heard(now),
            asks=(),
            promises=(),
            reports=(),
            offers=(),
            wants=(),
            share=core.share,
            reach=core.yielding.reach,
        )
        said = beat.gist()
        if now < core.next_beat and said == self._said:
            return None
        if now >= core.next_beat:
            core.next_beat = now + core.settings.keepalive
        self._said = said
        self.seq = beat.seq
        self._sent.add(beat.seq, now)
        for heard in beat.heard:
            if heard.vouch:
                self._vouched[heard.node] = self.peers[heard.node].received
        return beat

    def times(self) -> Iterator[int]:
        """When time alone changes what this node says, or what was said of it."""
        yield self._core.next_beat
        if self._core.proved is not None:
            yield self._core.proved + self._lease // 2
        for peer in self.peers.values():
            yield peer.received + self._lease
            yield peer.contact_until(self._lease)
            yield peer.received + (self._core.settings.warntime or self._lease)

# SPDX-License-Identifier: GPL-2.0-or-later
"""R1 and R6, the voter's part: whom it vouches for, and whom it promises not to vouch for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from saru.core.beat import Ask, Beat, Heard, Promise
from saru.core.fence import Promises
from saru.core.peer import Peer
from saru.core.settings import Settings
from saru.core.term import Term


class Voter:
    """What a node's beats say of the others."""

    def __init__(self, settings: Settings, peers: Mapping[str, Peer], start: int) -> None:
        self._settings = settings
        self._peers = peers
        self._start = start
        self.promises = Promises(settings)

    def waited(self, now: int) -> bool:
        """Whether this node is past its start-up wait (R8)."""
        return self.wait_left(now) == 0

    def wait_left(self, now: int) -> int:
        """How much of its start-up wait is left; 0 when that is over."""
        return max(0, self._start + self._settings.start_wait - now)

    def heard(self, term: Term | None, asks: Iterable[Ask], now: int) -> tuple[Heard, ...]:
        """R1: whom this node, in `term`, hears, and for whom it vouches.

        `asks` are those of the term's master: nobody vouches for whom the master wants fenced. In
        its start-up wait a node is in no term (R8), vouches for nobody, and has no master.
        """
        length = self._settings.lease
        evicted = {ask.node for ask in asks}
        entries = []
        for peer in self._peers.values():
            beat = peer.beat
            if beat is None or not peer.fresh(now, length):
                continue
            vouch = (
                term is not None
                and beat.term == term
                and peer.contact(now, length)
                and peer.name not in evicted
                and not self.promises.forbid(beat, now)
            )
            entries.append(Heard(peer.name, beat.session, beat.seq, vouch))
        return tuple(entries)

    def promised(self, master: Peer | None, now: int) -> tuple[Promise, ...]:
        """R6: what this node can promise the master of its term now, in answer to its newest beat.

        In answer to an older one than L+ it would be no promise any more, see `Promises.make`.
        """
        if master is None or master.beat is None:
            return ()
        if now >= master.received + self._settings.lease_plus:
            return ()
        return tuple(
            Promise(ask.node, ask.session, master.beat.seq)
            for ask in master.beat.asks
            if ask.node in self._peers and now >= self.promises.silent_at(self._peers[ask.node])
        )

    def said(self, beat: Beat, master: Peer | None) -> None:
        """A beat of this node's is being sent: what it says, to its `master` too, binds."""
        for heard in beat.heard:
            if heard.vouch:
                peer = self._peers[heard.node]
                peer.vouched_at = peer.received
        for promise in beat.promises:
            assert master is not None  # `promised` makes none without
            self.promises.make(promise.node, promise.session, master.received)

    def times(self, asks: Iterable[Ask]) -> Iterator[int]:
        """When time alone changes what this node says: silence long enough, a promise's end."""
        for ask in asks:
            if ask.node in self._peers:
                yield self.promises.silent_at(self._peers[ask.node])
        yield from self.promises.ends()

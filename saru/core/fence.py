# SPDX-License-Identifier: GPL-2.0-or-later
"""R6: the promises not to vouch that together fence a director."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from saru.core.beat import Ask, Beat, Promise, Report
from saru.core.peer import Peer, Sent
from saru.core.settings import Settings
from saru.core.state import PromiseState
from saru.core.term import Session, Term


def holds_nothing(reports: Iterable[Report]) -> bool:
    """Whether somebody who reports this has no block in its kernel and none on the way."""
    return all(report.taken is None and report.taking is None for report in reports)


class Promises:
    """What this voter has promised, and when it may promise more."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._standing: dict[str, tuple[Session, int]] = {}

    def silent_at(self, peer: Peer) -> int:
        """From when on this voter may agree to fence `peer`, if it vouches for it no more.

        That is more than L+ after the receipt of the newest beat it ever vouched for, of any
        incarnation and session. With none there is nothing to wait for: a former life's vouches
        have run out when the start-up wait is over (R8).
        """
        if peer.vouched_at is None:
            return 0
        return peer.vouched_at + self._settings.lease_plus + 1

    def make(self, node: str, session: Session, asked: int) -> None:
        """Promise not to vouch for `node` up to `session`, till L+ after that was `asked`.

        `asked` is the receipt of the master's beat that is answered: so the promise stands for as
        long as the master may count it, and no longer, however often it is said again.
        """
        until = asked + self._settings.lease_plus
        if node in self._standing:  # to another master, perhaps: that one may count on it still
            before, end = self._standing[node]
            session, until = max(session, before), max(until, end)
        self._standing[node] = (session, until)

    def forbid(self, beat: Beat, now: int) -> bool:
        """Whether a promise forbids to vouch for `beat`.

        A session newer than the promised one is exempt only while it holds nothing. The master may
        not have known of that session when it asked; if blocks are held in it, they are the very
        blocks that the master is about to hand on.
        """
        session, until = self._standing.get(beat.node, (None, 0))
        if session is None or now >= until:
            return False
        return beat.session <= session or not holds_nothing(beat.reports)

    def state(self) -> tuple[PromiseState, ...]:
        """What must outlast a pause."""
        return tuple(PromiseState(node, *promise) for node, promise in self._standing.items())

    def restore(self, state: Iterable[PromiseState]) -> None:
        """Go on after a pause."""
        self._standing = {each.node: (each.session, each.until) for each in state}

    def ends(self) -> Iterator[int]:
        """When the promises end that were made, the past ones too."""
        for _, until in self._standing.values():
            yield until


class Fences:
    """The master's count of promises, and whom it found fenced in its term.

    A fence once found is a fact that stays: at that moment no vouch for the session was good
    anywhere, and a lease that has passed is not revived (R3). Only a session that never had a lease
    lives on; it is known by its report, in this term, that it holds nothing.
    """

    def __init__(self, settings: Settings, term: Term, voters: int, needed: int) -> None:
        self._settings = settings
        self._term = term
        self._more_than = voters - needed
        self._found: dict[str, Session] = {}

    def stands(self, promise: Promise, ask: Ask, sent: Sent, now: int) -> bool:
        """Whether `promise` answers a beat of ours recent enough, and for what we ask now.

        The promise stands till L+ after the beat's receipt: when L has passed here since it was
        sent, no more than L+ has passed there.
        """
        if promise.node != ask.node or promise.session < ask.session:
            return False
        asked = sent.time(promise.seq)
        return asked is not None and now < asked + self._settings.lease

    def count(self, ask: Ask, own: bool, peers: Iterable[Peer], sent: Sent, now: int) -> bool:
        """Count the promises that stand at this one time; True if the node is newly fenced."""
        standing = int(own)
        for peer in peers:
            beat = peer.beat
            if beat is not None and beat.term == self._term:
                standing += any(self.stands(p, ask, sent, now) for p in beat.promises)
        if standing <= self._more_than or self.holds(ask.node, ask.session):
            return False
        self._found[ask.node] = ask.session
        return True

    def find(self, node: str, session: Session) -> None:
        """`node` will hold nothing in `session` again, for a reason other than promises."""
        self._found[node] = max(session, self._found.get(node, session))

    def lift(self, node: str) -> None:
        """`node` has reported, in our term, that it holds nothing: it counts by its reports."""
        self._found.pop(node, None)

    def knows(self, node: str) -> bool:
        """Whether there is a fence of `node`, in whatever session."""
        return node in self._found

    def holds(self, node: str, session: Session) -> bool:
        """Whether `node` was fenced in `session` or a later one."""
        found = self._found.get(node)
        return found is not None and session <= found

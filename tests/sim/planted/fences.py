# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without R6, or without a clause of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from saru.core.action import Note, SendBeat
from saru.core.beat import Ask, Beat, Promise
from saru.core.coordinator import Coordinator
from saru.core.fence import Fences, Promises
from saru.core.library import Library
from saru.core.mastership import Mastership
from saru.core.peer import Peer, Sent
from saru.core.settings import Settings
from saru.core.term import Session, Term
from saru.core.voter import Voter
from tests.sim.planted.patch import Plant, instead, together

_init = Fences.__init__
_count = Fences.count
_stands = Fences.stands
_fence = Mastership.fence
_promised = Voter.promised
_make = Promises.make
_beat = Coordinator._beat

no_silence = instead(Promises, silent_at=lambda _self, _peer: 0)
short_silence = instead(
    Promises,
    silent_at=lambda self, peer: (
        0 if peer.vouched_at is None else peer.vouched_at + self._settings.lease + 1
    ),
)
no_fence = instead(Fences, count=lambda _self, _ask, _own, _peers, _sent, _now: False)
no_promise = instead(Promises, forbid=lambda _self, _beat, _now: False)


def _promise_for(part: Callable[[Settings], int]) -> Plant:
    def make(self: Promises, node: str, session: Session, asked: int) -> None:
        _make(self, node, session, asked)
        session, _ = self._standing[node]
        self._standing[node] = (session, asked + part(self._settings))

    return instead(Promises, make=make)


half_a_promise = _promise_for(lambda settings: settings.lease // 2)
promise_of_a_lease = _promise_for(lambda settings: settings.lease)


def _stands_for_longer(self: Fences, promise: Promise, ask: Ask, sent: Sent, now: int) -> bool:
    """A beat that is L+ old may be answered, if it is still known."""
    return _stands(
        self, promise, ask, sent, now - (self._settings.lease_plus - self._settings.lease)
    )


answers_too_old = instead(Fences, stands=_stands_for_longer)


def _beat_promising_anew(self: Coordinator, now: int) -> None:
    """A promise is for longer each time that it is said again."""
    seq = self.seq
    _beat(self, now)
    said = self._actions[-1] if self.seq != seq else None
    for promise in said.beat.promises if isinstance(said, SendBeat) else ():
        self.voter.promises.make(promise.node, promise.session, now)


promised_anew = instead(Coordinator, _beat=_beat_promising_anew)
woken_late = instead(Voter, times=lambda self, _asks: self.promises.ends())


def _init_one_less(self: Fences, settings: Settings, term: Term, voters: int, needed: int) -> None:
    _init(self, settings, term, voters - 1, needed)


one_promise_less = instead(Fences, __init__=_init_one_less)


def _count_own(
    self: Fences, ask: Ask, _own: bool, peers: Iterable[Peer], sent: Sent, now: int
) -> bool:
    return _count(self, ask, True, peers, sent, now)


own_promise_granted = instead(Fences, count=_count_own)


def _count_all(
    self: Fences, ask: Ask, own: bool, peers: Iterable[Peer], sent: Sent, now: int
) -> bool:
    """Whoever promised once in the term counts, though his promise was in answer to an old beat."""
    ever: dict[str, set[str]] = self.__dict__.setdefault("ever", {})
    voters = ever.setdefault(f"{ask.node} {ask.session}", set())
    if own:
        voters.add("")
    for peer in peers:
        beat = peer.beat
        if beat is not None and beat.term == self._term:
            voters |= {peer.name for p in beat.promises if self.stands(p, ask, sent, now)}
    if len(voters) <= self._more_than or self.holds(ask.node, ask.session):
        return False
    self.find(ask.node, ask.session)
    return True


not_at_one_time = instead(Fences, count=_count_all)


def _stands_for_ever(_self: Fences, promise: Promise, ask: Ask, _sent: Sent, _now: int) -> bool:
    return promise.node == ask.node and promise.session >= ask.session


no_freshness = instead(Fences, stands=_stands_for_ever)


def _promised_that_session(self: Voter, master: Peer | None, now: int) -> tuple[Promise, ...]:
    made = {promise.node: promise for promise in _promised(self, master, now)}
    beat = master.beat if master is not None else None
    for ask in beat.asks if beat is not None else ():
        peer = self._peers.get(ask.node)
        newest = peer.beat.session if peer is not None and peer.beat is not None else ask.session
        if beat is not None and ask.session < newest:
            made[ask.node] = Promise(ask.node, ask.session, beat.seq)
    return tuple(made.values())


def _newest_heard(_self: Mastership, peer: Peer) -> Session:
    return peer.beat.session if peer.beat is not None else Session(0, 0)


that_session_only = together(
    instead(Voter, promised=_promised_that_session),
    instead(Mastership, _newest_session=_newest_heard),
)


def _count_any_term(
    self: Fences, ask: Ask, own: bool, peers: Iterable[Peer], sent: Sent, now: int
) -> bool:
    """A promise counts whichever master it was made to."""
    listed = list(peers)
    beats = [peer.beat for peer in listed]
    for peer in listed:
        if peer.beat is not None and peer.beat.promises:
            peer.beat = msgspec.structs.replace(peer.beat, term=self._term)
    try:
        return _count(self, ask, own, listed, sent, now)
    finally:
        for peer, beat in zip(listed, beats, strict=True):
            peer.beat = beat


any_term_promises = instead(Fences, count=_count_any_term)


def _fence_by_farewell(self: Mastership, library: Library, now: int) -> Iterator[Note]:
    for peer in self._peers.values():
        if peer.beat is not None and peer.beat.left:
            self._fences.find(peer.name, peer.beat.session)
    yield from _fence(self, library, now)


remembered_farewell = instead(Mastership, fence=_fence_by_farewell)


def _forbid_that_session(self: Promises, beat: Beat, now: int) -> bool:
    session, until = self._standing.get(beat.node, (None, 0))
    return session is not None and now < until and beat.session <= session


newer_session_allowed = instead(Promises, forbid=_forbid_that_session)

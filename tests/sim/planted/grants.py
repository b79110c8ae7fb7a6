# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without R5, or without a clause of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from saru.core.action import Push
from saru.core.beat import Allocation, Report
from saru.core.coordinator import Coordinator
from saru.core.granting import Director, Lookup, Standing, _Ledger
from saru.core.holding import Holding
from saru.core.library import Library
from saru.core.mastership import Mastership
from saru.core.peer import Peer
from saru.core.term import Session, Term, Version
from tests.sim.planted.patch import Plant, instead, together

_director = Mastership.director
_may_hold = _Ledger.may_hold
_take = Holding.take
_current = _Ledger.current


# --- what a director takes ------------------------------------------------------------------------


def _take_unleased(self: Coordinator, holding: Holding, _now: int) -> None:
    """Take a version with or without a lease; what the kernel gets is dead without."""
    newest = self.library.newest(holding.id, self.term)
    if newest is None or self.dropping or not self.able or self.node in self.settings.witnesses:
        return
    if holding.may_take(newest, self.term):
        held = holding.take(newest, self.node, self.session, self.lease)
        if held is not None:
            self._actions.append(Push(holding.id, newest.version, held, self.lease))


no_lease = instead(Coordinator, _take=_take_unleased)


def _any_version_newer(self: Holding, allocation: Allocation, _term: Term | None) -> bool:
    if self.taking is not None:
        return False
    return self.taken is None or allocation.version > self.taken


def _newest_of_any_term(self: Library, number: int, _term: Term | None) -> Allocation | None:
    shelf: dict[Version, Allocation] = self._shelves.get(number, {})
    return shelf[max(shelf)] if shelf else None


any_term = together(
    instead(Holding, may_take=_any_version_newer), instead(Library, newest=_newest_of_any_term)
)


def _take_what_comes(self: Holding, allocation: Allocation, term: Term | None) -> bool:
    return (
        self.taking is None and allocation.version.term == term and allocation.version != self.taken
    )


def _last_come(self: Library, number: int, term: Term | None) -> Allocation | None:
    shelf = [a for v, a in self._shelves.get(number, {}).items() if v.term == term]
    return shelf[-1] if shelf else None


any_version = together(
    instead(Holding, may_take=_take_what_comes), instead(Library, newest=_last_come)
)


def _take_of_any_session(
    self: Holding, allocation: Allocation, node: str, session: Session, deadline: int
) -> int | None:
    named = next((g.session for g in allocation.grants if g.node == node), session)
    return _take(self, allocation, node, named, deadline)


nameless_grants = instead(Holding, take=_take_of_any_session)


def _report_before_set(self: Holding) -> Report:
    return Report(self.id, self.taking or self.taken, None)


said_before_set = instead(Holding, report=_report_before_set)


# --- what a master gives, and to whom -------------------------------------------------------------


def _seen(change: Callable[[Mastership, Peer, int], None]) -> Plant:
    """The master sees each director as if `change` had happened to what it knows of it."""

    def director(self: Mastership, peer: Peer, library: Library, now: int) -> Director:
        before = peer.beat, peer.received, peer.named
        change(self, peer, now)
        try:
            return _director(self, peer, library, now)
        finally:
            peer.beat, peer.received, peer.named = before

    return instead(Mastership, director=director)


def _leased(_self: Mastership, peer: Peer, _now: int) -> None:
    if peer.beat is not None and not peer.beat.lease_left:
        peer.beat = msgspec.structs.replace(peer.beat, lease_left=1)


def _contact(_self: Mastership, peer: Peer, now: int) -> None:
    peer.named = now


def _fresh(_self: Mastership, peer: Peer, now: int) -> None:
    if peer.beat is not None:
        peer.received = now


def _in_term(self: Mastership, peer: Peer, _now: int) -> None:
    if peer.beat is not None and peer.beat.term != self._term:
        peer.beat = msgspec.structs.replace(peer.beat, term=self._term)


unleased_receiver = _seen(_leased)
receiver_without_contact = _seen(_contact)
old_report = _seen(_fresh)
report_of_any_term = _seen(_in_term)


def _others_and_witnesses(self: Mastership) -> list[Peer]:
    return list(self._peers.values())


witnesses_too = instead(Mastership, _others=_others_and_witnesses)


def _director_unheard(self: Mastership, peer: Peer, library: Library, now: int) -> Director:
    seen = _director(self, peer, library, now)
    if seen.standing is Standing.UNKNOWN:
        return msgspec.structs.replace(seen, standing=Standing.FENCED)
    return seen


no_report = instead(Mastership, director=_director_unheard)


def _may_hold_acknowledged(self: _Ledger, director: Director, lookup: Lookup) -> int:
    issued, self.issued = self.issued, []
    try:
        return _may_hold(self, director, lookup)
    finally:
        self.issued = issued


forget_unacknowledged = instead(_Ledger, may_hold=_may_hold_acknowledged)


def _may_hold_granted(self: _Ledger, director: Director, lookup: Lookup) -> int:
    """What he says that he holds does not count, what he has not acknowledged does."""
    held = self.__dict__.setdefault("reported", {})[director.node] = _may_hold(
        self, director, lookup
    )
    report = self.report(director)
    if director.standing is not Standing.REPORTED or report is None or self.wants:
        return held
    granted = 0
    for allocation in self.issued:
        if report.taken is None or allocation.version > report.taken:
            granted |= allocation.bitmap(director.node, director.session)
    return granted


def _current_reported(
    self: _Ledger, directors: Iterable[Director], _may: dict[str, int]
) -> dict[str, tuple[Session, int]] | None:
    """The first version keeps reported holders all the same: that is another rule."""
    return _current(self, directors, self.__dict__["reported"])


forget_reports = together(
    instead(_Ledger, may_hold=_may_hold_granted), instead(_Ledger, current=_current_reported)
)


def _may_hold_nothing(self: _Ledger, director: Director, _lookup: Lookup) -> int:
    return self.everything if director.standing is Standing.UNKNOWN else 0


one_step = instead(_Ledger, may_hold=_may_hold_nothing)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without R1, R2 or R3, or without a clause of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from saru.core import coordinator
from saru.core.action import Action, Push, Renew
from saru.core.beat import Ask, Beat, Heard
from saru.core.coordinator import Coordinator
from saru.core.lease import lease_until
from saru.core.office import Office
from saru.core.peer import Peer, Sent
from saru.core.term import Session, Term, Version
from saru.core.voter import Voter
from tests.sim.planted.patch import Plant, instead, together

_hear = Peer.hear
_settle = Coordinator._settle
_let_go = Coordinator._let_go


def _vouching(*, without: str) -> Plant:
    """R1 without one of its clauses."""

    def heard(self: Voter, term: Term | None, asks: Iterable[Ask], now: int) -> tuple[Heard, ...]:
        evicted = {ask.node for ask in asks}
        entries = []
        for peer in self._peers.values():
            beat = peer.beat
            if beat is None or not peer.fresh(now, self._settings.lease):
                continue
            clauses: dict[str, Callable[[], bool]] = {
                "term": lambda b=beat: b.term == term,  # type: ignore[misc]
                "contact": lambda p=peer: p.contact(now, self._settings.lease),  # type: ignore[misc]
                "eviction": lambda p=peer: p.name not in evicted,  # type: ignore[misc]
                "promise": lambda b=beat: not self.promises.forbid(b, now),  # type: ignore[misc]
            }
            vouch = term is not None and all(
                holds() for clause, holds in clauses.items() if clause != without
            )
            entries.append(Heard(peer.name, beat.session, beat.seq, vouch))
        return tuple(entries)

    return instead(Voter, heard=heard)


no_contact = _vouching(without="contact")
no_term = _vouching(without="term")
no_eviction = _vouching(without="eviction")
no_promise = _vouching(without="promise")


def _hear_any_session(
    self: Peer, beat: Beat, now: int, sent: Sent, us: tuple[str, Session], lease: int
) -> None:
    _hear(self, beat, now, sent, us, lease)
    entry = next((h for h in beat.heard if h.node == us[0]), None)
    if self.named is not None and entry and entry.vouch:
        self.good_until = max(self.good_until, self.named + lease)


any_session_vouched = instead(Peer, hear=_hear_any_session)


def _hear_from_receipt(
    self: Peer, beat: Beat, now: int, sent: Sent, us: tuple[str, Session], lease: int
) -> None:
    before = self.good_until
    _hear(self, beat, now, sent, us, lease)
    if self.good_until > before:
        self.good_until = now + lease


lease_from_receipt = instead(Peer, hear=_hear_from_receipt)


def _one_vouch_less(needed: int, own: bool, good: Iterable[int], own_beat: int | None) -> int:
    return lease_until(max(needed - 1, 1), own, good, own_beat)


one_vouch_less = instead(coordinator, lease_until=_one_vouch_less)


def _settle_generously(self: Coordinator, now: int) -> list[Action]:
    half = self.settings.lease // 2
    actions: list[Action] = []
    for action in _settle(self, now):
        if isinstance(action, Push):
            action = Push(action.id, action.version, action.held, action.deadline + half)
        elif isinstance(action, Renew):
            action = Renew(action.id, action.version, action.deadline + half)
        actions.append(action)
    return actions


deadline_beyond_lease = instead(Coordinator, _settle=_settle_generously)


def _stale(self: Coordinator, _number: int, _version: Version, now: int) -> list[Action]:
    return self.tick(now)


deaf_to_refusals = instead(Coordinator, stale=_stale)
# Not even the kernel's refusal to renew makes a new session.
no_lapse = together(instead(Coordinator, _begin=lambda _self, _now: None), deaf_to_refusals)


def _let_go_same_session(self: Coordinator, now: int, why: str) -> None:
    session = self.session
    _let_go(self, now, why)
    self.session = session


same_session = instead(Coordinator, _let_go=_let_go_same_session)

no_resignation = instead(Office, resign=lambda _self, _why: None)

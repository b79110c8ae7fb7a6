# SPDX-License-Identifier: GPL-2.0-or-later
"""The core without R4, or without a clause of it."""

from __future__ import annotations

from collections.abc import Iterable

from saru.core import election
from saru.core.granting import Director, Standing, _Ledger
from saru.core.office import Office
from saru.core.peer import Peer
from saru.core.term import Session, Term
from tests.sim.planted.patch import instead

_elect = Office.elect
_stand = Office._stand
_current = _Ledger.current


def _any_other_term(term: Term | None, contacts: Iterable[Peer]) -> Term | None:
    terms = [p.beat.term for p in contacts if p.beat is not None and p.beat.term is not None]
    best = max(terms, default=None)
    return best if best != term else None


back_again = instead(election, higher_term=_any_other_term)

no_question = instead(
    election,
    unled=lambda contacts: [p.name for p in contacts if p.beat is not None and p.beat.waited],
)


def _elect_deaf(self: Office, contacts: list[Peer], leased: bool, stands: bool, now: int) -> None:
    """Follow a higher term whether or not the own master is heard."""
    higher = election.higher_term(self.term, contacts)
    if higher is not None:
        self._enter(higher, self.role.FOLLOWER, now)
        self._candidacy.followed(now)
    _elect(self, contacts, leased, stands, now)


faithless = instead(Office, elect=_elect_deaf)

no_doubt = instead(Office, _doubt=lambda _self, _contacts, _leased, _now: None)

alone = instead(election, in_term=lambda _term, _contacts: 2**8)


def _stand_nameless(self: Office, now: int) -> None:
    incarnation, self._incarnation = self._incarnation, 1
    try:
        _stand(self, now)
    finally:
        self._incarnation = incarnation


nameless_terms = instead(Office, _stand=_stand_nameless)


def _current_at_once(
    self: _Ledger, directors: Iterable[Director], may: dict[str, int]
) -> dict[str, tuple[Session, int]] | None:
    if self.made is not None:
        return _current(self, directors, may)
    heard = [d for d in directors if d.standing is not Standing.UNKNOWN]
    return _current(self, heard, may)


first_at_once = instead(_Ledger, current=_current_at_once)


def _current_anew(
    self: _Ledger, directors: Iterable[Director], may: dict[str, int]
) -> dict[str, tuple[Session, int]] | None:
    known = _current(self, directors, may)
    return {} if self.made is None and known is not None else known


holders_forgotten = instead(_Ledger, current=_current_anew)

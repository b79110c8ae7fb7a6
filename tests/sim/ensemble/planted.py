# SPDX-License-Identifier: GPL-2.0-or-later
"""The core that goes by ZooKeeper without one of its rules or clauses, and who notices what."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from saru.core.beat import Allocation
from saru.core.ensemble.action import EnsembleAction
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.failsafe import Failsafe
from saru.core.ensemble.mastership import EnsembleMastership
from saru.core.ensemble.record import Account, Document, Member, Roll
from saru.core.ensemble.roster import Roster
from saru.core.holding import Holding
from saru.core.term import Term, Version
from tests.sim.ensemble import scripts
from tests.sim.ensemble.director import Director as Daemon
from tests.sim.ensemble.zookeeper import Op
from tests.sim.kernel import Kernel
from tests.sim.planted import grants
from tests.sim.planted.patch import Plant, instead, together
from tests.sim.planted.rules import TWO, UNSERVED

_touched = EnsembleCoordinator.touched
_let_go = EnsembleCoordinator._let_go
_take = EnsembleCoordinator._take
_until = Failsafe.until
_ask = Daemon._ask


def _proved_when_answered(
    self: EnsembleCoordinator, number: int, czxid: int, now: int
) -> list[EnsembleAction]:
    if self._touching is not None:
        self._touching = self._touching[0], now
    return _touched(self, number, czxid, now)


lease_from_answer = instead(EnsembleCoordinator, touched=_proved_when_answered)


def _proved_by_connection(self: EnsembleCoordinator) -> int:
    if self.proved is None:
        return 0
    if self.connected_since is not None:
        return 2**62
    return self.proved + self.settings.lease


lease_from_connection = instead(EnsembleCoordinator, proved_until=_proved_by_connection)
no_deadline = instead(Kernel, accepts=lambda self: self.held if self.version else 0)


def _impatient(self: Roster, document: Document) -> None:
    self._documents[document.allocation.id] = document
    self.patience = 0


no_patience = instead(Roster, bind=_impatient)


def _let_go_and_say(self: EnsembleCoordinator, now: int, why: str) -> None:
    _let_go(self, now, why)
    self.dropping = False


said_too_early = instead(EnsembleCoordinator, _let_go=_let_go_and_say)


def _let_go_same_session(self: EnsembleCoordinator, now: int, why: str) -> None:
    session = self.session
    _let_go(self, now, why)
    self.session = session


same_session = instead(EnsembleCoordinator, _let_go=_let_go_same_session)


def _unchecked(self: Daemon, done: Any, *ops: Op, watch: Any = None) -> None:
    _ask(self, done, *[op for op in ops if op.kind != "check"], watch=watch)


def _any_version(self: Daemon, done: Any, *ops: Op, watch: Any = None) -> None:
    _ask(self, done, *[op._replace(version=-1) for op in ops], watch=watch)


no_token = instead(Daemon, _ask=_unchecked)
no_swap = instead(Daemon, _ask=_any_version)


def _current_of_any_term(self: Roster, name: str) -> Account | None:
    account = self.accounts.get(name)
    if account is None:
        return None
    registered = name == self._node or self._listed(name) == account.session.incarnation
    return account if registered else None


report_of_any_term = instead(Roster, current=_current_of_any_term)


def _call_anything(self: Roster, roll: Roll) -> None:
    """Whoever a list lacks is gone, however old the list is."""
    self.roll = Roll(2**62, roll.directors)


stale_rolls = instead(Roster, call=_call_anything)


def _only_holders(self: Roster, allocation: Allocation, _directors: Any) -> Document:
    version = allocation.version
    members = tuple(Member(g.node, g.session, version, version) for g in allocation.grants)
    return Document(allocation, members, version, self._settings.lease)


holders_alone = instead(Roster, document=_only_holders)


def _hear_anything(self: Roster, account: Account) -> None:
    self.accounts[account.node] = account
    self.known += 1


late_accounts = instead(Roster, hear=_hear_anything)


def _may_take_any_term(self: Holding, allocation: Allocation, _term: Term | None) -> bool:
    return self.taking is None and (self.taken is None or allocation.version > self.taken)


any_term = instead(Holding, may_take=_may_take_any_term)
nameless = grants.nameless_grants
no_eviction = instead(EnsembleMastership, evictions=lambda _self, _now: iter(()))


def _until_any(self: Failsafe, needed: Collection[str]) -> int:
    vouches = [self.peers[name].good_until if name in self.peers else 0 for name in needed]
    return max(vouches, default=0)


one_vouch = instead(Failsafe, until=_until_any)
own_vouch_forgotten = instead(Failsafe, silent_at=lambda _self, _name, _patience: 0)


def _speechless_by_own_vouch(self: Roster, name: str, now: int) -> bool:
    return self._failsafe is None or now >= self._failsafe.silent_at(name, self.patience)


anybody_fences = instead(Roster, _speechless=_speechless_by_own_vouch)


def _newest(_self: Roster, document: Document, _member: Member) -> Version:
    return document.version


newest_version = instead(Roster, _lower=_newest)
never_settled = instead(Roster, _settles=lambda _self, _document: False)


def _doubts_late(self: Failsafe, now: int) -> bool:
    return self._core.proved is None or now >= self._core.proved + self._lease


late_doubt = instead(Failsafe, doubts=_doubts_late)


def _until_nobody(self: Failsafe, needed: Collection[str]) -> int:
    return _until(self, needed) if needed else 2**62


alone_for_ever = instead(Failsafe, until=_until_nobody)


def _take_without_proof(self: EnsembleCoordinator, number: int, now: int) -> None:
    proved, self.proved = self.proved, now
    try:
        _take(self, number, now)
    finally:
        self.proved = proved


taken_without_proof = instead(EnsembleCoordinator, _take=_take_without_proof)


def _touched_anything(
    self: EnsembleCoordinator, number: int, _czxid: int, now: int
) -> list[EnsembleAction]:
    return _touched(self, number, self.registered_as or 0, now)


any_node_touched = instead(EnsembleCoordinator, touched=_touched_anything)
no_lapse = together(
    instead(EnsembleCoordinator, _begin=lambda _self, _now: None),
    instead(EnsembleCoordinator, stale=lambda self, _number, _version, now: self.tick(now)),
)

# Random runs notice these: with fail-safe or without, and what.
RANDOM: dict[str, tuple[Plant, bool, str]] = {
    "lease: writes, not the connection": (lease_from_connection, False, TWO),
    "the kernel's deadline": (no_deadline, False, TWO),
    "fence: L+ after the node has gone": (no_patience, False, TWO),
    "R5 names": (nameless, False, TWO),
    "R5 unacknowledged versions": (grants.forget_unacknowledged, False, TWO),
    "R5 two steps": (grants.one_step, False, TWO),
    "fail-safe: all members": (one_vouch, True, TWO),
    "R3 lapse": (no_lapse, True, UNSERVED),
}

# These take a script.
SCRIPTED: dict[str, tuple[Plant, Callable[[], None], str]] = {
    "lease: from the asking": (lease_from_answer, scripts.an_answer_that_comes_late, TWO),
    "R5 own term": (any_term, scripts.a_late_allocation_of_an_old_term, TWO),
    "R5 report in this term": (report_of_any_term, scripts.a_report_of_an_old_term, TWO),
    "members": (holders_alone, scripts.a_member_without_blocks, TWO),
    "fence: a list newer than the node": (stale_rolls, scripts.an_old_list, TWO),
    "R7 no new node before the tables are gone": (
        said_too_early,
        scripts.tables_that_go_slowly,
        TWO,
    ),
    "eviction": (no_eviction, scripts.a_daemon_that_hangs, UNSERVED),
    "fail-safe: the master's own vouch": (own_vouch_forgotten, scripts.a_vouch_just_given, TWO),
    "fail-safe: the master is a member": (anybody_fences, scripts.a_newcomer_alone, TWO),
    "fail-safe: of all versions that may be held": (
        newest_version,
        scripts.a_member_that_one_does_not_know_of,
        TWO,
    ),
    "fail-safe: doubts in time": (late_doubt, scripts.no_ensemble, UNSERVED),
    "fail-safe: documents that settle": (never_settled, scripts.the_last_one_dies, UNSERVED),
    "fail-safe: at least one other": (alone_for_ever, scripts.one_alone_is_cut_off, TWO),
}

# What has not been seen to break anything when it alone is missing, and what stands behind it.
UNSEEN: dict[str, tuple[Plant, str]] = {
    "lease: the czxid in the answer": (any_node_touched, "one session's answers come in order"),
    "transactions": (
        together(no_token, no_swap),
        "whose session has ended writes nothing; it takes an election node deleted by hand",
    ),
    "accounts: the newer counts": (late_accounts, "a session's reads do not go back"),
    "R3 a new session": (same_session, "a new node is another session"),
    "fail-safe: nothing taken without ZooKeeper": (taken_without_proof, "nothing new is read"),
}

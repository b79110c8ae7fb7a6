# SPDX-License-Identifier: GPL-2.0-or-later
"""The core that goes by ZooKeeper, event by event. What all of it comes to is in tests/sim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest

from saru.core.action import Drop, Push, Renew
from saru.core.beat import Allocation, Grant
from saru.core.ensemble.action import (
    EnsembleAction,
    Evict,
    Move,
    Proclaim,
    Register,
    Report,
    Stand,
    Store,
    Touch,
    Withdraw,
)
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.record import (
    ABSENT,
    Account,
    Document,
    Holds,
    Member,
    Reign,
    Roll,
    term_of,
)
from saru.core.reach import Reach
from saru.core.settings import Division, Membership, Quorum, Settings, plus
from saru.core.share import Share
from saru.core.term import Session, Term, Version

MS = 1_000_000
KEEPALIVE, DEADTIME, INITDEAD = 100 * MS, 400 * MS, 820 * MS
START = 1000 * MS
SEAT = 9 << 32 | 77  # czxid of the own election node
TERM = term_of(SEAT)
OLD = Version(term_of(9 << 32 | 5), 3)
NODE = 9 << 32 | 70  # czxid of the own node in `directors`

Kind = TypeVar("Kind")


def settings(nodes: str = "abc", *, failsafe: bool = False) -> Settings:
    return Settings(
        nodes=tuple(nodes),
        witnesses=(),
        quorum=Quorum.MAJORITY,
        keepalive=KEEPALIVE,
        deadtime=DEADTIME,
        initdead=INITDEAD,
        divisions=(Division(1, 16, 0),),
        membership=Membership.ZOOKEEPER,
        failsafe=failsafe,
    )


def only(kind: type[Kind], actions: Iterable[object]) -> list[Kind]:
    return [action for action in actions if isinstance(action, kind)]


def registered(nodes: str = "abc", name: str = "a") -> EnsembleCoordinator:
    """A director that has registered, and has been told that its first write is done."""
    core = EnsembleCoordinator(settings(nodes), name, 1, START)
    core.guard(True, "", START)
    assert only(Register, core.connected(START))
    (touch,) = only(Touch, core.registered(NODE, START))
    core.touched(touch.number, NODE, START + MS)
    core.reported(1, START + MS)
    core.reported(2, START + MS)  # that it has a lease now
    return core


def master(core: EnsembleCoordinator, document: Document | None = None, base: int = ABSENT) -> None:
    """Let `core` be elected, alone on the list."""
    core.document(1, document, base, START + MS)
    assert only(Proclaim, core.elected(SEAT, START + MS))
    core.proclaimed(TERM, START + MS)
    core.roll(Roll(NODE, {"a": NODE}), START + MS)


def live(core: EnsembleCoordinator, until: int) -> list[EnsembleAction]:
    """Let time pass, each write being acknowledged at once; what it asks for meanwhile."""
    asked, now = [], START + MS
    while (now := min(core.wake(now), until)) < until:
        actions = core.tick(now)
        for touch in only(Touch, actions):
            actions += core.touched(touch.number, NODE, now)
        asked += actions
    return asked + core.tick(until)


def account(name: str, czxid: int, term: Term = TERM, held: int = 0, **also: Any) -> Account:
    taken = OLD if held else None
    holds = (Holds(1, taken, held.to_bytes(2, "little"), None, b"\0\0"),)
    values: dict[str, Any] = {
        "leased": True,
        "able": True,
        "joined": True,
        "left": False,
        "weight": 100,
        "reach": None,
        "seq": 1,
    }
    return Account(
        node=name,
        session=Session(czxid, 1),
        term=term,
        share=Share(100),
        holds=holds,
        **(values | also),
    )


def old_document(*members: tuple[str, int], lease: int = DEADTIME) -> Document:
    """What an earlier master has left: the first member holds all."""
    name, czxid = members[0]
    allocation = Allocation(1, OLD, (Grant(name, Session(czxid, 1), b"\xff\xff"),))
    bound = tuple(Member(n, Session(c, 1), OLD, OLD) for n, c in members)
    return Document(allocation, bound, OLD, lease)


# --- the lease ------------------------------------------------------------------------------------


def test_the_lease_runs_from_the_asking_of_a_write_that_was_acknowledged() -> None:
    core = registered()
    assert core.lease == START + DEADTIME
    asked = START + KEEPALIVE
    (touch,) = only(Touch, core.tick(asked))
    assert core.lease == START + DEADTIME
    core.touched(touch.number, NODE, asked + 90 * MS)
    assert core.lease == asked + DEADTIME


def test_a_write_to_another_node_proves_nothing() -> None:
    core = registered()
    (touch,) = only(Touch, core.tick(START + KEEPALIVE))
    core.touched(touch.number, NODE + 9, START + KEEPALIVE + MS)
    assert core.lease == START + DEADTIME


def test_what_was_unanswered_when_the_connection_broke_proves_nothing() -> None:
    core = registered()
    (touch,) = only(Touch, core.tick(START + KEEPALIVE))
    core.disconnected(START + KEEPALIVE + MS)
    core.touched(touch.number, NODE, START + KEEPALIVE + 2 * MS)
    assert core.lease == START + DEADTIME
    assert not only(Touch, core.tick(START + 2 * KEEPALIVE))
    again = only(Touch, core.connected(START + 2 * KEEPALIVE))
    assert [t.number for t in again] == [touch.number + 1]


def test_an_expired_lease_is_a_new_session_of_the_same_node() -> None:
    core = registered()
    assert core.session == Session(NODE, 1)
    assert only(Drop, core.tick(START + DEADTIME))
    assert core.session == Session(NODE, 2)
    assert not core.leased(START + DEADTIME)


def test_a_new_node_is_made_when_the_tables_are_gone_and_not_before() -> None:
    core = registered()
    actions = core.unregistered("expired", START + 2 * MS)
    assert only(Drop, actions)
    assert not only(Register, [*actions, *core.tick(START + 3 * MS)])
    assert only(Register, core.dropped(START + 4 * MS))


def test_nothing_is_reported_while_tables_are_being_deleted() -> None:
    core = registered()
    assert not only(Report, core.guard(False, "rules are gone", START + 2 * MS))
    (report,) = only(Report, core.dropped(START + 3 * MS))
    assert report.account.session == Session(NODE, 2)
    assert not report.account.able


def test_nobody_waits_for_a_tick() -> None:
    core = registered()
    assert core.wake(START + 2 * MS) == START + KEEPALIVE
    core.disconnected(START + 2 * MS)
    assert core.wake(START + 2 * MS) == START + DEADTIME


# --- taking ---------------------------------------------------------------------------------------


def given(term: Term, serial: int = 1) -> Document:
    session = Session(NODE, 1)
    version = Version(term, serial)
    allocation = Allocation(1, version, (Grant("a", session, b"\x0f\x00"),))
    return Document(allocation, (Member("a", session, version, version),), None, DEADTIME)


def test_a_director_takes_what_its_term_gives_it() -> None:
    core = registered()
    assert not only(Push, core.document(1, given(TERM), 0, START + 2 * MS))
    (push,) = only(Push, core.reign(Reign(TERM, "b"), START + 3 * MS))
    assert (push.held, push.deadline) == (0x0F, START + DEADTIME)
    core.pushed(1, push.version, True, START + 4 * MS)
    (touch,) = only(Touch, core.tick(START + KEEPALIVE))
    (renew,) = only(Renew, core.touched(touch.number, NODE, START + KEEPALIVE + MS))
    assert renew.deadline == START + KEEPALIVE + DEADTIME


def test_a_director_that_knows_of_a_higher_term_takes_nothing_of_a_lower_one() -> None:
    core = registered()
    core.reign(Reign(TERM, "b"), START + 2 * MS)
    core.reign(Reign(OLD.term, "c"), START + 3 * MS)
    assert core.term == TERM
    assert not only(Push, core.document(1, given(OLD.term, 99), 0, START + 4 * MS))


# --- the master -----------------------------------------------------------------------------------


def test_the_first_document_waits_until_enough_have_moved() -> None:
    core = registered()
    master(core)
    assert not only(Store, core.movers(frozenset("a"), START + 2 * MS))
    (store,) = only(Store, core.movers(frozenset("ab"), START + 3 * MS))
    assert store.base == ABSENT
    assert store.document.allocation.bitmap("a", Session(NODE, 1)) == 0xFFFF
    assert [member.node for member in store.document.members] == ["a"]


def test_who_is_no_voter_has_no_part_in_that() -> None:
    core = registered()
    master(core)
    assert not only(Store, core.movers(frozenset("axyz"), START + 2 * MS))


def test_without_nodes_there_is_nobody_to_wait_for() -> None:
    core = registered(nodes="")
    core.document(1, None, ABSENT, START + MS)
    core.elected(SEAT, START + MS)
    assert only(Store, core.roll(Roll(NODE, {"a": NODE}), START + MS))


def test_every_node_says_when_it_has_moved() -> None:
    core = registered()
    assert not only(Move, core.tick(START + INITDEAD - 1))
    assert only(Move, core.tick(START + INITDEAD))


def test_a_member_that_is_registered_must_report_in_the_term() -> None:
    core = registered()
    master(core, old_document(("b", NODE - 3)), base=4)
    now = START + 2 * MS
    assert not only(Store, core.roll(Roll(NODE, {"a": NODE, "b": NODE - 3}), now))
    assert not only(Store, core.account(account("b", NODE - 3, OLD.term, 0xFFFF), now))
    (made,) = only(Store, core.account(account("b", NODE - 3, TERM, 0xFFFF, seq=2), now))
    assert made.base == 4
    assert made.document.version == Version(TERM, 1)
    session = Session(NODE - 3, 1)
    assert made.document.allocation.bitmap("b", session).bit_count() == 8
    assert made.document.allocation.bitmap("a", Session(NODE, 1)) == 0  # in two steps


def test_an_account_that_was_held_up_on_its_way_is_told_by_its_number() -> None:
    core = registered()
    master(core, old_document(("b", NODE - 3)), base=4)
    now = START + 2 * MS
    core.roll(Roll(NODE, {"a": NODE, "b": NODE - 3}), now)
    core.account(account("b", NODE - 3, OLD.term, 0xFFFF, seq=2), now)
    assert not only(Store, core.account(account("b", NODE - 3, TERM, 0xFFFF, seq=1), now))


@pytest.mark.parametrize("lease", [DEADTIME, 2 * DEADTIME])
def test_a_member_that_is_gone_is_fenced_after_the_longest_lease(lease: int) -> None:
    core = registered()
    master(core, old_document(("b", NODE - 3), lease=lease), base=4)
    fenced = START + MS + plus(lease) + 1
    assert not only(Store, live(core, fenced - 1))
    (store,) = only(Store, core.tick(fenced))
    assert [member.node for member in store.document.members] == ["a"]


def test_a_list_older_than_the_node_says_nothing() -> None:
    core = registered()
    master(core, old_document(("b", NODE + 1)), base=4)
    assert not only(Store, core.tick(START + 10 * DEADTIME))


def test_a_newer_node_of_its_name_fences_at_once() -> None:
    core = registered()
    master(core, old_document(("b", NODE - 3)), base=4)
    roll = Roll(NODE + 1, {"a": NODE, "b": NODE + 1})
    assert only(Store, core.roll(roll, START + 2 * MS))


def test_a_member_that_owes_an_answer_loses_its_registration() -> None:
    core = registered()
    master(core, old_document(("b", NODE - 3)), base=4)
    core.roll(Roll(NODE, {"a": NODE, "b": NODE - 3}), START + 2 * MS)
    late = START + 2 * MS + plus(DEADTIME) + 1
    assert only(Evict, core.tick(late)) == [Evict("b", NODE - 3)]


def test_a_refused_document_is_written_again_when_the_znode_has_been_read() -> None:
    core = registered(nodes="")
    master(core, old_document(("a", NODE)), base=4)
    core.document(1, old_document(("a", NODE)), 4, START + 2 * MS)
    assert not only(Store, core.refused(1, START + 3 * MS))
    (store,) = only(Store, core.document(1, old_document(("a", NODE)), 5, START + 4 * MS))
    assert store.base == 5


def test_a_master_that_built_on_an_old_document_resigns() -> None:
    core = registered(nodes="")
    master(core, old_document(("a", NODE)), base=4)
    other = given(Term(OLD.term.counter, OLD.term.place, OLD.term.incarnation + 1))
    actions = core.document(1, other, 5, START + 2 * MS)
    assert core.mastership is None
    assert only(Withdraw, actions)
    assert only(Stand, core.withdrawn(START + 3 * MS))


def test_a_deposed_master_writes_nothing() -> None:
    core = registered()
    master(core)
    assert only(Stand, core.deposed("its election node is gone", START + 2 * MS))
    assert not only(Store, core.movers(frozenset("abc"), START + 3 * MS))


def test_a_withdrawal_is_asked_until_it_is_done() -> None:
    core = registered()
    assert only(Withdraw, core.retire(START + 2 * MS))
    core.disconnected(START + 3 * MS)
    assert only(Withdraw, core.connected(START + 4 * MS))
    assert not only(Stand, core.withdrawn(START + 5 * MS))


def test_who_reaches_fewer_ping_nodes_gives_way() -> None:
    core = registered(nodes="")
    master(core, old_document(("b", NODE - 3)), base=4)
    now = START + 2 * MS
    core.reaches(Reach(1, b"mark"), now)
    core.roll(Roll(NODE, {"a": NODE, "b": NODE - 3}), now)
    there = account("b", NODE - 3, TERM, 0xFFFF, seq=2, reach=Reach(2, b"mark"))
    (store,) = only(Store, core.account(there, now))
    allocation = store.document.allocation
    assert allocation.bitmap("b", Session(NODE - 3, 1)) == 0xFFFF
    assert not only(Store, core.stored(1, store.document.version, 5, now))
    (store,) = only(Store, core.reaches(Reach(2, b"mark"), now))
    assert store.document.allocation.bitmap("b", Session(NODE - 3, 1)).bit_count() == 8

# SPDX-License-Identifier: GPL-2.0-or-later
"""R4: who follows, who stands, who is master, and when nobody must."""

from __future__ import annotations

import pytest

from saru.core import election
from saru.core.action import Action, Change
from saru.core.beat import Role
from saru.core.coordinator import Coordinator
from saru.core.peer import Peer
from saru.core.term import Term
from tests.unit.cores import DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Link
from tests.unit.statements import a_beat, some_settings

LOW, MIDDLE, HIGH = Term(4, 2, 1), Term(5, 0, 1), Term(5, 1, 1)


def a_peer(name: str, **fields: object) -> Peer:
    peer = Peer(name)
    peer.beat = a_beat(name, **fields)
    return peer


# --- the parts ------------------------------------------------------------------------------------


def test_terms_order_by_counter_then_place_then_incarnation() -> None:
    terms = [Term(1, 9, 9), Term(2, 0, 9), Term(2, 1, 1), Term(2, 1, 2)]
    assert sorted(terms) == terms
    assert sorted(terms, key=Term.packed) == terms
    assert [Term.unpacked(term.packed()) for term in terms] == terms


@pytest.mark.parametrize(
    ("own", "higher"), [(None, HIGH), (LOW, HIGH), (MIDDLE, HIGH), (HIGH, None)]
)
def test_the_highest_term_in_contact(own: Term | None, higher: Term | None) -> None:
    peers = [a_peer("b", term=LOW), a_peer("c", term=HIGH), a_peer("d"), a_peer("e", term=MIDDLE)]
    assert election.higher_term(own, peers) == higher


def test_a_master_is_who_says_so_in_this_term() -> None:
    peers = [a_peer("b", term=LOW, role=Role.MASTER), a_peer("c", term=HIGH, role=Role.CANDIDATE)]
    assert election.master_of(LOW, peers) is peers[0]
    assert election.master_of(HIGH, peers) is None
    assert election.master_of(None, peers) is None


def test_only_those_past_their_start_up_wait_count() -> None:
    peers = [a_peer("b", waited=False, term=LOW), a_peer("c", term=LOW)]
    assert election.unled(peers) == ["c"]
    assert election.in_term(LOW, peers) == 1


def test_the_first_by_name_stands_at_once_the_others_a_little_later_each() -> None:
    candidacy = election.Candidacy(some_settings("abc"))
    assert candidacy.due(1000, False, 2) is None
    assert candidacy.due(2000, True, 2) == 2000 + KEEPALIVE
    assert candidacy.due(3000, True, 0) == 2000  # the others have stood aside
    candidacy.followed(4000)
    assert candidacy.due(4000, True, 0) == 4000 + KEEPALIVE


# --- on the link ----------------------------------------------------------------------------------


def test_the_first_by_name_becomes_master_within_three_trips() -> None:
    link = Link("abc")
    for host in link.hosts.values():
        host.start()
    link.run(INITDEAD - 1)
    assert not link.told(Change.TERM)
    link.until(lambda: bool(link.master()))
    assert link.master() == "a"
    assert link.now - 1000 * MS <= INITDEAD + 3 * link.delay


def test_nobody_stands_alone() -> None:
    link = Link("a", voters="abc")
    link["a"].start()
    link.run(INITDEAD + 5 * DEADTIME)
    assert not link.told(Change.TERM)


def test_nobody_stands_against_a_master_that_a_quorum_hears() -> None:
    link = Link("abcde").settled()
    begin = link.now
    link.one_way("a", "c")  # c alone does not hear the master any more
    link.run(10 * DEADTIME)
    assert not link.told(Change.TERM, begin)
    assert link.master() == "a"


def test_a_master_cut_off_resigns_and_another_one_follows() -> None:
    link = Link("abc").settled()
    begin = link.now
    link.apart("a")
    link.until(lambda: link.held() == EVERYTHING and not link["a"].accepts())
    assert link.told(Change.RESIGNED, begin) == ["a"]
    assert link.master() == "b"
    link.heal()
    link.until(lambda: bool(link["a"].accepts()))
    assert link.master() == "b"
    assert link["a"].core.term == link["b"].core.term


def test_a_change_of_master_moves_no_block() -> None:
    link = Link("abc").settled()
    before = {name: host.accepts() for name, host in link.hosts.items()}
    begin = link.now

    def resigns(core: Coordinator) -> list[Action]:
        core.office.resign("a test")
        return core.tick(link["a"].clock())

    link["a"].do(resigns)
    link.until(lambda: bool(link.told(Change.VERSION, begin)))
    link.run(DEADTIME)
    assert len(link.told(Change.MASTER, begin)) == 1
    assert {name: host.accepts() for name, host in link.hosts.items()} == before
    assert not link.told(Change.BLOCKS, begin)


def test_who_stood_too_late_is_not_left_out() -> None:
    """The master dies. b stands and is master; c loses the beats that say so, and stands too.

    c's term is the higher one, and c can never come back into b's.
    """
    # The others' clocks are slow, so that b is the first to miss the master and to stand.
    link = Link("abcde", rates={"c": 0.995, "d": 0.995, "e": 0.995}).settled()
    link["a"].crash()
    link.until(lambda: link["b"].core.role is Role.CANDIDATE)
    begin = link.now
    link.lost = lambda _sender, receiver, _message: receiver == "c"
    link.until(lambda: link["c"].core.role is Role.CANDIDATE)
    assert link.master() == "b"
    link.lost = lambda _sender, _receiver, _message: False
    link.until(lambda: link.master() == "c" and link.held() == EVERYTHING)
    link.run(KEEPALIVE)
    assert len({link[name].core.term for name in "bcde"}) == 1
    assert all(link[name].accepts() for name in "bcde")
    assert link.told(Change.RESIGNED, begin) == ["b"]


def test_a_guard_that_flaps_costs_the_master_its_blocks_and_not_its_office() -> None:
    link = Link("abc").settled()
    begin = link.now
    for ok in (False, True, False, True):
        link["a"].do(lambda core, ok=ok: core.guard(ok, "a test", link["a"].clock()))  # type: ignore[misc]
    assert not link["a"].accepts()
    link.until(lambda: bool(link["a"].accepts()) and link.held() == EVERYTHING, limit=KEEPALIVE)
    assert not link.told(Change.RESIGNED, begin)


def test_a_witness_may_be_master_and_holds_nothing() -> None:
    link = Link("abc", witnesses="a").settled()
    assert link.master() == "a"
    assert not link["a"].accepts()
    link["b"].crash()
    link.until(lambda: link["c"].accepts() == EVERYTHING)


def test_a_master_that_hears_but_is_not_heard_gives_way() -> None:
    link = Link("abc").settled()
    for other in "bc":
        link.one_way("a", other)
    begin = link.now
    link.until(lambda: link.held() != EVERYTHING)
    link.until(lambda: link.held() == EVERYTHING)
    assert link.master() == "b"
    assert not link["a"].accepts()
    assert link.now - begin <= 2 * DEADTIME

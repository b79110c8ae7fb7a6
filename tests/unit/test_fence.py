# SPDX-License-Identifier: GPL-2.0-or-later
"""R6: what a voter promises, and what the master may conclude from promises."""

from __future__ import annotations

import itertools

import pytest

from saru.core.action import Change
from saru.core.beat import Ask, Beat, Promise, Report
from saru.core.fence import Fences, Promises
from saru.core.lease import quorum
from saru.core.peer import Peer, Sent
from saru.core.term import Session, Term, Version
from saru.core.voter import Voter
from tests.unit.cores import DEADTIME, EVERYTHING, MS, Link
from tests.unit.statements import a_beat, some_settings

SETTINGS = some_settings("abc")
LONG = SETTINGS.lease_plus
TERM = Term(3, 0, 1)
HOLDING = (Report(1, Version(TERM, 1), None),)
TAKING = (Report(1, None, Version(TERM, 1)),)
NOTHING = (Report(1, None, None),)


# --- the voter's part -----------------------------------------------------------------------------


def test_silence_is_counted_from_the_newest_beat_ever_vouched_for() -> None:
    promises, peer = Promises(SETTINGS), Peer("b")
    peer.vouched_at, peer.received = 500, 900  # it was heard later, and not vouched for
    assert promises.silent_at(peer) == 500 + LONG + 1  # more than L+, not L+


def test_who_never_vouched_need_not_wait() -> None:
    assert Promises(SETTINGS).silent_at(Peer("b")) == 0  # its start-up wait is longer


def test_a_new_session_and_a_new_incarnation_do_not_start_the_count_anew() -> None:
    link = Link("abc").settled()
    vouched = link["b"].core.peers["c"].vouched_at
    link["c"].crash()
    link["c"].start()
    link.run(DEADTIME)
    peer = link["b"].core.peers["c"]
    assert peer.beat is not None
    assert peer.beat.session == Session(2, 1)
    assert peer.vouched_at == vouched


@pytest.mark.parametrize(
    ("session", "reports", "forbidden"),
    [
        (Session(1, 4), NOTHING, True),  # older
        (Session(1, 5), NOTHING, True),  # the very one
        (Session(1, 5), HOLDING, True),
        (Session(1, 6), NOTHING, False),  # newer, and the master's business is not its
        (Session(2, 1), NOTHING, False),
        (Session(1, 6), HOLDING, True),  # newer, and what it holds is being handed on
        (Session(1, 6), TAKING, True),
        (Session(2, 1), HOLDING, True),
    ],
)
def test_whom_a_promise_bars(
    session: Session, reports: tuple[Report, ...], forbidden: bool
) -> None:
    promises = Promises(SETTINGS)
    promises.make("b", Session(1, 5), 1000)
    beat = a_beat("b", session=session, reports=reports)
    assert promises.forbid(beat, 1000) is forbidden
    assert promises.forbid(beat, 1000 + LONG - 1) is forbidden
    assert not promises.forbid(beat, 1000 + LONG)
    assert not promises.forbid(a_beat("c", session=session, reports=reports), 1000)


def test_a_later_promise_for_an_older_session_does_not_weaken_an_earlier_one() -> None:
    promises = Promises(SETTINGS)
    promises.make("b", Session(2, 1), 1000)
    promises.make("b", Session(1, 9), 1001)
    assert promises.forbid(a_beat("b", session=Session(2, 1)), 1002)


def test_a_promise_lasts_from_what_it_answers_however_often_it_is_said() -> None:
    promises = Promises(SETTINGS)
    for asked in (1000, 1000, 900):  # the last one to another master
        promises.make("b", Session(1, 1), asked)
    assert promises.forbid(a_beat("b"), 1000 + LONG - 1)
    assert not promises.forbid(a_beat("b"), 1000 + LONG)


def test_a_voter_answers_no_beat_that_is_older_than_a_promise_lasts() -> None:
    master, peer = Peer("a"), Peer("b")
    master.beat = a_beat("a", asks=(Ask("b", Session(1, 1)),))
    master.received = 1000
    voter = Voter(SETTINGS, {"a": master, "b": peer}, 0)
    (promise,) = voter.promised(master, 1000 + LONG - 1)
    assert promise == Promise("b", Session(1, 1), master.beat.seq)
    assert voter.promised(master, 1000 + LONG) == ()


# --- the master's part ----------------------------------------------------------------------------


def a_peer(name: str, **fields: object) -> Peer:
    peer = Peer(name)
    peer.beat = a_beat(name, **fields)
    return peer


def promising(voters: str, promise: Promise, term: Term = TERM) -> list[Peer]:
    return [a_peer(name, term=term, promises=(promise,)) for name in voters]


@pytest.mark.parametrize(("voters", "enough"), [(3, 2), (4, 2), (5, 3), (6, 3), (7, 4)])
def test_more_than_n_minus_q_promises(voters: int, enough: int) -> None:
    names = "abcdefg"[:voters]
    needed = quorum(some_settings(names), voters)
    ask, sent = Ask("z", Session(1, 1)), Sent(DEADTIME)
    sent.add(9, 1000)
    peers = promising(names[1:], Promise("z", Session(1, 1), 9))
    for count in range(voters):
        fences = Fences(SETTINGS, TERM, voters, needed)
        fenced = fences.count(ask, True, peers[:count], sent, 1001)
        assert fenced is (count + 1 >= enough)
    # Every quorum that could vouch for somebody has one in it that has promised not to.
    for quorum_of in itertools.combinations(names, needed):
        for promised in itertools.combinations(names, enough):
            assert set(quorum_of) & set(promised)


def test_a_promise_counts_if_it_answers_a_fresh_beat_and_what_is_asked() -> None:
    fences, sent = Fences(SETTINGS, TERM, 3, 2), Sent(DEADTIME)
    sent.add(9, 1000)
    ask = Ask("z", Session(2, 2))
    good = Promise("z", Session(2, 2), 9)
    assert fences.stands(good, ask, sent, 1000 + SETTINGS.lease - 1)
    assert not fences.stands(good, ask, sent, 1000 + SETTINGS.lease)
    assert fences.stands(Promise("z", Session(2, 3), 9), ask, sent, 1001)
    assert not fences.stands(Promise("z", Session(2, 1), 9), ask, sent, 1001)
    assert not fences.stands(Promise("y", Session(2, 2), 9), ask, sent, 1001)
    assert not fences.stands(Promise("z", Session(2, 2), 8), ask, sent, 1001)


def test_a_promise_made_in_another_term_does_not_count() -> None:
    fences, sent = Fences(SETTINGS, TERM, 3, 2), Sent(DEADTIME)
    sent.add(9, 1000)
    promise = Promise("z", Session(1, 1), 9)
    for term in (Term(2, 0, 1), Term(4, 0, 1)):
        peers = promising("b", promise, term)
        assert not fences.count(Ask("z", Session(1, 1)), True, peers, sent, 1001)


def test_promises_that_never_stood_together_fence_nobody() -> None:
    fences, sent = Fences(SETTINGS, TERM, 5, 3), Sent(DEADTIME)
    sent.add(8, 1000)
    sent.add(9, 1000 + SETTINGS.lease)
    ask = Ask("z", Session(1, 1))
    peers = promising("b", Promise("z", Session(1, 1), 8))
    peers += promising("c", Promise("z", Session(1, 1), 9))
    assert not fences.count(ask, True, peers, sent, 1000 + SETTINGS.lease)


def test_a_fence_found_stays_until_it_is_lifted() -> None:
    fences = Fences(SETTINGS, TERM, 3, 2)
    fences.find("z", Session(1, 2))
    assert fences.holds("z", Session(1, 1))
    assert fences.holds("z", Session(1, 2))
    assert not fences.holds("z", Session(1, 3))
    assert not fences.holds("z", Session(2, 1))
    fences.find("z", Session(1, 1))
    assert fences.holds("z", Session(1, 2))
    fences.lift("z")
    assert not fences.holds("z", Session(1, 1))


# --- on the link ----------------------------------------------------------------------------------


def test_whom_the_master_cannot_hear_lapses_before_its_blocks_are_handed_on() -> None:
    """b hears everybody and is heard by c, but not by the master."""
    link = Link("abc").settled()
    assert link.master() == "a"
    link.one_way("b", "a")
    begin = link.now
    link.until(lambda: bool(link.told(Change.LAPSED, begin)))
    assert link.told(Change.LAPSED, begin) == ["b"]
    assert not link.told(Change.FENCED, begin)
    link.until(lambda: link.held() == EVERYTHING)
    assert link.told(Change.FENCED, begin) == ["a"]
    assert not link["b"].accepts()


def test_nobody_is_fenced_while_a_voter_has_vouched_for_it_lately() -> None:
    """c is silent to the master at once; its own vouch for b keeps b alive until it has lapsed."""
    link = Link("abc").settled()
    link.one_way("b", "a")
    link.until(lambda: bool(link.told(Change.FENCED, link.now - 5 * DEADTIME)))
    vouched = link["c"].core.peers["b"].vouched_at
    assert vouched is not None
    assert link.now > vouched + LONG


def test_a_fenced_director_comes_back_when_it_is_heard() -> None:
    link = Link("abc").settled()
    link.apart("b")
    link.until(lambda: bool(link.told(Change.FENCED)))
    link.heal()
    link.until(lambda: bool(link["b"].accepts()))
    link.until(lambda: link.held() == EVERYTHING)


def test_a_farewell_that_the_master_remembers_is_no_fence() -> None:
    """d leaves and comes back, unheard by b alone; then b becomes master.

    All that b knows of d is that it left. The others vouch for the new d, and it holds blocks.
    """
    # The others' clocks are slow, so that b is the first to miss the master and to stand.
    link = Link("abcde", rates={"c": 0.995, "d": 0.995, "e": 0.995}).settled()
    link["d"].do(lambda core: core.leave(link["d"].clock()))
    link.run(20 * MS)
    link["d"].crash()
    link.run(DEADTIME)
    link.one_way("d", "b")
    link["d"].start()
    link.until(lambda: bool(link["d"].accepts()))
    link.run(DEADTIME)
    link["a"].crash()
    link.until(lambda: link.master() == "b")
    peer = link["b"].core.peers["d"]
    assert isinstance(peer.beat, Beat)
    assert peer.beat.left
    assert link["d"].accepts()
    link.until(lambda: link.held() == EVERYTHING)  # and never two on the way there


def test_a_farewell_hands_the_blocks_on_at_once() -> None:
    link = Link("abc").settled()
    link["b"].do(lambda core: core.leave(link["b"].clock()))
    assert link.until(lambda: link.held() == EVERYTHING) <= 2 * link.delay

# SPDX-License-Identifier: GPL-2.0-or-later
"""R2: how long a director may hold what it holds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru.core.beat import Heard
from saru.core.lease import lease_until, quorum
from saru.core.peer import Peer, Sent
from saru.core.settings import Quorum
from saru.core.term import Session
from tests.unit.cores import DEADTIME, MS, Link
from tests.unit.statements import a_beat, some_settings

SETTINGS = some_settings("abc")


@pytest.mark.parametrize(
    ("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)]
)
def test_a_majority(voters: int, needed: int) -> None:
    assert quorum(SETTINGS, voters) == needed
    # Two quorums share a voter, and more than n - q voters meet every quorum.
    assert 2 * needed > voters
    assert needed + (voters - needed + 1) > voters


def test_one_is_enough_where_there_is_no_quorum() -> None:
    assert quorum(some_settings("abc", quorum=Quorum.NONE), 3) == 1


@given(
    st.integers(1, 7).flatmap(
        lambda voters: st.tuples(st.just(voters), st.lists(st.integers(0, 20), max_size=voters - 1))
    ),
    st.booleans(),
    st.integers(0, 30),
)
def test_the_lease_is_the_latest_moment_for_which_a_quorum_vouches(
    cluster: tuple[int, list[int]], own: bool, own_beat: int
) -> None:
    voters, good_until = cluster
    needed = quorum(some_settings("abc"), voters)
    lease = lease_until(needed, own, good_until, own_beat)
    dumb = 0
    for moment in range(1, 40):
        vouching = sum(until >= moment for until in good_until) + own
        alone = needed == 1 and own
        if own_beat >= moment if alone else vouching >= needed:
            dumb = moment
    assert lease == dumb


@given(st.permutations([5, 9, 9, 1]))
def test_the_order_of_the_voters_does_not_matter(good_until: list[int]) -> None:
    assert lease_until(3, True, good_until, None) == 9


def test_a_vouch_is_good_from_when_the_beat_was_sent_not_from_when_the_answer_came() -> None:
    us = Session(1, 1)
    sent, peer = Sent(DEADTIME), Peer("b")
    sent.add(7, 1000 * MS)
    peer.hear(a_beat("b", heard=(Heard("a", us, 7, True),)), 1300 * MS, sent, ("a", us), DEADTIME)
    assert peer.good_until == 1000 * MS + DEADTIME


@pytest.mark.parametrize(
    "entry",
    [
        Heard("a", Session(1, 1), 7, False),  # heard, not vouched for
        Heard("a", Session(1, 1), 8, True),  # never sent
        Heard("a", Session(1, 2), 7, True),  # another session
        Heard("a", Session(2, 1), 7, True),  # another incarnation
        Heard("c", Session(1, 1), 7, True),  # somebody else
    ],
)
def test_what_is_no_vouch_for_us(entry: Heard) -> None:
    us = Session(1, 1)
    sent, peer = Sent(DEADTIME), Peer("b")
    sent.add(7, 1000 * MS)
    peer.hear(a_beat("b", heard=(entry,)), 1001 * MS, sent, ("a", us), DEADTIME)
    assert peer.good_until == 0


def test_contact_ends_a_lease_after_the_older_of_the_two_beats() -> None:
    us = Session(1, 1)
    sent, peer = Sent(DEADTIME), Peer("b")
    sent.add(7, 1000 * MS)
    peer.hear(a_beat("b", heard=(Heard("a", us, 7, True),)), 1100 * MS, sent, ("a", us), DEADTIME)
    end = 1000 * MS + DEADTIME
    assert peer.contact(end - 1, DEADTIME)
    assert not peer.contact(end, DEADTIME)
    assert peer.fresh(1100 * MS + DEADTIME - 1, DEADTIME)
    assert not peer.fresh(1100 * MS + DEADTIME, DEADTIME)


def test_late_and_doubled_beats_are_no_news() -> None:
    peer = Peer("b")
    beats = [a_beat("b", session=Session(i, n), seq=s) for i, n, s in ORDER]
    for older, newer in itertools.combinations(beats, 2):
        peer.beat = newer
        assert not peer.is_news(older)
        assert not peer.is_news(newer)
        peer.beat = older
        assert peer.is_news(newer)


ORDER = [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 1, 1), (2, 1, 9)]


def test_who_is_heard_and_hears_nobody_lapses() -> None:
    link = Link("abc").settled()
    for other in "bc":
        link.one_way(other, "a")
    begin = link.now
    link.until(lambda: not link["a"].accepts())
    # Its last vouches came just now, for beats that it had sent up to a keepalive before.
    assert link.now - begin <= DEADTIME
    assert not link["a"].core.leased(link["a"].clock())


def test_without_a_quorum_a_daemon_that_hangs_still_lets_go() -> None:
    link = Link("ab", quorum=Quorum.NONE).settled()
    link["a"].pause()
    link.until(lambda: not link["a"].accepts(), limit=DEADTIME + MS)

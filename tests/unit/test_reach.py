# SPDX-License-Identifier: GPL-2.0-or-later
"""Ping nodes: who reaches fewer of them gives way, and nobody does if all reach equally few."""

from __future__ import annotations

import copy

import pytest

from saru.core.action import Change
from saru.core.reach import Reach, Yielding
from saru.core.settings import Quorum
from tests.unit.cores import BLOCKS, DEADTIME, EVERYTHING, KEEPALIVE, MS, Link
from tests.unit.test_move import longest_gap

SETTLE = 3 * KEEPALIVE
MARK = b"mark"


def pinging(names: str, *, witnesses: str = "", quorum: Quorum = Quorum.MAJORITY) -> Link:
    """A settled cluster in which all directors reach two ping nodes."""
    link = Link(names, witnesses=witnesses, quorum=quorum, ping_settle=SETTLE).settled()
    for name in set(names) - set(witnesses):
        reaches(link, name, 2)
    link.run(DEADTIME)
    return link


def reaches(link: Link, name: str, count: int, mark: bytes = MARK) -> None:
    host = link[name]
    host.do(lambda core: core.reaches(Reach(count, mark), host.clock()))


def shares(link: Link) -> list[int]:
    return [host.accepts().bit_count() for host in link.hosts.values()]


@pytest.mark.parametrize("quorum", list(Quorum))
@pytest.mark.parametrize("who", "abc")
def test_who_reaches_fewer_hands_its_blocks_over_and_stands_for_nothing(
    who: str, quorum: Quorum
) -> None:
    link = pinging("abc", quorum=quorum)
    begin = link.now
    reaches(link, who, 1)
    link.run(SETTLE - 1)
    assert not link.told(Change.YIELD, begin)
    assert longest_gap(link, DEADTIME) <= 4 * link.delay  # a move like any other
    assert link.told(Change.YIELD, begin) == [who]
    assert not link[who].accepts()
    assert link.held() == EVERYTHING
    assert link.master() not in ("", who)
    assert not link.told(Change.LAPSED, begin)
    reaches(link, who, 2)
    assert longest_gap(link, DEADTIME + SETTLE) <= 4 * link.delay
    assert link[who].accepts()


def test_if_all_lose_them_nothing_changes() -> None:
    """One after the other, as it is seen in life; and back again."""
    link = pinging("abc")
    before, begin = shares(link), link.now
    for count in (1, 0, 2):
        for name in "abc":
            reaches(link, name, count)
            link.run(SETTLE // 4)
    link.run(2 * SETTLE)
    assert shares(link) == before
    assert not link.told(Change.YIELD, begin)


def test_flapping_counts_for_nothing() -> None:
    link = pinging("abc")
    begin = link.now
    for turn in range(20):
        reaches(link, "b", turn % 2 + 1)
        link.run(SETTLE // 2)
    assert not link.told(Change.YIELD, begin)


def test_two_give_way_to_a_third_and_take_over_at_once_when_it_fails() -> None:
    link = pinging("abc")
    for name in "bc":
        reaches(link, name, 0)
    link.until(lambda: shares(link) == [BLOCKS, 0, 0])
    link["a"].crash()
    link.until(lambda: link.held() == EVERYTHING, limit=2 * DEADTIME)


def test_nobody_gives_way_to_who_would_not_take_the_blocks() -> None:
    """A witness, a drained director, one that is not there yet, one that asks other ping nodes."""
    link = pinging("abc", witnesses="c")
    reaches(link, "c", 9)
    link["a"].do(lambda core: core.weigh(0, link["a"].clock()))
    reaches(link, "b", 1)
    link.run(DEADTIME + 3 * SETTLE)
    assert shares(link)[1] == BLOCKS
    link = pinging("ab")
    reaches(link, "a", 9, b"else")
    link.run(DEADTIME + 3 * SETTLE)
    assert all(shares(link))


def test_who_gives_way_still_does_after_a_restart() -> None:
    link = pinging("abc")
    reaches(link, "b", 1)
    link.until(lambda: not link["b"].accepts())
    state = link["b"].suspend()
    link.run(KEEPALIVE)
    begin = link.now
    link["b"].go_on(state)
    link.run(2 * DEADTIME)
    assert not link.told(Change.YIELD, begin)
    assert not link["b"].accepts()


def test_nothing_waits_for_a_tick() -> None:
    link = pinging("abc")
    reaches(link, "b", 1)
    while not link.told(Change.YIELD):
        link.step()
        for host in link.hosts.values():
            wake = host.core.wake(host.seen)
            assert copy.deepcopy(host.core).tick(wake - 1) == []


def test_it_takes_its_time_and_starts_anew_when_things_are_as_they_were() -> None:
    yielding = Yielding(10 * MS)
    assert not yielding.look([Reach(2, MARK)], 0)  # of itself nothing is known
    yielding.reach = Reach(1, MARK)
    for now, other, changed in (
        (0, 2, False),
        (9, 2, False),
        (9, 1, False),
        (9, 2, False),
        (18, 2, False),
        (19, 2, True),
        (19, 1, False),
        (29, 1, True),
    ):
        assert yielding.look([Reach(other, MARK), Reach(0, MARK)], now * MS) == changed
    assert not yielding.yields

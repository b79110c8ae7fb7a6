# SPDX-License-Identifier: GPL-2.0-or-later
"""Soon one: how long takeovers take, that nothing waits for a tick, and that links may break."""

from __future__ import annotations

import copy
import itertools
import random

import pytest

from saru.core.settings import Quorum
from tests.unit.cores import DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Link
from tests.unit.statements import some_settings

LONG = some_settings("abc").lease_plus


@pytest.mark.parametrize("names", ["abc", "abcd", "abcde"])
@pytest.mark.parametrize("delay", [MS, 20 * MS])
@pytest.mark.parametrize("offset", [0, 99])
def test_a_takeover_is_complete_when_it_can_be(names: str, delay: int, offset: int) -> None:
    """L+ after the last beat of the lost one came, and three trips after (seven for the master).

    The first of these trips is the last beat's own; a SET takes its time.
    """
    set_time = 3 * MS
    for lost in names:
        link = Link(names, delay=delay, set_time=set_time).settled()
        link.run(offset * MS)
        trips = 7 if link.master() == lost else 3
        link[lost].crash()
        last = max(time for time, name, _ in link.sent if name == lost)
        link.until(lambda: link.held() != EVERYTHING)  # noqa: B023
        link.until(lambda: link.held() == EVERYTHING)  # noqa: B023
        assert link.now - last <= LONG + trips * delay + set_time + 1


def test_only_the_blocks_of_the_lost_one_move() -> None:
    link = Link("abcd").settled()
    before = {name: host.accepts() for name, host in link.hosts.items()}
    link["c"].crash()
    link.until(lambda: link.held() == EVERYTHING)
    for name in "abd":
        assert not before[name] & ~link[name].accepts()


def scramble(seed: int) -> Link:
    """A link on which much goes wrong."""
    choose = random.Random(seed)
    names = "abcde"[: choose.choice((3, 4, 5))]
    quorum = Quorum.NONE if seed % 5 == 4 else Quorum.MAJORITY
    link = Link(names, delay=choose.choice((1, 10)) * MS, set_time=2 * MS, quorum=quorum)
    loss = choose.choice((0.0, 0.2))
    link.lost = lambda _sender, _receiver, _message: choose.random() < loss
    link.promised = quorum is Quorum.MAJORITY
    for host in link.hosts.values():
        host.start()
    link.run(2 * INITDEAD)
    for _ in range(6):
        link.run(choose.randrange(1000) * MS)
        host = link[choose.choice(names)]
        kind = choose.randrange(5)
        if kind == 0:
            host.crash()
        elif kind == 1 and host.daemon is None:
            host.start()
        elif kind == 2:
            link.apart(host.name)
        elif kind == 3:
            link.heal()
        else:
            link.one_way(*choose.sample(names, 2))
    return link


@pytest.mark.parametrize("seed", range(10))
def test_nothing_waits_for_a_tick(seed: int) -> None:
    """`wake` is right: a tick before that moment finds nothing to do, in no state ever reached."""
    link = scramble(seed)
    choose = random.Random(seed)
    for _ in range(150):
        link.step()
        host = link[choose.choice(list(link.hosts))]
        if host.daemon is not None:
            wake = host.core.wake(host.seen)
            for early in (wake - 1, choose.randrange(host.seen, wake)):
                assert copy.deepcopy(host.core).tick(early) == []


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_changes_that_go_out_at_once_make_no_storm(loss: float) -> None:
    choose = random.Random(7)
    link = Link("abcde").settled()
    link.lost = lambda _sender, _receiver, _message: choose.random() < loss
    before = len(link.sent)
    seconds = 20
    for _ in range(seconds * 5):
        link.heal()
        if loss:
            link.one_way(*choose.sample("abcde", 2))
        link.run(200 * MS)
    each = (len(link.sent) - before) / len(link.hosts) / seconds
    assert each <= 4 * 1000 * MS / KEEPALIVE


def test_every_two_way_graph_of_four_with_a_quorum_in_contact_is_served() -> None:
    """Whatever links break for good: if three are in contact with each other, all is held."""
    names = "abcd"
    pairs = list(itertools.combinations(names, 2))
    for number in range(2 ** len(pairs)):
        cut = [pair for place, pair in enumerate(pairs) if number >> place & 1]
        if not any(
            all(pair not in cut for pair in itertools.combinations(quorum, 2))
            for quorum in itertools.combinations(names, 3)
        ):
            continue
        link = Link(names).settled()
        for one, two in cut:
            link.one_way(one, two)
            link.one_way(two, one)
        link.run(5 * DEADTIME)
        assert link.held() == EVERYTHING, f"with {cut} cut"


@pytest.mark.parametrize("who", "abc")
def test_whoever_comes_back_is_served_at_once_and_costs_nobody_a_block_for_long(who: str) -> None:
    """Stopped for long, then continued. What it gets is unheld only for the two steps of a move.

    It does not hear the others yet, in its first beat: nothing is taken from anybody for it before
    it can be given blocks, and nobody promises to bar the session in which it comes back.
    """
    link = Link("abc").settled()
    link[who].pause()
    link.run(5 * DEADTIME)
    link[who].resume()
    begin = link.now
    link.until(lambda: link.held() != EVERYTHING)
    unheld = link.until(lambda: link.held() == EVERYTHING)
    assert link[who].accepts()
    assert unheld <= 4 * link.delay
    assert link.now - begin <= 12 * link.delay


@pytest.mark.parametrize("who", "abc")
def test_whoever_was_cut_off_is_back_within_a_keepalive(who: str) -> None:
    link = Link("abc").settled()
    link.apart(who)
    link.run(5 * DEADTIME)
    link.heal()
    assert link.until(lambda: bool(link[who].accepts())) <= KEEPALIVE + 8 * link.delay


@pytest.mark.parametrize("who", "abc")
def test_a_farewell_costs_the_blocks_a_few_trips_even_if_it_is_the_masters(who: str) -> None:
    link = Link("abc").settled()
    link[who].do(lambda core: core.leave(link[who].clock()))
    assert link.until(lambda: link.held() == EVERYTHING) <= 6 * link.delay

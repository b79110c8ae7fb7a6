# SPDX-License-Identifier: GPL-2.0-or-later
"""Beats come at even distances, so that everybody is vouched for soon after each of his own."""

from __future__ import annotations

import itertools
import random
import string

import pytest

from saru.core.beat import Beat
from saru.core.settings import Quorum
from tests.unit.cores import DEADTIME, EVERYTHING, KEEPALIVE, MS, Link

DELAY = MS
LONG = 100 * KEEPALIVE
SLACK = 6 * MS
"""Trips, and distances on clocks that differ."""


def started(names: str, seed: int, drift: float = 0.01) -> Link:
    """A link whose hosts have started at any moment, each with a clock of its own."""
    chance = random.Random(seed)
    rates = {name: 1 + chance.uniform(-drift, drift) for name in names}
    link = Link(names, rates=rates, delay=DELAY)
    for host in link.hosts.values():
        host.start()
        link.run(chance.randrange(KEEPALIVE))
    link.until(lambda: link.held() == EVERYTHING)
    link.run(LONG)
    return link


def beats(link: Link, length: int) -> list[tuple[int, str]]:
    """When which node sent a beat, from now on."""
    begun = len(link.sent)
    link.run(length)
    return [(at, who) for at, who, what in link.sent[begun:] if isinstance(what, Beat)]


@pytest.mark.parametrize("names", ["abc", "abcd", "abcde"])
@pytest.mark.parametrize("seed", range(5))
def test_one_comes_between_any_two_of_another(names: str, seed: int) -> None:
    link = started(names, seed)
    sent = beats(link, LONG)
    place = names.index(link.master())
    order = names[place:] + names[:place]
    first = next(number for number, (_, who) in enumerate(sent) if who == link.master())
    assert [who for _, who in sent[first:]] == [
        order[number % len(names)] for number in range(len(sent) - first)
    ]
    even = KEEPALIVE // len(names)
    gaps = [later - at for (at, _), (later, _) in itertools.pairwise(sent)]
    assert max(gaps) < even + SLACK
    assert min(gaps) > even - SLACK


@pytest.mark.parametrize("seed", range(5))
def test_a_lease_of_three_voters_is_never_older_than_a_keepalive_and_a_third(seed: int) -> None:
    link = started("abc", seed)
    until = link.now + LONG
    while link.now < until:
        link.step()
        left = min(host.core.lease - host.clock() for host in link.hosts.values())
        assert left > DEADTIME - KEEPALIVE - KEEPALIVE // 3 - SLACK


@pytest.mark.parametrize("seed", range(3))
def test_there_are_hardly_more_of_them(seed: int) -> None:
    link = started("abc", seed, drift=0)
    assert len(beats(link, LONG)) <= 3 * LONG // KEEPALIVE * 1.04


def test_after_a_change_of_master_they_come_apart_anew() -> None:
    link = started("abc", 1)
    lost = link.master()
    link[lost].crash()
    link.until(lambda: link.master() not in ("", lost) and link.held() == EVERYTHING)
    link.run(LONG)
    sent = beats(link, LONG)
    gaps = [later - at for (at, _), (later, _) in itertools.pairwise(sent)]
    assert min(gaps) > KEEPALIVE // 3 - SLACK


@pytest.mark.parametrize("seed", range(20))
def test_who_was_held_up_is_in_its_place_again_after_eight_rounds(seed: int) -> None:
    link = started("abc", seed)
    last = link[sorted(set("abc") - {link.master()})[-1]]
    link.run(random.Random(seed).randrange(KEEPALIVE))
    last.pause()
    link.run(KEEPALIVE * 9 // 10)
    last.resume()
    link.run(8 * KEEPALIVE)
    sent = beats(link, LONG // 10)
    gaps = [later - at for (at, _), (later, _) in itertools.pairwise(sent)]
    assert min(gaps) > KEEPALIVE // 3 - SLACK


def test_the_last_of_many_is_in_its_place_too() -> None:
    """That comes after the master's next beat."""
    names = string.ascii_letters
    link = Link("Az", voters=names, quorum=Quorum.NONE, delay=DELAY).settled()
    assert link.master() == "A"
    link.run(LONG)
    place = KEEPALIVE * ((names.index("z") - names.index("A")) % len(names)) // len(names)
    latest = 0
    for at, who in beats(link, LONG):
        if who == "z":
            assert abs((at - latest) - (place - KEEPALIVE * 31 // 32)) <= 2 * DELAY
        else:
            latest = at

# SPDX-License-Identifier: GPL-2.0-or-later
"""Beats of the largest clusters fit one Ethernet frame, however their nodes are called.

A beat in two frames is lost with either, and is sent so just when beats are lost.
"""

import random
from collections.abc import Callable

import pytest

from saru.core.beat import Ask, Beat, Claim, Heard, KeyMark, Offer, Promise, Report, Role
from saru.core.reach import Reach
from saru.core.settings import Division, Quorum, Settings
from saru.core.share import Share
from saru.core.term import INCARNATION_MAX, Session, Term, Version
from saru.wire.codec import FRAME_MAX, Codec
from saru.wire.voters import Voters
from tests.unit.datagrams import KEYS

VOTERS = 64
LOST = 31  # as many as can be lost at once, with a quorum left
Name = Callable[[random.Random, int], str]
FAMILIES: dict[str, Name] = {
    "node-%08x": lambda chance, _: f"node-{chance.getrandbits(32):08x}",
    "ip-10-x-y-z": lambda chance, _: "ip-10-{}-{}-{}".format(*chance.randbytes(3)),
    "lbN-fra.prod.example.net": lambda _, place: f"lb{place}-fra.prod.example.net",
    "i-<17 hex digits>": lambda chance, _: f"i-{chance.getrandbits(68):017x}",
}


def longest(chance: random.Random, _: int) -> str:
    return chance.randbytes(32).hex()[:63]


def cluster(name: Name) -> Settings:
    chance = random.Random(1)
    return Settings(
        nodes=tuple(sorted(name(chance, place) for place in range(VOTERS))),
        witnesses=(),
        quorum=Quorum.MAJORITY,
        keepalive=10**9,
        deadtime=5 * 10**9,
        initdead=11 * 10**9,
        divisions=(Division(1, 65536, 0),),
    )


def long_beat(settings: Settings, asks: int, promises: int, ids: int = 1) -> Beat:
    """The longest beat that there can be after years, with so many asks, promises and ids."""
    chance = random.Random(asks + promises)
    node, *others = settings.nodes
    sessions = {
        name: Session(chance.randint(INCARNATION_MAX // 2, INCARNATION_MAX), chance.randint(1, 999))
        for name in settings.nodes
    }

    def number() -> int:
        return chance.randrange(10**8, 10**9)

    term = Term(number(), 63, chance.randint(INCARNATION_MAX // 2, INCARNATION_MAX))
    versions = [(Version(term, number()), Version(term, number())) for _ in range(ids)]
    master_said = number()
    lost = sorted(chance.sample(others, LOST))
    return Beat(
        node=node,
        session=sessions[node],
        seq=number(),
        settings=settings.digest(),
        term=term,
        role=Role.MASTER,
        hears=True,
        waited=True,
        joined=True,
        able=True,
        left=False,
        weight=1000,
        lease_left=4_912_345_678,
        heard=tuple(
            Heard(name, sessions[name], number(), bool(chance.getrandbits(1))) for name in others
        ),
        asks=tuple(Ask(name, sessions[name]) for name in lost[:asks]),
        promises=tuple(Promise(name, sessions[name], master_said) for name in lost[:promises]),
        reports=tuple(Report(id_, *pair) for id_, pair in enumerate(versions, 1)),
        offers=tuple(
            Offer(id_, newest, chance.randbytes(8)) for id_, (_, newest) in enumerate(versions, 1)
        ),
        wants=(),
        share=Share(1000, by=others[7], revision=12),
        keys=(KeyMark(1, chance.randbytes(4)), KeyMark(2, chance.randbytes(4))),
        reach=Reach(2, chance.randbytes(4)),
        yields=True,
        claim=Claim.HOLDS,
        deadtime=settings.deadtime,
        wait_left=settings.initdead,
    )


def sent(name: Name, asks: int, promises: int, ids: int = 1) -> bytes:
    """A datagram with such a beat; a receiver has read it as it was meant."""
    settings = cluster(name)
    beat = long_beat(settings, asks, promises, ids)
    voters = Voters.of(settings)
    sender = Codec(beat.node, beat.session.incarnation, KEYS, settings.divisions, voters=voters)
    sender.go_on(beat.session.incarnation, random.Random(2).randbytes(8), 10**9)
    (datagram,) = sender.encode(beat)
    assert sender.counters["fragmented"] == (len(datagram) > FRAME_MAX)
    receiver = Codec(settings.nodes[5], 1, KEYS, settings.divisions, voters=voters)
    assert receiver.decode(datagram) == beat
    return datagram


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("asks", "promises"), [(0, 0), (LOST, 0), (0, LOST), (LOST, LOST)])
def test_beats_of_64_voters_fit_a_frame(family: str, asks: int, promises: int) -> None:
    assert len(sent(FAMILIES[family], asks, promises)) <= FRAME_MAX


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("asks", "promises"), [(0, 0), (LOST, 0), (0, LOST)])
def test_so_they_do_with_four_ids(family: str, asks: int, promises: int) -> None:
    assert len(sent(FAMILIES[family], asks, promises, ids=4)) <= FRAME_MAX


@pytest.mark.parametrize(("asks", "promises"), [(LOST, 0), (0, LOST)])
def test_so_they_do_with_the_longest_names(asks: int, promises: int) -> None:
    """A master asks, and the others promise; nobody does both."""
    assert len(sent(longest, asks, promises)) <= FRAME_MAX


def test_without_a_list_of_nodes_names_that_are_alike_fit_a_frame() -> None:
    settings = cluster(FAMILIES["lbN-fra.prod.example.net"])
    beat = long_beat(settings, 0, 0)
    sender = Codec(beat.node, beat.session.incarnation, KEYS, settings.divisions)
    assert len(sender.encode(beat)[0]) <= FRAME_MAX

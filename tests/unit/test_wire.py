# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams: what goes in comes out, and fits a frame."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru.core.beat import (
    Beat,
    Heard,
)
from saru.core.term import Session
from tests.unit.datagrams import (
    beat,
    beats,
    codec,
    random_allocation,
)  # fmt: skip


@given(beats)
def test_a_beat_comes_out_as_it_went_in(sent: Beat) -> None:
    sender = codec(sent.node, sent.session.incarnation)
    receiver = codec("wilma" if sent.node != "wilma" else "walter")
    (datagram,) = sender.encode(sent)
    assert receiver.decode(datagram) == sent
    assert receiver.counters["accepted"] == 1


@given(st.integers(0, 2**32), st.integers(1, 64), st.sampled_from([(7, 2), (1, 1024)]))
def test_an_allocation_comes_out_as_it_went_in(
    seed: int, members: int, size: tuple[int, int]
) -> None:
    id_, blocks = size
    sent = random_allocation(seed, members, blocks, id_)
    receiver = codec("wendy")
    received = [receiver.decode(datagram) for datagram in codec().encode(sent)]
    assert received[-1] == sent
    assert received[:-1] == [None] * (len(received) - 1)


@pytest.mark.parametrize("members", [0, 1, 64, 255])
def test_the_largest_allocation_goes_out_in_parts_that_fit_a_frame(members: int) -> None:
    sent = random_allocation(11, members, 65536, 9)
    datagrams = codec("w" * 63).encode(sent)
    assert max(len(datagram) for datagram in datagrams) <= 1400
    receiver = codec("wendy")
    random.Random(12).shuffle(datagrams)
    received = [receiver.decode(datagram) for datagram in datagrams]
    assert [message for message in received if message is not None] == [sent]


def hex_name(place: int) -> str:
    """A name with nothing in it to compress."""
    return random.Random(place).randbytes(4).hex()


@pytest.mark.parametrize(
    ("directors", "name"),
    [
        (3, "node{}".format),
        (16, "lb-{:02d}.example.net".format),
        (64, "node{}".format),
        (64, "lb-{:02d}.example.net".format),
        (64, hex_name),
    ],
)
def test_a_beat_fits_one_frame(directors: int, name: object) -> None:
    assert callable(name)
    rng = random.Random(directors)
    others = tuple(
        Heard(name(place), Session(rng.randrange(1, 2**16), 300), rng.randrange(2**31), True)
        for place in range(1, directors)
    )
    sender = codec(name(0))
    (datagram,) = sender.encode(msgspec.structs.replace(beat(name(0)), heard=others))
    assert len(datagram) <= 1452
    assert sender.counters["fragmented"] == 0


def test_a_beat_that_fits_no_frame_is_sent_and_counted() -> None:
    others = tuple(
        Heard(random.Random(place).randbytes(31).hex(), Session(place, 1), place, True)
        for place in range(1, 64)
    )
    sent = msgspec.structs.replace(beat(), heard=others)
    sender = codec()
    (datagram,) = sender.encode(sent)
    assert len(datagram) > 1452
    assert sender.counters["fragmented"] == 1
    assert codec("wendy").decode(datagram) == sent

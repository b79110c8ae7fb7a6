# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams: what goes in comes out, and fits a frame."""

import random
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from saru.core.admission import Admission
from saru.core.beat import Beat, Heard
from saru.core.settings import Settings
from saru.core.term import Session
from saru.wire.codec import BEAT, COMPRESSED
from saru.wire.voters import Voters
from tests.unit.cores import Link
from tests.unit.datagrams import (
    CLUSTER,
    beat,
    beats,
    beats_of,
    codec,
    encoded,
    names,
    random_allocation,
)  # fmt: skip


@given(beats)
def test_a_beat_comes_out_as_it_went_in(sent: Beat) -> None:
    sender = codec(sent.node, sent.session.incarnation)
    receiver = codec("wilma" if sent.node != "wilma" else "walter")
    (datagram,) = sender.encode(sent)
    assert receiver.decode(datagram) == sent
    assert receiver.counters["accepted"] == 1


VOTERS = Voters.of(CLUSTER)
of_the_cluster = beats_of(st.sampled_from(CLUSTER.nodes) | names, st.just(CLUSTER.digest()))


@given(of_the_cluster)
def test_a_beat_of_places_comes_out_as_it_went_in(sent: Beat) -> None:
    sender = codec(sent.node, sent.session.incarnation, voters=VOTERS)
    receiver = codec("receiver" if sent.node != "receiver" else "wilma", voters=VOTERS)
    (datagram,) = sender.encode(sent)
    assert receiver.decode(datagram) == sent
    assert receiver.counters["accepted"] == 1


LATER = ["of a later version", 7]


def later(beat: Beat) -> bytes:
    """The body of a beat of a later version: a field more at the end of all that may get one."""
    said, *lists = msgspec.msgpack.decode(encoded(beat, VOTERS))
    longer = [[[*entry, LATER] for entry in entries] for entries in lists]
    for place, key in enumerate(Beat.__struct_fields__):
        if key in ("reports", "offers", "wants", "keys"):
            said[place] = [[*entry, LATER] for entry in said[place]]
        elif key in ("share", "reach") and said[place] is not None:
            said[place] = [*said[place], LATER]
    return msgspec.msgpack.encode([[*said, LATER], *longer, LATER])


@pytest.mark.parametrize("kind", [BEAT, BEAT | COMPRESSED])
@given(sent=of_the_cluster)
def test_fields_that_a_later_version_appends_are_ignored(kind: int, sent: Beat) -> None:
    sender = codec(sent.node, sent.session.incarnation, voters=VOTERS)
    receiver = codec("receiver" if sent.node != "receiver" else "wilma", voters=VOTERS)
    body = later(sent)
    datagram = sender._sign(kind, zlib.compress(body) if kind & COMPRESSED else body)
    assert receiver.decode(datagram) == sent
    assert receiver.counters["accepted"] == 1


OTHERS = [
    structs.replace(CLUSTER, nodes=("ada", "walter", "wanda", "wendy", "wilma")),
    structs.replace(CLUSTER, nodes=("walter", "wendy")),
    structs.replace(CLUSTER, nodes=()),
]


@pytest.mark.parametrize("other", OTHERS)
@given(sent=of_the_cluster)
def test_of_another_list_of_nodes_all_is_read_but_places(other: Settings, sent: Beat) -> None:
    """Its sender is refused for its settings; for that, and for its state, it must be read."""
    sender = codec(sent.node, sent.session.incarnation, voters=VOTERS)
    receiver = codec("receiver" if sent.node != "receiver" else "ada", voters=Voters.of(other))
    got = receiver.decode(sender.encode(sent)[0])
    known = {
        key: tuple(each for each in getattr(sent, key) if each.node not in CLUSTER.nodes)
        for key in ("heard", "asks", "promises")
    }
    assert got == structs.replace(sent, **known)
    admission = Admission(other, lambda *_: None)
    assert isinstance(got, Beat)
    assert not admission.admits(got)
    assert admission.refused == {sent.node: ["cluster.nodes"]}


def test_other_settings_do_not_change_what_places_mean() -> None:
    other = structs.replace(CLUSTER, deadtime=3)
    heard = (Heard("wilma", Session(1, 1), 5, True),)
    sent = structs.replace(beat(), settings=CLUSTER.digest(), heard=heard)
    got = codec("wendy", voters=Voters.of(other)).decode(codec(voters=VOTERS).encode(sent)[0])
    assert got == sent


def test_what_a_core_says_is_sent_by_places() -> None:
    """A core's beat and its codec's voters are of the same settings, whatever those are."""
    link = Link("abcde").settled()
    voters = Voters.of(link.settings)
    (said,) = [m for _, who, m in link.sent[-40:] if who == "a" and isinstance(m, Beat)][-1:]
    assert {type(each.node) for each in voters.pack(said).heard} == {int}


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


def test_a_beat_that_fits_no_frame_is_sent_and_counted() -> None:
    others = tuple(
        Heard(random.Random(place).randbytes(31).hex(), Session(place, 1), place, True)
        for place in range(1, 64)
    )
    sent = structs.replace(beat(), heard=others)
    sender = codec()
    (datagram,) = sender.encode(sent)
    assert len(datagram) > 1452
    assert sender.counters["fragmented"] == 1
    assert codec("wendy").decode(datagram) == sent

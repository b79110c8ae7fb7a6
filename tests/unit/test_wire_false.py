# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams that were touched, forged, repeated or are impossible change nothing."""

import hmac
import random
import zlib
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru.config.authkeys import NO_SECRET, Keys
from saru.core.beat import (
    Allocation,
    Ask,
    Beat,
    Grant,
    Heard,
    KeyMark,
    Offer,
    Promise,
    Report,
    Want,
)
from saru.core.share import Share
from saru.core.term import Session, Term, Version
from saru.wire import codec as wire
from saru.wire import parts
from saru.wire.codec import Codec
from saru.wire.soundness import WAIT_MAX
from saru.wire.voters import Voters
from saru.wire.window import WINDOW
from tests.unit.datagrams import (
    CLUSTER,
    DIVISIONS,
    KEYS,
    beat,
    codec,
    counted,
    division,
    encoded,
    random_allocation,
)  # fmt: skip


@given(st.data())
def test_a_touched_datagram_changes_nothing(data: st.DataObject) -> None:
    sender, receiver = codec(), codec("wendy")
    datagram = bytearray(sender.encode(beat(seq=1))[0])
    good = bytes(datagram)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(datagram) - 1))
        datagram[place] ^= data.draw(st.integers(1, 255))
    if bytes(datagram) != good:
        (why,) = counted(receiver, bytes(datagram))
        assert why in {"bad_magic", "bad_version", "foreign", "malformed", "unknown_key", "forged"}
    assert receiver.decode(good) == beat(seq=1)


@given(st.data())
def test_a_cut_or_lengthened_datagram_changes_nothing(data: st.DataObject) -> None:
    receiver = codec("wendy")
    good = codec().encode(beat())[0]
    cut = good[: data.draw(st.integers(0, len(good) - 1))]
    assert counted(receiver, cut)
    assert counted(receiver, good + data.draw(st.binary(min_size=1, max_size=40)))
    assert receiver.decode(good) == beat()


@given(st.binary(max_size=200))
def test_noise_changes_nothing(noise: bytes) -> None:
    assert sum(counted(codec("wendy"), noise).values()) == 1
    assert sum(counted(codec("wendy"), b"SARU\x01\x01" + noise).values()) == 1


def signed(body: bytes, kind: int, sequence: int = 1, keys: Keys = KEYS) -> bytes:
    """A datagram of walter's with any body, signed as it must be."""
    header = wire._HEADER.pack(
        b"SARU", 1, kind, keys.signing, codec().cluster, 1, bytes(8), sequence, len("walter")
    )
    whole = header + b"walter" + body
    return whole + hmac.digest(keys.secrets[keys.signing], whole, "sha256")


@given(st.binary(max_size=300), st.sampled_from([1, 2, 129]))
def test_a_key_holders_noise_is_counted_as_malformed(noise: bytes, kind: int) -> None:
    receiver = codec("wendy")
    assert counted(receiver, signed(noise, kind)) == {"malformed": 1}
    assert receiver.decode(signed(encoded(beat()), 1, sequence=2)) == beat()


def test_a_body_too_deep_to_look_into_is_malformed() -> None:
    body = msgspec.msgpack.encode([*msgspec.msgpack.decode(encoded(beat())), None])
    assert body.endswith(b"\xc0")
    deep = body[:-1] + b"\x91" * 1300 + b"\xc0"
    receiver = codec("wendy")
    assert counted(receiver, signed(deep, 1)) == {"malformed": 1}
    deeper = zlib.compress(body[:-1] + b"\x91" * 100_000 + b"\xc0")
    assert counted(receiver, signed(deeper, 129, sequence=2)) == {"malformed": 1}


def replaced(**changes: object) -> Beat:
    return msgspec.structs.replace(beat(), **changes)


@pytest.mark.parametrize(
    "false",
    [
        replaced(session=Session(2, 0)),
        replaced(session=Session(1, -1)),
        replaced(seq=2**63),
        replaced(seq=-1),
        replaced(term=Term(2**32, 0, 1)),
        replaced(term=Term(1, 256, 1)),
        replaced(term=Term(1, 0, 2**24)),
        replaced(term=Term(1, 0, 0)),
        replaced(weight=65536),
        replaced(wait_left=-1),
        replaced(wait_left=WAIT_MAX + 1),
        replaced(lease_left=-1),
        replaced(settings=bytes(257)),
        replaced(heard=(Heard("w" * 64, Session(1, 1), 1, True),)),
        replaced(heard=(Heard("", Session(1, 1), 1, True),)),
        replaced(heard=(Heard("wanda", Session(2**24, 1), 1, True),)),
        replaced(heard=(Heard("wanda", Session(1, 1), 1, True),) * 513),
        replaced(asks=(Ask("wanda", Session(0, 1)),)),
        replaced(promises=(Promise("wanda", Session(1, 1), 2**63),)),
        replaced(reports=(Report(0, None, None),)),
        replaced(reports=(Report(1, Version(Term(1, 0, 1), 2**63), None),)),
        replaced(offers=(Offer(1, Version(Term(1, 0, 1), 1), b"short"),)),
        replaced(share=Share(65536)),
        replaced(share=Share(1, by="wal ter")),
        replaced(share=Share(1, revision=-1)),
        replaced(keys=(KeyMark(256, b"mark"),)),
        replaced(keys=(KeyMark(1, b"long mark"),)),
        replaced(wants=(Want(65536, Version(Term(1, 0, 1), 1)),)),
    ],
)
def test_impossible_values_are_refused_on_both_sides(false: Beat) -> None:
    receiver = codec("wendy")
    assert counted(receiver, signed(encoded(false), 1)) == {"malformed": 1}
    with pytest.raises(ValueError, match=r"."):
        codec().encode(false)


VOTERS = Voters.of(CLUSTER)
OURS = replaced(settings=CLUSTER.digest())


def test_a_beat_of_another_name_or_of_nobody_is_not_sent() -> None:
    for false in (replaced(node="wanda"), replaced(node="wal ter")):
        with pytest.raises(ValueError, match="is not this director's"):
            codec().encode(false)


def test_a_beat_with_another_list_of_nodes_is_not_sent() -> None:
    with pytest.raises(ValueError, match="another list of nodes than this director's"):
        codec(voters=VOTERS).encode(beat())


def by_place(place: object, lists: str) -> bytes:
    """The body of a beat of walter's that names a node, in one of its lists, by that place."""
    body = msgspec.msgpack.decode(encoded(msgspec.structs.replace(OURS, heard=(), promises=())))
    entry = {"heard": (place, (1, 1), 5, True), "asks": (place, (1, 1))}
    body[{"heard": 1, "asks": 2, "promises": 3}[lists]] = [entry.get(lists, (place, (1, 1), 5))]
    return msgspec.msgpack.encode(body)


@pytest.mark.parametrize("lists", ["heard", "asks", "promises"])
def test_a_place_that_nobody_has_is_refused(lists: str) -> None:
    receiver = codec("wendy", voters=VOTERS)
    falses = (-1, len(CLUSTER.nodes), 2**63, 1.5, True, None, b"wanda", "wan da", "")
    for sequence, false in enumerate(falses, 1):
        datagram = signed(by_place(false, lists), 1, sequence)
        assert counted(receiver, datagram) == {"malformed": 1}, false
    for sequence, place in enumerate(range(len(CLUSTER.nodes)), 100):
        found = receiver.decode(signed(by_place(place, lists), 1, sequence))
        assert isinstance(found, Beat)
        assert [each.node for each in getattr(found, lists)] == [CLUSTER.nodes[place]]


@pytest.mark.parametrize("field", [0, 13, 14, 15])
def test_a_beat_names_nobody_where_its_packing_has_no_names(field: int) -> None:
    body = msgspec.msgpack.decode(encoded(beat()))
    inner = msgspec.msgpack.decode(msgspec.msgpack.encode(beat()))
    assert signed(msgspec.msgpack.encode(body), 1) == signed(encoded(beat()), 1)
    body[0][field] = inner[field] or [["wanda", [1, 1]]]
    assert counted(codec("wendy"), signed(msgspec.msgpack.encode(body), 1)) == {"malformed": 1}


def test_a_decompression_bomb_is_refused() -> None:
    receiver = codec("wendy")
    bomb = zlib.compress(bytes(50_000_000), 9)
    assert len(bomb) < wire.DATAGRAM_MAX
    assert counted(receiver, signed(bomb, 129)) == {"malformed": 1}


def forged(good: bytes) -> Iterator[bytes]:
    """The same datagram with signatures that its reader cannot accept."""
    yield good[:-32] + bytes(32)
    yield good[:-32] + hmac.digest(b"wrong", good[:-32], "sha256")
    yield good[:-1] + bytes([good[-1] ^ 1])


def test_a_forgery_is_neither_parsed_nor_remembered() -> None:
    receiver = codec("wendy")
    for false in forged(signed(b"this is no MessagePack", 1)):
        assert counted(receiver, false) == {"forged": 1}
    future = signed(encoded(beat()), 1, sequence=2**60)
    for false in forged(future):
        assert counted(receiver, false) == {"forged": 1}
    assert receiver.decode(codec().encode(beat())[0]) == beat()


def test_a_replay_is_not_parsed() -> None:
    receiver = codec("wendy")
    noise = signed(b"this is no MessagePack", 1)
    assert counted(receiver, noise) == {"malformed": 1}
    assert counted(receiver, noise) == {"duplicate": 1}


def test_a_second_copy_is_a_duplicate_and_an_older_beat_is_late() -> None:
    sender, receiver = codec(), codec("wendy")
    first, second, third = (sender.encode(beat(seq=seq))[0] for seq in (1, 2, 3))
    assert receiver.decode(first) is not None
    assert receiver.decode(third) is not None
    assert counted(receiver, third) == {"duplicate": 1}
    assert counted(receiver, second) == {"overtaken": 1}
    assert counted(receiver, second) == {"duplicate": 1}
    assert counted(receiver, first) == {"duplicate": 1}


def test_no_beat_passes_twice_however_old() -> None:
    sender, receiver = codec(), codec("wendy")
    datagrams = [sender.encode(beat(seq=seq))[0] for seq in range(3 * WINDOW)]
    rng = random.Random(5)
    passed: list[int] = []
    for _ in range(20_000):
        message = receiver.decode(datagrams[rng.randrange(len(datagrams))])
        if isinstance(message, Beat):
            passed.append(message.seq)
    assert passed == sorted(set(passed))
    assert len(passed) >= 3


def test_the_datagrams_of_an_earlier_life_are_dropped() -> None:
    receiver = codec("wendy")
    old = codec(incarnation=4).encode(beat(incarnation=4))[0]
    new = codec(incarnation=5).encode(beat(incarnation=5))[0]
    assert receiver.decode(old) is not None
    assert receiver.decode(new) is not None
    assert counted(receiver, old) == {"earlier_life": 1}


def test_a_part_lost_on_one_road_comes_by_the_other() -> None:
    sent = random_allocation(3, 64, 65536, 9)
    datagrams = codec().encode(sent)
    receiver = codec("wendy")
    assert [receiver.decode(each) for each in datagrams if each != datagrams[4]][-1] is None
    received = [receiver.decode(each) for each in datagrams]
    assert received[4] == sent
    assert receiver.counters["duplicate"] == len(datagrams) - 1


def test_unfinished_allocations_are_few_and_repeats_complete_them() -> None:
    sender, receiver = codec(), codec("wendy")
    sent = random_allocation(3, 64, 65536, 9)
    for datagram in sender.encode(sent)[:-1]:
        assert receiver.decode(datagram) is None
    assert receiver.decode(sender.encode(sent)[-1]) == sent
    for serial in range(100):
        other = msgspec.structs.replace(sent, version=Version(Term(9, 0, 1), serial))
        assert receiver.decode(sender.encode(other)[0]) is None
    assert receiver._senders[b"walter"].assemblies.unfinished == 4


def test_a_block_cannot_be_in_two_hands() -> None:
    grants = (
        Grant("walter", Session(1, 1), bytes([0b01])),
        Grant("wendy", Session(1, 1), bytes([0b11])),
    )
    with pytest.raises(ValueError, match="a block of wendy is in two hands"):
        codec().encode(Allocation(7, Version(Term(1, 0, 1), 1), grants))


@pytest.mark.parametrize(
    ("allocation", "error"),
    [
        (division([0, 0], 1, id_=2), "there is no id 2"),
        (division([0] * 4, 1, id_=7), "is not one of 2 blocks"),
        (division([0] * 16, 1, id_=7), "is not one of 2 blocks"),
        (division([-1, -1], 256, id_=7), "256 grants, over 255"),
    ],
)
def test_an_impossible_allocation_is_not_sent(allocation: Allocation, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        codec().encode(allocation)


def part(**changes: object) -> bytes:
    """A signed part of walter's, with some of its fields replaced."""
    (good,) = parts.split(division([0, 1], 2, id_=7), {7: 2}, parts.seal(b""))
    return signed(msgspec.msgpack.encode(msgspec.structs.replace(good, **changes)), 2)


@pytest.mark.parametrize(
    "false",
    [
        part(id=2),
        part(id=0),
        part(index=1),
        part(index=-1),
        part(count=0),
        part(count=10**6),
        part(digest=b"short"),
        part(digest=bytes(8)),
        part(settings=bytes(7)),
        part(piece=b""),
        part(piece=bytes(1201)),
        part(piece=b"no zlib stream"),
        part(version=Version(Term(4, 0, 3), 2)),
        part(version=Version(Term(4, 999, 3), 1)),
    ],
)
def test_an_impossible_part_is_refused(false: bytes) -> None:
    assert counted(codec("wendy"), false) == {"malformed": 1}


def test_an_allocation_of_other_settings_says_nothing_here() -> None:
    """Two clusters of one name and key: both make a version 4.0.3/1, and each takes its own."""
    made = division([0, 1], 2, id_=7)
    ours, theirs = Voters(("wanda", "wendy"), b"ours"), Voters(("walter", "zoe"), b"theirs")
    (said,) = codec(voters=theirs).encode(made)
    assert counted(codec("wendy", voters=ours), said) == {"differing": 1}
    (told,) = codec(voters=ours).encode(made)
    assert codec("wendy", voters=ours).decode(told) == made


def test_keys_change_without_a_break() -> None:
    old, new = Keys(1, {1: b"old"}), Keys(2, {2: b"new"})
    both = Keys(2, {1: b"old", 2: b"new"})
    sender = codec(keys=old)
    assert counted(codec("wendy", keys=new), sender.encode(beat())[0]) == {"unknown_key": 1}
    receiver = codec("wendy", keys=both)
    assert receiver.decode(sender.encode(beat(seq=1))[0]) is not None
    sender.keys = both
    assert receiver.decode(sender.encode(beat(seq=2))[0]) is not None
    receiver.keys = new
    assert receiver.decode(sender.encode(beat(seq=3))[0]) is not None


def test_a_beat_without_a_secret_is_refused_by_those_who_have_one() -> None:
    unsigned = codec(keys=NO_SECRET).encode(beat())[0]
    assert counted(codec("wendy"), unsigned) == {"unknown_key": 1}
    assert codec("wendy", keys=NO_SECRET).decode(unsigned) == beat()


def test_another_cluster_is_foreign() -> None:
    foreign = Codec("walter", 1, KEYS, DIVISIONS, cluster="other")
    assert counted(codec("wendy"), foreign.encode(beat())[0]) == {"foreign": 1}


def test_senders_are_kept_within_bounds() -> None:
    receiver = codec("wendy")
    for place in range(wire.SENDERS_MAX):
        name = f"node{place}"
        assert receiver.decode(codec(name).encode(beat(name))[0]) is not None
    assert counted(receiver, codec().encode(beat())[0]) == {"crowded": 1}

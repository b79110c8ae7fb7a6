# SPDX-License-Identifier: GPL-2.0-or-later
"""Sample beats, allocations and codecs, for tests of what goes over the wire."""

import random

import msgspec
from hypothesis import strategies as st

from saru.config.authkeys import Keys
from saru.core.beat import (
    Allocation,
    Ask,
    Beat,
    Claim,
    Grant,
    Heard,
    KeyMark,
    Offer,
    Promise,
    Report,
    Role,
    Want,
)
from saru.core.reach import MARK_BYTES, Reach
from saru.core.settings import Division, Quorum, Settings
from saru.core.share import Share
from saru.core.term import COUNTER_MAX, INCARNATION_MAX, PLACE_MAX, Session, Term, Version
from saru.wire.codec import Codec
from saru.wire.soundness import DEADTIME_MAX, NUMBER_MAX, WAIT_MAX
from saru.wire.voters import Voters

KEYS = Keys(signing=1, secrets={1: b"ultramonkey"})
DIVISIONS = (Division(1, 1024, 0), Division(7, 2, 0), Division(9, 65536, 5))

CLUSTER = Settings(
    nodes=("walter", "wanda", "wendy", "wilma"),
    witnesses=(),
    quorum=Quorum.MAJORITY,
    keepalive=1,
    deadtime=2,
    initdead=4,
    divisions=DIVISIONS,
)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
numbers = st.integers(0, NUMBER_MAX)
incarnations = st.integers(1, INCARNATION_MAX)
sessions = st.builds(Session, incarnations, numbers)
terms = st.builds(Term, st.integers(0, COUNTER_MAX), st.integers(0, PLACE_MAX), incarnations)
versions = st.builds(Version, terms, numbers)
ids = st.integers(1, 65535)


def some(values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, max_size=6).map(tuple)


def beats_of(
    names: st.SearchStrategy[str], settings: st.SearchStrategy[bytes]
) -> st.SearchStrategy[Beat]:
    """Any beats at all, of directors with such names and settings."""
    return st.builds(
        Beat,
        node=names,
        session=sessions,
        seq=numbers,
        settings=settings,
        term=st.none() | terms,
        role=st.sampled_from(Role),
        hears=st.booleans(),
        waited=st.booleans(),
        joined=st.booleans(),
        able=st.booleans(),
        left=st.booleans(),
        weight=st.integers(0, 65535),
        lease_left=numbers,
        heard=some(st.builds(Heard, names, sessions, numbers, st.booleans())),
        asks=some(st.builds(Ask, names, sessions)),
        promises=some(st.builds(Promise, names, sessions, numbers)),
        reports=some(st.builds(Report, ids, st.none() | versions, st.none() | versions)),
        offers=some(st.builds(Offer, ids, versions, st.binary(min_size=8, max_size=8))),
        wants=some(st.builds(Want, ids, versions)),
        share=st.none()
        | st.builds(Share, st.integers(0, 65535), st.booleans(), st.just("") | names, numbers),
        keys=some(st.builds(KeyMark, st.integers(0, 255), st.binary(min_size=4, max_size=4))),
        reach=st.none()
        | st.builds(
            Reach, st.integers(0, 65535), st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES)
        ),
        yields=st.booleans(),
        claim=st.sampled_from(Claim),
        deadtime=st.integers(0, DEADTIME_MAX),
        wait_left=st.integers(0, WAIT_MAX),
    )


beats = beats_of(names, st.binary(max_size=28))


def division(owners: list[int], members: int, id_: int = 1, serial: int = 1) -> Allocation:
    """The allocation in which member owners[b] holds block b; -1 is nobody."""
    bitmaps = [bytearray(-(-len(owners) // 8)) for _ in range(members)]
    for block, owner in enumerate(owners):
        if owner >= 0:
            bitmaps[owner][block // 8] |= 1 << block % 8
    grants = tuple(
        Grant(f"director-{place:03d}", Session(3, 1), bytes(bitmap))
        for place, bitmap in enumerate(bitmaps)
    )
    return Allocation(id_, Version(Term(4, 0, 3), serial), grants)


def random_allocation(seed: int, members: int, blocks: int, id_: int) -> Allocation:
    rng = random.Random(seed)
    return division([rng.randrange(-1, members) for _ in range(blocks)], members, id_)


def codec(
    node: str = "walter",
    incarnation: int = 1,
    keys: Keys = KEYS,
    voters: Voters | None = None,
    life: bytes = bytes(8),
) -> Codec:
    made = Codec(node, incarnation, keys, DIVISIONS, voters=voters)
    made.go_on(incarnation, life, 0)
    return made


def encoded(beat: Beat, voters: Voters | None = None) -> bytes:
    """The body of a datagram with this beat, which may be false."""
    return msgspec.msgpack.encode((voters or Voters()).pack(beat))


def beat(node: str = "walter", incarnation: int = 1, seq: int = 1) -> Beat:
    return Beat(
        node=node,
        session=Session(incarnation, 2),
        seq=seq,
        settings=bytes(28),
        term=Term(5, 1, 3),
        role=Role.FOLLOWER,
        hears=True,
        waited=True,
        joined=False,
        able=True,
        left=False,
        weight=100,
        lease_left=9_000_000_000,
        heard=(Heard("wendy", Session(3, 1), 88, True), Heard("wanda", Session(1, 1), 5, False)),
        asks=(),
        promises=(Promise("wanda", Session(1, 1), 86),),
        reports=(Report(1, Version(Term(5, 1, 3), 9), None),),
        offers=(Offer(1, Version(Term(5, 1, 3), 9), b"01234567"),),
        wants=(),
    )


def moved(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """The counters that changed, and by how much."""
    return {key: after[key] - before[key] for key in after if after[key] != before[key]}


def counted(receiver: Codec, datagram: bytes) -> dict[str, int]:
    """What a datagram that must not be accepted is counted as."""
    before = dict(receiver.counters)
    assert receiver.decode(datagram) is None
    return moved(before, receiver.counters)

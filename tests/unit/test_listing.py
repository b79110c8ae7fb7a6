# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables as `saru table` prints them."""

from __future__ import annotations

from saru.core.term import Term, Version
from saru.dataplane import Event, EventKind, Table, TableState, listing

SECOND = 10**9
TABLE = Table(
    id=7,
    blocks=16,
    seed=3,
    version=Version(Term(4, 1, 2), 9),
    deadline=100 * SECOND,
    lease_max=60 * SECOND,
    held=0x10F,
)
STATE = TableState(
    id=7,
    table=TABLE,
    users=2,
    accepted=10,
    rejected=20,
    expired=30,
    no_key=40,
    packets=(0, 5, *([0] * 14)),
)


def test_in_full() -> None:
    assert listing.describe(STATE, 98 * SECOND).splitlines() == [
        "table 7",
        "  version: 4.1.2/9",
        "  blocks: 16, seed 3",
        "  held: 5 (0-3,8)",
        "  deadline: in 2.000 s, longest lease 60 s",
        "  rules: 2",
        "  packets: 10 accepted, 20 rejected, 30 expired, 40 without a key",
    ]


def test_after_the_deadline() -> None:
    assert "  deadline: passed 1.500 s ago" in listing.describe(
        STATE, 100 * SECOND + SECOND * 3 // 2
    )


def test_an_id_without_a_table() -> None:
    assert listing.describe(TableState(id=8, users=1), 0).splitlines()[:3] == [
        "table 8",
        "  none: the rules that name it match nothing",
        "  rules: 1",
    ]


def test_packets_per_block() -> None:
    assert listing.describe_packets(STATE) == "  block 1: 5"
    assert listing.describe_packets(TableState(id=1, packets=(0, 0))) == (
        "  no block has seen a packet"
    )
    assert "does not count" in listing.describe_packets(TableState(id=1))


def test_a_line_each() -> None:
    states = [STATE, TableState(id=65535, users=1)]
    assert listing.listing(states, 98 * SECOND).splitlines() == [
        "   ID  BLOCKS  HELD  VERSION  LEFT  RULES  ACCEPTED  REJECTED  EXPIRED  NO-KEY",
        "    7      16     5  4.1.2/9  2.0s      2        10        20       30      40",
        "65535       -     -        -     -      1         0         0        0       0",
    ]
    assert "expired" in listing.listing([STATE], 101 * SECOND)


def test_events() -> None:
    told = Event(EventKind.SET, 7, users=2, version=TABLE.version)
    assert listing.describe_event(told, "NOW") == "NOW set id 7 version 4.1.2/9 rules 2"
    gone = Event(EventKind.DELETED, 7)
    assert listing.describe_event(gone, "NOW") == "NOW deleted id 7 rules 0"
    lost = Event(EventKind.LOST, 0)
    assert listing.describe_event(lost, "NOW").startswith("NOW lost: events came too fast")

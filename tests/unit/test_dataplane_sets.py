# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines as nf_tables can keep them, and tables as elements of sets."""

from __future__ import annotations

import pytest

from saru.core.term import SERIAL_MAX, Term, Version
from saru.dataplane import Table, sets
from saru.dataplane.bounds import LEAST, LONGEST, Bounds, Clocks, bounds
from saru.dataplane.elements import Message, element, elements_in, numbered, numbers_in, remove

MS = 1_000_000
CLOCKS = Clocks(real=1_700_000_000_000_000_000, boot=5_000_000_000)
LARGEST = Table(
    id=65535,
    blocks=65536,
    seed=2**32 - 1,
    version=Version(Term(2**32 - 1, 255, 2**24 - 1), SERIAL_MAX),
    deadline=2**64 - 1,
    lease_max=2**64 - 1,
    held=(1 << 65536) - 1,
)


def test_a_deadline_is_rounded_down_and_kept_to_the_ns() -> None:
    found = bounds(CLOCKS.boot + 1_999_999_999, CLOCKS)
    assert found == Bounds(timeout=1999, until=CLOCKS.real + 1_999_999_999)


def test_a_pause_between_the_readings_shortens() -> None:
    deadline = CLOCKS.boot + 1000 * MS
    later = bounds(deadline, CLOCKS._replace(boot=CLOCKS.boot + 300 * MS))
    assert later == Bounds(timeout=700, until=CLOCKS.real + 700 * MS)


@pytest.mark.parametrize("left", [LEAST - 1, 1, 0, -1, -3600 * 1000 * MS])
def test_a_lease_that_is_no_tick_long_is_none(left: int) -> None:
    """For nf_tables no time at all means for ever."""
    assert bounds(CLOCKS.boot + left, CLOCKS) == Bounds(0, CLOCKS.real + left)


def test_there_is_no_lease_for_ever() -> None:
    found = bounds(2**64 - 1, CLOCKS)
    assert found == Bounds(LONGEST // MS, CLOCKS.real + LONGEST)
    assert bounds(0, Clocks(real=10, boot=20)).until == 1


def test_what_is_written_beside_a_deadline_is_read_back_and_fits() -> None:
    said = sets.comment(LARGEST)
    assert len(said) < 128, "nft would not read its own listing"
    assert sets.table(LARGEST.id, said, LARGEST.held) == LARGEST
    assert sets.held_count(said) == 65536
    assert sets.table(1, "hello", 0) is None
    assert sets.held_count("hello") is None


def test_elements_are_read_back() -> None:
    (request,) = remove("held_1", numbered([0, 7, 65535]))
    assert numbers_in(Message(request.kind, request.family, request.payload)) == (0, 7, 65535)
    (request,) = remove("held_1", [*numbered([3]), element(b"\4\0\0\0", comment="mine")])
    message = Message(request.kind, request.family, request.payload)
    assert [each.comment for each in elements_in(message)] == ["", "mine"]
    assert len(numbers_in(message)) == 2


def test_held_blocks_are_the_numbers_below_65536() -> None:
    assert sets.held([0, 3, 65535, 65536, 2**32 - 1]) == 1 | 1 << 3 | 1 << 65535

# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has held each block since when."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from saru.status.holders import Holders

MS = 1_000_000


def short(holders: Holders, now: int) -> list[tuple[int, int, str | None, int]]:
    return [(run.first, run.last, run.holder, run.since_ms) for run in holders.runs(now)]


def test_nobody_holds_anything_at_first() -> None:
    holders = Holders(8, now=0)
    assert short(holders, 5 * MS) == [(0, 7, None, 5)]
    assert holders.unheld == 8


def test_a_change_of_holder_starts_a_run_and_the_others_keep_their_age() -> None:
    holders = Holders(8, now=0)
    holders.update({"walter": 0b00001111, "wendy": 0b11110000}, now=10 * MS)
    holders.update({"walter": 0b00111111, "wendy": 0b11000000}, now=30 * MS)
    assert short(holders, 40 * MS) == [
        (0, 3, "walter", 30),
        (4, 5, "walter", 10),
        (6, 7, "wendy", 30),
    ]
    assert holders.unheld == 0


def test_the_same_holders_again_change_nothing() -> None:
    holders = Holders(4, now=0)
    holders.update({"walter": 0b1111}, now=1 * MS)
    holders.update({"walter": 0b1111}, now=9 * MS)
    assert short(holders, 11 * MS) == [(0, 3, "walter", 10)]


def test_bits_beyond_the_last_block_are_nobodys() -> None:
    holders = Holders(2, now=0)
    holders.update({"walter": 0b1101}, now=0)
    assert short(holders, 0) == [(0, 0, "walter", 0), (1, 1, None, 0)]


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2**16 - 1)), max_size=6))
def test_runs_cover_every_block_once_and_in_order(history: list[dict[str, int]]) -> None:
    holders = Holders(16, now=0)
    for moment, held in enumerate(history):
        holders.update(held, now=moment * MS)
    runs = holders.runs(len(history) * MS)
    assert [b for run in runs for b in range(run.first, run.last + 1)] == list(range(16))
    last = history[-1] if history else {}
    for run in runs:
        for block in range(run.first, run.last + 1):
            who = [name for name in sorted(last) if last[name] >> block & 1]
            assert run.holder == (who[0] if who else None)
    assert holders.unheld == sum(r.last - r.first + 1 for r in runs if r.holder is None)

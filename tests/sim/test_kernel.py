# SPDX-License-Identifier: GPL-2.0-or-later
"""What the simulated nftables accepts past its deadline, and what of that is excused."""

from __future__ import annotations

import pytest

from saru.core.term import Term, Version
from tests.sim.kernel import MS, Nftables

VERSION = Version(Term(1, 0, 1), 1)
DEADLINE = 1000 * MS


@pytest.mark.parametrize(
    ("paused", "back"), [(0, 0), (0, 300), (300, 0), (300, 100), (100, 300), (300, -300)]
)
def test_it_ends_late_by_the_smaller_of_pause_and_step(paused: int, back: int) -> None:
    """In ms. What is accepted past the deadline is excused, and nothing is but that."""
    now = step = 0
    table = Nftables(lambda: now, lambda: now + step)
    clocks = table.read()
    now = paused * MS
    assert table.set(VERSION, 1, DEADLINE, clocks)
    step = -back * MS
    late = max(0, min(paused, back)) * MS
    for now in range(paused * MS, 2 * DEADLINE, MS):
        if back >= 0:
            assert bool(table.accepts()) is (now < DEADLINE + late)
        assert table.excused() is (DEADLINE <= now < DEADLINE + late)


def test_a_wall_clock_set_forward_ends_it_until_the_next_renewal() -> None:
    now = step = 0
    table = Nftables(lambda: now, lambda: now + step)
    assert table.set(VERSION, 1, DEADLINE)
    step = 2 * DEADLINE
    assert not table.accepts()
    assert table.renew(VERSION, DEADLINE + MS)
    assert table.accepts()

# SPDX-License-Identifier: GPL-2.0-or-later
"""From a deadline to the two times that nf_tables can keep. Pure, but for `read`.

nf_tables knows no CLOCK_BOOTTIME. It knows how long an element shall live (from the moment it takes
the element, in ticks), and the wall clock (to the ns). Each alone would stretch a deadline: a
length, when the daemon is paused between computing and sending it; the wall clock, when it is set
back. A packet must meet both, so the lease ends by the smaller of the two errors.

The clocks are read in the order that errs towards ending early: the wall clock first. What passes
until the second reading, a pause perhaps, then makes both times shorter by as much.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from saru.config.duration import HOUR, MS

LEAST = 10 * MS
"""A shorter life may be no tick at all, which nf_tables would take for `for ever`."""
LONGEST = 10 * 365 * 24 * HOUR


class Clocks(NamedTuple):
    """Two clocks, in ns: the wall clock, read first, and CLOCK_BOOTTIME."""

    real: int
    boot: int


class Bounds(NamedTuple):
    """How long the lease's element lives, in ms (0: there is to be none), and until when by the
    wall clock in ns."""

    timeout: int
    until: int


def read() -> Clocks:
    """Both clocks as they are."""
    real = time.clock_gettime_ns(time.CLOCK_REALTIME)
    return Clocks(real, time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def bounds(deadline: int, clocks: Clocks) -> Bounds:
    """What to hand to the kernel for a deadline on CLOCK_BOOTTIME; both are rounded down."""
    left = min(deadline - clocks.boot, LONGEST)
    return Bounds(left // MS if left >= LEAST else 0, max(1, clocks.real + left))

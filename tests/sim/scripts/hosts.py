# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about R7 and R8: kernels and starts."""

from __future__ import annotations

from saru.core.invariants import InvariantError
from saru.core.settings import Division
from saru.core.term import COUNTER_MAX, Term, Version
from tests.sim.kernel import Nftables
from tests.sim.scripts.steps import served, weigh
from tests.unit.cores import BLOCKS, DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Link


def a_voter_that_forgets_whom_it_vouched_for() -> None:
    """R8: a and c do not hear each other; b vouches for c, is restarted, and is asked about c."""
    link = Link("abc").settled()
    for one, other in ("ac", "ca"):
        link.one_way(one, other)
    link.run(link["a"].core.peers["c"].contact_until(DEADTIME) - link.now - MS)
    link["b"].crash()
    link["b"].start()
    link.run(DEADTIME)


def a_renewal_too_late() -> None:
    """R7: a deadline passes before the Renew that would have moved it is carried out."""
    link = Link("abc").settled()
    link["b"].kernels[1].deadline = link["b"].clock()
    served(link)


def an_order_from_before_the_drop() -> None:
    """R7: c's hand is still at one id's table when its rules go; the other's order is void then."""
    link = Link("abc", set_time=5 * MS, divisions=(Division(1, BLOCKS, 0), Division(2, BLOCKS, 0)))
    link.settled()
    b, c = link["b"], link["c"]
    weigh(link, "b", 0)
    link.until(lambda: not b.accepts(1))
    link.set_time = 30 * MS
    link.until(lambda: c.waiting() > 0)
    link.set_time = 5 * MS
    c.do(lambda core: core.guard(False, "rules gone", c.clock()))
    weigh(link, "c", 0)
    link.run(DEADTIME)


def an_order_of_another_hand() -> None:
    """R7: a second hand, which the lock is to keep out, comes late with a table that c had."""
    link = Link("abc").settled()
    c = link["c"]
    kernel = c.kernels[1]
    version, held = kernel.version, kernel.held
    assert version is not None
    weigh(link, "c", 0)
    link.until(lambda: not c.accepts())
    link.until(lambda: link.held() == EVERYTHING)
    kernel.set(version, held, c.core.lease)
    link.check()


def a_wall_clock_set_back() -> None:
    """nftables: c hangs, and its wall clock is set back by an hour; so its table's end is far."""
    link = Link("abc")
    c = link["c"]
    stepped = [0]
    c.kernels[1] = Nftables(c.clock, lambda: c.clock() + stepped[0])
    link.settled()
    assert c.accepts()
    c.pause()
    link.run(DEADTIME // 2)
    stepped[0] -= 9000 * DEADTIME
    link.run(2 * DEADTIME)


def an_order_stopped_on_its_way() -> None:
    """nftables: c is stopped while it makes a table, and the kernel takes it when c wakes."""
    link = Link("abc")
    c = link["c"]
    kernel = c.kernels[1] = Nftables(c.clock, c.clock)
    link.settled()
    version, held, deadline = kernel.version, kernel.held, c.core.lease
    assert version is not None
    assert held
    clocks = kernel.read()
    c.pause()
    link.run(2 * DEADTIME)
    kernel.set(Version(version.term, version.serial + 1), held, deadline, clocks)
    link.check()


def a_table_of_before_the_start() -> None:
    """R8: while no daemon ran, somebody gave c's kernel all blocks by hand, for long."""
    link = Link("abc")
    c = link["c"]
    by_hand = Version(Term(COUNTER_MAX, 0, 1), 1)
    c.kernels[1].set(by_hand, EVERYTHING, c.clock() + 20 * DEADTIME)
    link.settled()


def a_newcomer_in_a_hurry() -> None:
    """R8: c is back, and no connection synchronisation has filled its table yet."""
    link = Link("abc", join_delay=2 * INITDEAD).settled()
    c = link["c"]
    c.crash()
    link.until(lambda: link.held() == EVERYTHING)
    before = {name: link[name].accepts() for name in "ab"}
    c.start()
    while not c.core.start + 2 * INITDEAD - KEEPALIVE < c.clock():
        link.run(MS)
        for name, blocks in before.items():
            if blocks & ~link[name].accepts():
                raise InvariantError(f"blocks of {name} have moved to c, which has just come")
    link.until(lambda: bool(c.accepts()))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about R5: what a master may give, and what a director may take."""

from __future__ import annotations

from saru.core.beat import Beat, Role
from saru.core.invariants import InvariantError
from tests.sim.scripts.steps import catch, gives_more, served, weigh
from tests.unit.cores import DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Link


def late_allocation_of_an_old_term() -> None:
    """R5: an old master's gift arrives when the new one has given the blocks to another."""
    link = Link("abc").settled()
    caught = catch(link, "c")
    weigh(link, "a", 0)
    link.until(lambda: gives_more(link, "c", caught) is not None)
    gift = gives_more(link, "c", caught)
    assert gift is not None
    link["a"].crash()
    weigh(link, "c", 0)
    new = gift.bitmap("c", link["c"].core.session) & ~link["c"].accepts()
    link.until(lambda: link["b"].accepts() & new == new)
    link.deliver("c", gift)
    link.run(DEADTIME)


def late_allocation_of_an_old_session() -> None:
    """R5: a gift to a session that was fenced arrives when the director has a new one."""
    link = Link("abc").settled()
    caught = catch(link, "c")
    weigh(link, "b", 0)
    link.until(lambda: gives_more(link, "c", caught) is not None)
    gift = gives_more(link, "c", caught)
    assert gift is not None
    link.apart("c")
    link.until(lambda: link["a"].accepts() == EVERYTHING)
    link.heal()
    link.until(lambda: link["c"].core.leased(link["c"].clock()))
    link.deliver("c", gift)
    link.run(KEEPALIVE)


def late_allocation_of_an_older_version() -> None:
    """R5: what a version gave c others have by newer ones, which c has taken; then it arrives."""
    link = Link("abc").settled()
    caught = catch(link, "c")
    weigh(link, "b", 0)
    link.until(lambda: gives_more(link, "c", caught) is not None)
    gift = gives_more(link, "c", caught)
    assert gift is not None
    link.lost = lambda _sender, receiver, message: receiver == "c" and message == gift
    weigh(link, "b", 100)
    link.run(KEEPALIVE)
    assert link["c"].accepts()
    link.deliver("c", gift)
    link.run(MS)


def a_report_from_before_any_term() -> None:
    """R4, R5: a cold start. b is in a's term for a moment, and then in c's; both are masters.

    All that c knows of a is that it was in no term and held nothing.
    """
    link = Link("abc", delay=30 * MS)
    for host in link.hosts.values():
        host.start()
    weigh(link, "b", 0)
    link.run(5 * KEEPALIVE + 10 * MS)
    link.one_way("c", "a")
    link.run(INITDEAD + link.delay - 5 * KEEPALIVE - 15 * MS)
    link.one_way("a", "c")
    link.run(2 * DEADTIME)


def a_report_from_before_a_restart() -> None:
    """R5: e was in b's term and reported that it holds nothing. Then it loses its power.

    b, who has stood but is cut off, is no master yet. e has forgotten its term, is in a's, which is
    a lower one, and holds blocks of it when c and d follow b at last: the way back that R4 forbids.
    """
    link = Link("abcde")
    a, b, e = link["a"], link["b"], link["e"]
    link.lost = lambda sender, receiver, message: (
        isinstance(message, Beat)
        and message.term is not None
        and (sender in "be") != (receiver in "be")
    )
    for name in "bcde":
        link[name].start()
    link.run(10 * MS)
    a.start()
    link.until(lambda: b.core.role is Role.CANDIDATE)
    link.apart("be")
    link.until(lambda: link.held() == EVERYTHING)
    e.crash()
    link.lost = lambda _sender, _receiver, _message: False
    link.heal()
    link.apart("b")
    e.start()
    link.until(lambda: bool(e.accepts()))
    assert b.core.role is Role.CANDIDATE
    a.crash()
    link.run(DEADTIME // 2)
    link.heal()
    link.one_way("b", "e")
    link.one_way("e", "b")
    link.run(DEADTIME // 2 - 5 * MS)
    for voter in "cd":
        link.one_way(voter, "e")
    link.until(lambda: link.master() == "b")
    assert e.accepts()
    link.run(2 * DEADTIME)


def a_cold_start() -> None:
    """R5: versions arrive before the first lease does; a table set then would be dead for good."""
    link = Link("abcde")
    for host in link.hosts.values():
        host.start()
    link.run(INITDEAD + KEEPALIVE)
    if link.held() != EVERYTHING:
        raise InvariantError(f"blocks stay unheld: {link.held():#x} is all that is held")


def a_director_without_a_lease() -> None:
    """R5: c and the master hear each other, and nobody else hears c: no quorum vouches for it."""
    link = Link("abcde").settled()
    for other in "bde":
        link.one_way("c", other)
        link.one_way(other, "c")
    served(link)


def a_director_that_does_not_hear_the_master() -> None:
    """R5: c is back, all hear it, and it does not hear a: whatever a gave it nobody would hold."""
    link = Link("abcde").settled()
    link.apart("c")
    link.run(3 * DEADTIME)
    link.heal()
    link.one_way("a", "c")
    unheld = 0
    for _ in range(4 * DEADTIME // MS):
        link.run(MS)
        unheld = 0 if link.held() == EVERYTHING else unheld + 1
        if unheld > 20:
            raise InvariantError("blocks stay unheld, and their holders were there all the time")

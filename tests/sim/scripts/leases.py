# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about R1, R2 and R3: who is vouched for, and for how long."""

from __future__ import annotations

from saru.core.beat import Beat, Message, Role
from tests.sim.scripts.steps import catch, flap, served, soon, weigh
from tests.unit.cores import DEADTIME, EVERYTHING, KEEPALIVE, MS, Link


def broken_links() -> None:
    """R1, R4: a, d and e hear each other; b hears only d, and a and c do not hear each other."""
    link = Link("abcde").settled()
    for one, other in ("be", "ac", "ab", "bc"):
        link.one_way(one, other)
        link.one_way(other, one)
    served(link)


def deaf_and_then_mute() -> None:
    """R1: c does not hear b, so that b's vouches are of no use to it; then a does not hear c.

    A b that vouched all the same could promise nothing until L+ after a's asking.
    """
    link = Link("abc").settled()
    link.one_way("b", "c")
    link.run(3 * DEADTIME)
    link.one_way("c", "a")
    link.until(lambda: not link["c"].accepts())
    soon(link, link.settings.lease_plus - DEADTIME + 10 * MS)


def a_vouch_that_was_long_on_its_way() -> None:
    """R2: nobody hears c any more, and what the others last said for it comes when it is L old.

    It names beats from before c fell silent. A lease that began with its receipt would last for an
    L more, and the others find c fenced an L+ after the last beat that they heard.
    """
    link = Link("abc").settled()
    late: dict[str, Beat] = {}

    def held_up(sender: str, receiver: str, message: Message) -> bool:
        if sender != receiver == "c" and isinstance(message, Beat):
            late[sender] = message
        return receiver == "c"

    for voter in "ab":
        link.one_way("c", voter)
    link.lost = held_up
    link.run(2 * KEEPALIVE)
    said = dict(late)
    assert all(any(h.node == "c" and h.vouch for h in beat.heard) for beat in said.values())
    link.until(lambda: link["c"].core.lease - link["c"].clock() < KEEPALIVE)
    for beat in said.values():
        link.deliver("c", beat)
    link.run(3 * DEADTIME)


def a_vouch_from_another_term() -> None:
    """R1: d and e, in b's term, vouch for c in a's. The witnesses d and e hold nothing.

    Nobody in b's term has ever vouched for c, so c is fenced at once, in its first session. a is
    cut off and becomes master of its term by what b and d said while they were in it, held up until
    just in time. Its rules go and come: it has no lease to lose, and remains master for a while.
    """
    link = Link("abcde", witnesses="de")
    a, b = link["a"], link["b"]
    for voter in "bde":
        link.one_way("c", voter)
    for host in link.hosts.values():
        host.start()
    late: dict[str, Beat] = {}

    def held_up(sender: str, receiver: str, message: Message) -> bool:
        if receiver != "a" or sender == "c" or not isinstance(message, Beat):
            return False
        if message.term is not None:
            late.setdefault(sender, message)
        return message.term is not None

    link.lost = held_up
    link.until(lambda: a.core.role is Role.CANDIDATE)
    begin = link.now
    for voter in "bde":
        link.one_way("a", voter)
    link.until(lambda: link.master() == "b")
    link.run(begin + DEADTIME - 2 * MS - link.now)
    for voter in "bd":
        link.deliver("a", late[voter])
    assert a.core.role is Role.MASTER
    weigh(link, "a", 0)
    flap(link, "a")
    link.until(lambda: b.accepts() == EVERYTHING)
    flap(link, "c")  # that session nobody has promised anything about
    for voter in "de":
        link.mend("c", voter)
    link.run(2 * KEEPALIVE)


def a_sleeper_that_wakes_under_another_master() -> None:
    """R3: b sleeps through its lease, and c gets its blocks; then b is master.

    Neither hears of the versions that take from it. A b that
    has not noticed reports what it once held, and keeps it as every reported holder does.
    """
    link = Link("abc").settled()
    catch(link, "b")
    link["b"].pause()
    link.run(3 * DEADTIME)
    link["b"].resume()
    link.run(4 * DEADTIME)
    catch(link, "c")
    link["a"].crash()
    link.run(4 * DEADTIME)

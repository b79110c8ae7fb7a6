# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about R4: who is master, and who follows whom."""

from __future__ import annotations

from saru.core.action import Change
from saru.core.beat import Beat, Message, Role
from saru.core.invariants import InvariantError
from tests.sim.scripts.steps import SLOW, beats, catch, gives_more, served, soon, weigh
from tests.unit.cores import DEADTIME, KEEPALIVE, MS, Link


def a_link_that_comes_and_goes() -> None:
    """R4: c does not hear the master for a while, again and again; everybody else does."""
    link = Link("abc").settled()
    for _ in range(3):
        link.one_way("a", "c")
        link.run(DEADTIME + 2 * KEEPALIVE)
        link.heal()
        link.run(2 * DEADTIME)
    if len(link.told(Change.MASTER)) > 1:
        raise InvariantError("a master that a quorum heard all the time was deposed")


def a_complaint_from_a_while_ago() -> None:
    """R4: b and d do not hear the master for a while; when they do again, c does not.

    c knows only of their complaints, and stands. Nobody may follow it: a quorum hears a.
    """
    link = Link("abcde").settled()
    c = link["c"]
    for voter in "bd":
        link.one_way("a", voter)
    link.run(DEADTIME - 3 * KEEPALIVE // 2)
    link.one_way("a", "c")
    link.one_way("c", "a")

    def complains(voter: str) -> bool:
        beat = c.core.peers[voter].beat
        return beat is not None and not beat.hears

    link.until(lambda: complains("b") and complains("d"))
    for voter in "bd":
        link.mend("a", voter)
        link.one_way(voter, "c")
    link.until(lambda: c.core.role is Role.CANDIDATE)
    link.run(2 * DEADTIME)
    if len(link.told(Change.MASTER)) > 1:
        raise InvariantError("a master that a quorum heard all the time was deposed")


def a_candidate_too_late() -> None:
    """R4: c stands when b is master already, for it has lost the beats that said so."""
    link = Link("abcde", rates={"c": SLOW, "d": SLOW, "e": SLOW}).settled()
    link["a"].crash()
    link.until(lambda: link["b"].core.role is Role.CANDIDATE)
    link.lost = lambda _sender, receiver, _message: receiver == "c"
    link.until(lambda: link["c"].core.role is Role.CANDIDATE)
    link.lost = lambda _sender, _receiver, _message: False
    served(link)
    if not link["c"].accepts():
        raise InvariantError("c is left out for good")


def a_candidate_that_few_hear() -> None:
    """R4: only d hears b, the first candidate; as its master, d would wait for it for L."""
    link = Link("abcde", witnesses="b", rates={"c": SLOW, "d": SLOW, "e": SLOW}).settled()
    link["a"].crash()
    lost = link.now
    b = link["b"]
    link.until(lambda: not any(p.beat.hears for p in b.core.contacts(b.clock()) if p.beat))
    for other in "ce":
        link.one_way("b", other)
        link.one_way(other, "b")
    turns = (len(link.hosts) + 2) * KEEPALIVE // 2
    soon(link, lost + link.settings.lease_plus + turns - link.now)


def a_late_report() -> None:
    """R4: a new master hears of e's blocks last; they must stay where they are, as all others."""
    link = Link("abcde", rates={"c": SLOW, "d": SLOW, "e": SLOW}).settled()
    before = {name: link[name].accepts() for name in "bcde"}
    link["a"].crash()
    link.until(lambda: link["b"].core.role is Role.CANDIDATE)
    link.one_way("e", "b")
    link.until(lambda: link.master() == "b")
    link.run(KEEPALIVE // 2)
    link.mend("e", "b")
    for _ in range(8 * DEADTIME // MS):
        link.run(MS)
        for name, blocks in before.items():
            if blocks & ~link[name].accepts():
                raise InvariantError(
                    f"blocks of {name} have moved, and {name} was there all the time"
                )


def a_way_back() -> None:
    """R4: c has b's term from a beat that was long on its way, and reports in it; then loses b.

    A gift of a, the master before, is still under way; b gives the same blocks to others, for c has
    reported. A c that goes back, as d and e were in a's term when it heard them last, takes it.
    """
    link = Link("abcde", rates={"c": SLOW, "d": SLOW, "e": SLOW}).settled()
    b, c = link["b"], link["c"]
    caught = catch(link, "c")
    weigh(link, "a", 0)
    link.until(lambda: gives_more(link, "c", caught) is not None)
    gift = gives_more(link, "c", caught)
    assert gift is not None
    new = gift.bitmap("c", c.core.session) & ~c.accepts()
    link["a"].crash()
    link.run(KEEPALIVE)
    link.one_way("c", "b")
    weigh(link, "c", 0)
    news: list[Beat] = []

    def kept(_sender: str, receiver: str, message: Message) -> bool:
        if receiver != "c":
            return False
        if isinstance(message, Beat) and message.term == gift.version.term:
            return False
        if isinstance(message, Beat):
            news.append(message)
        return True

    link.lost = kept
    link.until(lambda: b.core.role is Role.MASTER)
    link.deliver("c", next(beat for beat in news if beat.node == "b"))
    assert c.core.term == b.core.term
    link.deliver("b", beats(link, "c")[-1])
    link.until(lambda: not new & ~(b.accepts() | link["d"].accepts() | link["e"].accepts()))
    link.run(c.core.peers["b"].contact_until(DEADTIME) - c.clock() + 5 * MS)
    assert c.accepts()
    link.deliver("c", gift)
    link.run(KEEPALIVE)


def a_term_from_before_the_power_cut() -> None:
    """R4: a and b lose their power and forget their term; c was cut off then, and has not.

    If a's next term had the same name, c would take nothing of it: its versions are not newer.
    """
    link = Link("abc").settled()
    for weight in (50, 100, 50, 100, 50, 100):
        weigh(link, "c", weight)
        link.run(KEEPALIVE)
    link.apart("c")
    link.run(2 * DEADTIME)
    for name in "ab":
        link[name].crash()
    for name in "ab":
        link[name].start()
    link.until(lambda: bool(link["a"].accepts()) and bool(link["b"].accepts()))
    link.heal()
    served(link)

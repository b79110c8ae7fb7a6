# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about R6: when somebody holds nothing any more."""

from __future__ import annotations

from saru.core.beat import Beat
from saru.core.term import Session
from tests.sim.scripts.steps import SLOW, answers, promised
from tests.unit.cores import DEADTIME, INITDEAD, KEEPALIVE, MS, Link


def a_master_that_vouched_until_now() -> None:
    """R6: b has not heard c for long and promises at once; a has vouched for c until just now."""
    link = Link("abc").settled()
    for one, other in ("bc", "cb"):
        link.one_way(one, other)
    link.run(3 * DEADTIME)
    for one, other in ("ac", "ca"):
        link.one_way(one, other)
    link.run(2 * DEADTIME)


def a_session_that_the_master_does_not_know() -> None:
    """R6: b has not heard c since c's first session, and becomes master; c holds in its second."""
    link = Link("abcde", rates={"c": SLOW, "d": SLOW, "e": SLOW}).settled()
    link.one_way("c", "b")
    link["c"].pause()
    link.run(2 * DEADTIME)
    link["c"].resume()
    link.until(lambda: bool(link["c"].accepts()))
    assert link["c"].core.session == Session(1, 2)
    link.run(2 * DEADTIME)
    link["a"].crash()
    link.run(DEADTIME - KEEPALIVE)
    link.lost = lambda _sender, receiver, _message: receiver == "c"  # or c would stand, too
    link.until(lambda: link.master() == "b")
    link.lost = lambda _sender, _receiver, _message: False
    assert link["c"].accepts()
    link.run(2 * DEADTIME)


def a_promise_from_long_ago() -> None:
    """R6: b once promised to fence c, is unheard since, and vouches for c again."""
    link = Link("abcde").settled()
    link.one_way("c", "b")
    link.run(3 * DEADTIME)
    link.one_way("c", "a")
    a, b = link["a"], link["b"]
    link.until(lambda: promised(link, "b", "c"))
    link.heal()
    link.one_way("b", "a")
    link.run(4 * DEADTIME)
    assert b.core.term == a.core.term
    link.one_way("c", "d")
    link.run(3 * DEADTIME)
    for one, other in ("ca", "ac"):
        link.one_way(one, other)
    end = a.core.peers["c"].contact_until(DEADTIME)
    link.run(end - link.now - MS)
    link.one_way("a", "b")
    link.one_way("a", "e")
    assert link["c"].accepts()
    link.run(DEADTIME)


def a_promise_taken_back() -> None:
    """R6: b and d promise to fence c; for a moment the master asks for it no more, then again.

    Meanwhile e and f have not heard c for long, and g has never heard that c is to be fenced: c's
    lease goes over from e, f and g to b, d and g, if b and d do not keep their promise.
    """
    link = Link("abcdefg").settled()
    a = link["a"]
    for voter in "bd":
        link.one_way("c", voter)
    link.run(3 * DEADTIME)
    link.one_way("c", "a")
    asks_at = a.core.peers["c"].contact_until(DEADTIME)
    link.run(asks_at - link.now - KEEPALIVE // 2)
    for voter in "ef":
        link.one_way("c", voter)
    link.one_way("a", "g")
    link.until(lambda: promised(link, "b", "c") and promised(link, "d", "c"))
    for voter in "bd":
        link.one_way(voter, "a")
        link.mend("c", voter)
    known = a.core.peers["c"].beat
    assert known is not None
    beats = [m for _, name, m in link.sent if name == "c" and isinstance(m, Beat)]
    late = next(beat for beat in beats if beat.seq > known.seq)
    link.deliver("a", late)  # it was long on its way: contact, for a keepalive
    for voter in "bd":
        link.deliver(voter, beats[-1])
    link.one_way("a", "c")
    assert link["c"].accepts()
    link.run(DEADTIME)


def a_promise_to_another_master() -> None:
    """R6: d promised a, long ago, in answer to its beat 83 or so; b, the next master, comes to 83.

    d does not reach b since, and vouches for c again. With b and e, which do not hear c at last,
    d's old promise would make three.
    """
    link = Link("abcde", witnesses="de")
    a, b, c = link["a"], link["b"], link["c"]
    for name in "acde":
        link[name].start()
    link.run(INITDEAD + 30 * KEEPALIVE)
    b.start()  # so it has sent fewer beats than a
    link.until(lambda: all(link[name].accepts() for name in "abc"))
    link.run(DEADTIME)
    link.one_way("c", "d")
    link.run(3 * DEADTIME)
    link.one_way("c", "a")
    link.until(lambda: bool(answers(link, "b", "d")))
    asked = answers(link, "b", "d")[0]
    link.heal()
    link.one_way("d", "b")
    link.run(DEADTIME)
    assert c.core.session == Session(1, 1)
    a.do(lambda core: core.retire(a.clock()))
    link.until(lambda: link.master() == "b")
    link.until(lambda: b.core.seq >= asked - 3)
    link.one_way("c", "b")
    link.one_way("c", "e")
    assert c.accepts()
    link.run(3 * DEADTIME)


def a_farewell_from_an_earlier_life() -> None:
    """R6: d has left, is back, and holds blocks. b, the new master, knows only that it left."""
    link = Link("abcde", rates={"c": SLOW, "d": SLOW, "e": SLOW}).settled()
    link["d"].do(lambda core: core.leave(link["d"].clock()))
    link.run(20 * MS)
    link["d"].crash()
    link.run(DEADTIME)
    link.one_way("d", "b")
    link["d"].start()
    link.until(lambda: bool(link["d"].accepts()))
    link.run(DEADTIME)
    link["a"].crash()
    link.run(2 * DEADTIME)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs about R6: when somebody holds nothing any more."""

from __future__ import annotations

import msgspec

from saru.core.beat import Beat, Message, Role
from saru.core.term import Session
from tests.sim.scripts.steps import SLOW, answers, beats, flap, names, promised, soon, weigh
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


def a_silence_that_ends_between_two_beats() -> None:
    """R6: b promises at once, a itself L+ after c's last beat; nobody else's comes just then."""
    link = Link("abc")
    # With a, b, c a third of a keepalive apart, L+ is 4 keepalives of a's and a little.
    link.settings = msgspec.structs.replace(link.settings, deadtime=DEADTIME - 15 * MS)
    link.settled()
    link.one_way("b", "c")
    link.run(3 * DEADTIME)
    link.one_way("c", "a")
    link.until(lambda: not link["c"].accepts())
    soon(link, link.settings.lease_plus - link.settings.lease + 10 * MS)


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
    link.until(lambda: promised(link, "a", "b", "c"))
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

    That it asks again b and d do not hear. e and f have not heard c for long, and g has never heard
    that c is to be fenced: c's lease goes over from e, f and g to b, d and g, if b and d do not
    keep their promise, or not for as long as the master counts on it.
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
    link.until(lambda: promised(link, "a", "b", "c") and promised(link, "a", "d", "c"))
    for voter in "bd":
        link.one_way(voter, "a")
        link.mend("c", voter)
    known = a.core.peers["c"].beat
    assert known is not None
    said = beats(link, "c")
    late = next(beat for beat in said if beat.seq > known.seq)
    link.deliver("a", late)  # it was long on its way: contact, for a keepalive
    for voter in "bd":
        link.deliver(voter, said[-1])
    link.one_way("a", "c")
    link.run(2 * link.delay)
    for voter in "bd":
        link.one_way("a", voter)
    assert link["c"].accepts()
    link.run(DEADTIME)


def _until_c_is_unheard() -> Link:
    """Clocks are as wrong as can be. b, a witness, has not heard c for long; a and c part now."""
    rates = {"a": 0.99, "b": 1.01, "c": 0.99, "e": 1.01}
    link = Link("abcde", witnesses="b", rates=rates, delay=MS // 10)
    a = link["a"]
    a.start()
    link.run(30 * MS)  # or others would be past their wait before it
    for name in "bcde":
        link[name].start()
    link.until(lambda: all(link[name].accepts() for name in "acde"))
    link.one_way("c", "b")
    link.run(3 * DEADTIME)
    seq = a.core.seq
    link.until(lambda: a.core.seq > seq)
    link.run(2 * link.delay)
    weigh(link, "c", 99)  # a beat, and one that names a's newest
    link.run(2 * link.delay)
    for one, other in ("ac", "ca"):
        link.one_way(one, other)
    return link


def _b_promises_once(link: Link) -> int:
    """a asks for c, b promises, and a asks no more for two keepalives: when it asked, by its clock.

    c's beat that makes a patient was long on its way. b hears c from now on, and a hears b no more.
    """
    a = link["a"]
    link.until(lambda: promised(link, "a", "b", "c"))
    asked = a.core.sent.time(answers(link, "a", "b")[0])
    assert asked is not None
    link.one_way("b", "a")
    link.mend("c", "b")
    link.run(4 * link.delay)
    link.deliver("a", beats(link, "c")[-1])
    link.run(3 * link.delay)
    return asked


def _only_e_hears_a_ask_again(link: Link) -> None:
    link.run(3 * KEEPALIVE // 2)
    for voter in "bd":
        link.one_way("a", voter)


def a_promise_that_has_run_out() -> None:
    """R6: b promises to fence c. e heard c last just after that.

    So e promises when b is just free to vouch for c, and does. a was stopped for a moment, and
    reads e's promise first: by then b's is in answer to a beat that is too old.
    """
    link = _until_c_is_unheard()
    a, c = link["a"], link["c"]
    asked = _b_promises_once(link)
    weigh(link, "c", 50)
    link.run(2 * link.delay)
    link.one_way("c", "e")
    _only_e_hears_a_ask_again(link)
    link.run(asked + DEADTIME - a.clock() - MS)
    a.pause()
    for voter in "de":
        link.one_way(voter, "a")
    link.run(asked + link.settings.lease_plus - a.clock() - MS)
    assert c.accepts()
    a.inbox.clear()  # its timers
    a.paused = False
    link.deliver("a", beats(link, "e")[-1])
    link.run(DEADTIME)


def a_promise_by_a_fast_clock() -> None:
    """R6: b promises to fence c. e heard c last just before that, so b's promise still counts.

    By b's clock L is over sooner than by a's and by e's: if it promised for L, it would vouch for c
    when e is about to promise.
    """
    link = _until_c_is_unheard()
    a = link["a"]
    asks_at = a.core.peers["c"].contact_until(DEADTIME)
    link.run(int((asks_at - a.clock()) / a.rate) - 4 * MS)
    weigh(link, "c", 50)
    link.run(2 * link.delay)
    link.one_way("c", "e")
    asked = _b_promises_once(link)
    assert asked >= asks_at
    _only_e_hears_a_ask_again(link)
    link.until(lambda: promised(link, "a", "e", "c"))
    assert a.clock() < asked + DEADTIME
    link.run(DEADTIME)


def a_master_that_dies_while_it_asks() -> None:
    """R6: b does not hear a, the master, which asks for it, and dies. c has promised, and needs b.

    For long c has not heard b, so it can promise when a, which has, cannot yet.
    """
    link = Link("abc").settled()
    b = link["b"]
    link.one_way("b", "c")
    link.run(3 * DEADTIME)
    link.one_way("a", "b")
    link.until(lambda: promised(link, "a", "c", "b") and b.core.session > Session(1, 1))
    link.mend("b", "c")
    link.run(KEEPALIVE)
    assert beats(link, "c")[-1].promises[0].session == b.core.session
    link["a"].crash()
    soon(link, link.settings.lease_plus + 2 * KEEPALIVE)


def a_session_that_nobody_tells_of() -> None:
    """R6: b, a new master, hears from nobody that c has a second session, and asks for the first.

    In the old term a and d vouch for the second one, and a gives it blocks. Then a and e do; d,
    for which c has been silent for long, promises b. A beat from c's first session comes to b, so
    that it does not ask for a moment, and c's newest comes to d. If the promise of the first
    session does not bar the second, c has e and d, and a is free to promise, too.
    """
    link = Link("abcde").settled()
    b, c = link["b"], link["c"]
    for voter in "be":
        link.one_way("c", voter)
    link.run(KEEPALIVE + 4 * MS)
    first = beats(link, "c")[-1]

    def telling(sender: str, receiver: str, message: Message) -> bool:
        return sender == "a" and receiver == "b" and isinstance(message, Beat)

    link.lost = telling
    flap(link, "c")
    link.until(lambda: bool(c.accepts()))
    for voter in "bde":
        link.one_way("a", voter)
    link.run(KEEPALIVE)
    link.one_way("c", "d")
    link.run(KEEPALIVE)
    link.one_way("c", "a")
    link.until(lambda: b.core.role is Role.CANDIDATE)
    link.one_way("d", "b")
    link.until(lambda: beats(link, "e")[-1].term == b.core.term)
    link.run(link.delay)
    for one, other in ("eb", "be"):
        link.one_way(one, other)
    link.mend("c", "e")
    link.until(lambda: c.core.term == b.core.term)
    link.deliver("e", beats(link, "c")[-1])
    assert c.core.session == Session(1, 2)
    link.until(lambda: not names(link, "d", "c"))
    link.mend("d", "b")
    link.deliver("b", beats(link, "d")[-1])
    link.until(lambda: promised(link, "b", "d", "c"))
    link.one_way("d", "b")
    link.deliver("b", first)
    link.run(2 * link.delay)
    link.mend("c", "d")
    link.deliver("d", beats(link, "c")[-1])
    link.run(2 * link.delay)
    link.one_way("b", "d")
    link.until(lambda: not names(link, "a", "c"))
    link.mend("a", "b")
    link.lost = lambda _sender, _receiver, _message: False
    link.deliver("b", beats(link, "a")[-1])
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

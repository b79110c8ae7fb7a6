# SPDX-License-Identifier: GPL-2.0-or-later
"""Hand-written runs, one for each rule whose absence random runs hardly ever show.

Each goes well with the rules as they are, and ends in an InvariantError without the rule that it is
about. The hosts' clocks are exact; `slow` ones make sure that b is the first to miss a master.
"""

from __future__ import annotations

from saru.core.action import Change
from saru.core.beat import Allocation, Beat, Message, Role
from saru.core.invariants import InvariantError
from saru.core.term import Session
from tests.unit.cores import DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Link

SLOW = 0.995


def weigh(link: Link, node: str, weight: int) -> None:
    """Give a director another weight."""
    link[node].do(lambda core: core.weigh(weight, link[node].clock()))


def catch(link: Link, receiver: str) -> list[Allocation]:
    """Hold back all allocations to `receiver` from now on."""
    caught: list[Allocation] = []

    def lost(_sender: str, to: str, message: Message) -> bool:
        if to == receiver and isinstance(message, Allocation):
            caught.append(message)
            return True
        return False

    link.lost = lost
    return caught


def gives_more(link: Link, node: str, caught: list[Allocation]) -> Allocation | None:
    """The first one caught that gives `node` blocks that it does not hold."""
    session = link[node].core.session
    for allocation in caught:
        if allocation.bitmap(node, session) & ~link[node].accepts():
            return allocation
    return None


def promised(link: Link, voter: str, node: str) -> bool:
    """Whether the master has heard that `voter` promises not to vouch for `node`."""
    beat = link[link.master()].core.peers[voter].beat
    return beat is not None and any(promise.node == node for promise in beat.promises)


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


def a_voter_that_forgets_whom_it_vouched_for() -> None:
    """R8: a and c do not hear each other; b vouches for c, is restarted, and is asked about c."""
    link = Link("abc").settled()
    for one, other in ("ac", "ca"):
        link.one_way(one, other)
    link.run(link["a"].core.peers["c"].contact_until(DEADTIME) - link.now - MS)
    link["b"].crash()
    link["b"].start()
    link.run(DEADTIME)


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


def served(link: Link) -> None:
    """Raise an InvariantError if blocks stay unheld, or somebody who could hold some has none."""
    link.run(8 * DEADTIME)
    for _ in range(16):
        link.run(DEADTIME // 4)
        if link.held() != EVERYTHING:
            raise InvariantError(f"blocks stay unheld: {link.held():#x} is all that is held")


def broken_links() -> None:
    """R1, R4: a, d and e hear each other; b hears only d, and a and c do not hear each other."""
    link = Link("abcde").settled()
    for one, other in ("be", "ac", "ab", "bc"):
        link.one_way(one, other)
        link.one_way(other, one)
    served(link)


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


def a_director_without_a_lease() -> None:
    """R5: c and the master hear each other, and nobody else hears c: no quorum vouches for it."""
    link = Link("abcde").settled()
    for other in "bde":
        link.one_way("c", other)
        link.one_way(other, "c")
    served(link)


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


def a_renewal_too_late() -> None:
    """R7: a deadline passes before the Renew that would have moved it is carried out."""
    link = Link("abc").settled()
    link["b"].kernels[1].deadline = link["b"].clock()
    served(link)

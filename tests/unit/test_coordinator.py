# SPDX-License-Identifier: GPL-2.0-or-later
"""The core as a whole: cores on a fake link, one scenario for each rule's reason to exist.

After every event the link looks at the kernels: no scenario here ever has a block accepted by two.
"""

from __future__ import annotations

import copy

import msgspec

from saru.core.action import Change, Drop, Note, Push, SendBeat
from saru.core.beat import Allocation, Beat, Want
from saru.core.coordinator import Coordinator
from saru.core.library import Library
from saru.core.settings import Division, Quorum
from saru.core.term import Session, Term, Version
from tests.unit.cores import BLOCKS, DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Host, Link
from tests.unit.statements import some_settings

LONG = some_settings("abc").lease_plus


def vouched(link: Link, voter: str, node: str) -> bool:
    """Whether `voter` vouches for `node` in the newest beat that `node` has of it."""
    peer = link[node].core.peers[voter]
    assert peer.beat is not None
    return any(entry.node == node and entry.vouch for entry in peer.beat.heard)


# --- R1 to R3 -------------------------------------------------------------------------------------


def test_r1_nobody_vouches_during_its_start_up_wait() -> None:
    link = Link("abc").settled()
    link["c"].crash()
    link["c"].start()
    link.run(INITDEAD - KEEPALIVE)
    assert not vouched(link, "c", "a")
    link.run(2 * KEEPALIVE)
    assert vouched(link, "c", "a")


def test_r1_who_does_not_hear_is_not_vouched_for() -> None:
    """b hears c, and c hears nothing of b: b cannot know that its vouch would arrive."""
    link = Link("abc").settled()
    link.one_way("b", "c")
    link.run(DEADTIME + KEEPALIVE)
    entry = next(
        entry
        for _, sender, message in reversed(link.sent)
        if sender == "b" and isinstance(message, Beat)
        for entry in message.heard
        if entry.node == "c"
    )
    assert not entry.vouch


def test_r2_the_kernel_is_never_given_more_than_the_lease() -> None:
    link = Link("abc", set_time=3 * MS).settled()
    for _ in range(200):
        link.step()
        for host in link.hosts.values():
            deadline = host.kernels[1].deadline
            assert deadline <= max(host.core.lease, host.core.holdings[1].deadline)
            assert deadline <= host.clock() + DEADTIME


def test_r3_whoever_wakes_up_too_late_is_a_newcomer_before_anything_else() -> None:
    link = Link("abc").settled()
    link["b"].pause()
    begin = link.now
    link.run(3 * DEADTIME)
    assert link["a"].accepts() | link["c"].accepts() == EVERYTHING
    assert link["b"].core.session == Session(1, 1)  # it knows nothing of it yet
    first = len(link.sent)
    link["b"].resume()
    assert link["b"].core.session == Session(1, 2)
    beats = [m for _, name, m in link.sent[first:] if name == "b" and isinstance(m, Beat)]
    assert all(m.session == Session(1, 2) and m.reports[0].taken is None for m in beats)
    link.until(lambda: bool(link["b"].accepts()))
    assert link.told(Change.LAPSED, begin) == ["b"]


# --- R5: what a director takes ------------------------------------------------------------------


def takes(host: Host, allocation: Allocation) -> bool:
    """Whether a copy of the host's core would take this if it arrived now."""
    core = copy.deepcopy(host.core)
    core.receive_allocation(allocation, host.clock())
    holding = core.holdings[allocation.id]
    return allocation.version in (holding.taken, holding.taking)


def test_r5_a_director_takes_only_what_is_newer_and_of_exactly_its_term() -> None:
    link = Link("abc").settled()
    host = link["b"]
    newest = host.core.library.newest(1, host.core.term)
    assert newest is not None
    term, serial = newest.version.term, newest.version.serial

    def version(counter: int, number: int) -> Allocation:
        other = Term(counter, term.place, term.incarnation)
        return Allocation(1, Version(other, number), newest.grants)

    assert takes(host, version(term.counter, serial + 1))
    assert not takes(host, version(term.counter, serial - 1))
    assert not takes(host, version(term.counter - 1, serial + 1))
    assert not takes(host, version(term.counter + 1, serial + 1))


def test_r5_a_director_takes_nothing_without_a_lease_and_nothing_again_after_a_lapse() -> None:
    link = Link("abc").settled()
    host = link["b"]
    newest = host.core.library.newest(1, host.core.term)
    assert newest is not None
    link.apart("b")
    link.until(lambda: bool(link.told(Change.LAPSED)))
    later = Allocation(1, Version(newest.version.term, newest.version.serial + 1), newest.grants)
    assert not takes(host, later)


def test_r5_an_allocation_counts_for_the_sessions_that_it_names() -> None:
    link = Link("abc").settled()
    newest = link["b"].core.library.newest(1, link["b"].core.term)
    assert newest is not None
    assert newest.bitmap("b", Session(1, 1))
    assert not newest.bitmap("b", Session(1, 2))
    assert not newest.bitmap("b", Session(2, 1))


def test_r5_a_version_that_changes_nothing_here_does_not_trouble_the_kernel() -> None:
    """It is taken, reported and never taken again; the table keeps its older name."""
    link = Link("abc").settled()
    host = link["b"]
    newest = host.core.library.newest(1, host.core.term)
    assert newest is not None
    table = host.core.holdings[1].table
    later = Allocation(1, Version(newest.version.term, newest.version.serial + 1), newest.grants)
    actions = host.core.receive_allocation(later, host.clock())
    assert not any(isinstance(a, Push) for a in actions)
    (beat,) = (a.beat for a in actions if isinstance(a, SendBeat))
    assert beat.reports[0].taken == host.core.holdings[1].taken == later.version
    assert host.core.holdings[1].table == host.kernels[1].version == table
    link.run(3 * DEADTIME)
    assert host.accepts()
    assert not link.told(Change.LAPSED)


def test_r5_a_lost_allocation_is_sent_again_and_not_to_those_who_may_not_take_it() -> None:
    link = Link("abc").settled()
    link["b"].do(lambda core: core.guard(False, "a test", link["b"].clock()))
    link.run(DEADTIME)
    link.lost = lambda _sender, receiver, message: (
        isinstance(message, Allocation) and receiver == "c"
    )
    link["a"].do(lambda core: core.weigh(50, link["a"].clock()))
    link.run(KEEPALIVE // 2)
    assert link.held() != EVERYTHING
    link.lost = lambda _sender, _receiver, _message: False
    link.until(lambda: link.held() == EVERYTHING, limit=KEEPALIVE)
    before = len(link.sent)
    link.run(10 * KEEPALIVE)
    assert not any(isinstance(m, Allocation) for _, _, m in link.sent[before:])


def test_r5_a_new_master_asks_for_the_allocations_that_it_lacks() -> None:
    """b slept through a version by which a and c hold blocks, and becomes master."""
    link = Link("abcde").settled()
    link.lost = lambda _sender, receiver, message: (
        isinstance(message, Allocation) and receiver == "b"
    )
    link["e"].do(lambda core: core.weigh(10, link["e"].clock()))
    link.run(KEEPALIVE)
    link.lost = lambda _sender, _receiver, _message: False
    link["a"].crash()
    link.until(lambda: link.held() == EVERYTHING)
    assert link.master() == "b"


def test_r5_wants_are_answered_in_turn_by_those_who_are_there() -> None:
    library = Library()
    wants = [Want(1, Version(Term(3, 0, 1), 1)), Want(1, Version(Term(3, 0, 1), 2))]
    for times in range(3):
        assert library.asked("a", wants) == [(want, times) for want in wants]
    assert library.asked("a", wants[1:]) == [(wants[1], 3)]
    assert library.asked("a", wants) == [(wants[0], 0), (wants[1], 4)]


# --- R7: the kernel -----------------------------------------------------------------------------


def test_r7_a_lapse_with_a_table_on_its_way_deletes_it_and_takes_no_answer() -> None:
    link = Link("abc", set_time=50 * MS).settled()
    host = link["b"]
    link["a"].do(lambda core: core.weigh(0, link["a"].clock()))
    link.until(lambda: host.core.holdings[1].taking is not None)
    version = host.core.holdings[1].taking
    assert version is not None
    host.do(lambda core: core.guard(False, "a test", host.clock()))
    assert host.core.dropping
    before = len(link.sent)
    link.until(lambda: not host.core.dropping)
    # Nothing is said while the tables are not known to be empty.
    assert not any(name == "b" for _, name, _ in link.sent[before:-1])
    assert not host.accepts()
    assert host.core.holdings[1].taking is None


def test_r7_tables_are_dropped_once() -> None:
    link = Link("abc").settled()
    core = copy.deepcopy(link["b"].core)
    now = link["b"].clock()
    first = core.guard(False, "rules gone", now)
    assert sum(isinstance(action, Drop) for action in first) == 1
    again = core.guard(True, "rules back", now) + core.guard(False, "gone", now) + core.leave(now)
    assert not any(isinstance(action, Drop | SendBeat) for action in again)
    assert any(isinstance(action, SendBeat) for action in core.dropped(now))


def test_r7_a_renewal_that_came_too_late_gives_the_blocks_back() -> None:
    """The daemon stops between working out a new deadline and telling the kernel."""
    link = Link("abc").settled()
    host = link["b"]
    host.kernels[1].deadline = host.clock()  # it passed before the newest Renew was carried out
    assert not host.accepts()
    link.until(lambda: bool(host.accepts()), limit=3 * KEEPALIVE)
    assert host.core.session == Session(1, 2)
    link.until(lambda: link.held() == EVERYTHING, limit=KEEPALIVE)


def test_r7_a_table_that_the_kernel_refuses_gives_the_blocks_back() -> None:
    link = Link("abc", set_time=2 * MS).settled()
    host = link["b"]
    link["a"].do(lambda core: core.weigh(0, link["a"].clock()))
    link.until(lambda: host.core.holdings[1].taking is not None)
    version = host.core.holdings[1].taking
    assert version is not None
    host.do(lambda core: core.pushed(1, version, False, host.clock()))
    assert host.core.session == Session(1, 2)
    link.until(lambda: link.held() == EVERYTHING and bool(host.accepts()))


# --- R8 -------------------------------------------------------------------------------------------


def test_r8_a_restarted_director_waits_and_holds_nothing_meanwhile() -> None:
    link = Link("abc").settled()
    link["c"].crash()
    link["c"].start()
    begin = link.now
    link.until(lambda: bool(link["c"].accepts()))
    assert link.now - begin >= INITDEAD
    assert link["c"].core.session == Session(2, 1)
    assert INITDEAD >= 2 * LONG


def test_r8_all_restart_at_once_and_start_anew() -> None:
    link = Link("abc").settled()
    for host in link.hosts.values():
        host.crash()
        host.start()
    link.until(lambda: link.held() == EVERYTHING, limit=INITDEAD + DEADTIME)


# --- several ids, witnesses, no quorum -----------------------------------------------------------


def test_several_ids_are_granted_apart_and_lapse_together() -> None:
    divisions = (Division(1, BLOCKS, 0), Division(7, 64, 5))
    link = Link("abc", divisions=divisions, set_time=MS).settled()
    link.until(lambda: link.held(7) == (1 << 64) - 1)
    link.apart("b")
    link.until(lambda: not link["b"].accepts(1))
    assert not link["b"].accepts(7)
    link.until(lambda: link.held(1) == EVERYTHING and link.held(7) == (1 << 64) - 1)


def test_two_directors_and_a_witness() -> None:
    link = Link("abw", witnesses="w").settled()
    link.apart("a")
    link.until(lambda: link["b"].accepts() == EVERYTHING)
    assert not link["a"].accepts()
    assert not link["w"].accepts()


def test_without_a_quorum_both_sides_serve_and_one_gives_way_when_they_meet() -> None:
    link = Link("ab", quorum=Quorum.NONE).settled()
    link.promised = False
    link.apart("a")
    link.until(lambda: link["a"].accepts() == EVERYTHING == link["b"].accepts())
    link.heal()
    link.until(lambda: not link["a"].accepts() & link["b"].accepts())
    link.until(lambda: link.held() == EVERYTHING and not link["a"].accepts() & link["b"].accepts())
    link.run(2 * DEADTIME)
    link.promised = True
    link.check()
    assert link["a"].accepts()
    assert link["b"].accepts()
    assert link["a"].core.term == link["b"].core.term


def test_directors_whose_settings_differ_refuse_each_other_and_name_the_key() -> None:
    link = Link("abc")
    link["a"].start()
    beat = next(m for _, _, m in link.sent if isinstance(m, Beat))
    settings = msgspec.structs.replace(link.settings, keepalive=7 * MS)
    core = Coordinator(settings, "b", 1, 0)
    notes = [action for action in core.receive(beat, 5) if isinstance(action, Note)]
    assert core.refused == {"a": ["times.keepalive"]}
    assert [note.change for note in notes] == [Change.REFUSED]
    assert "times.keepalive" in str(notes[0])
    assert core.peers["a"].beat is None


def test_without_a_quorum_whoever_was_stopped_counts_nobody_as_fenced_for_that() -> None:
    """What the others said meanwhile is still to be read; never two is checked all the time."""
    link = Link("abc", quorum=Quorum.NONE).settled()
    for length in (DEADTIME - KEEPALIVE // 2, 2 * DEADTIME):
        link["b"].pause()
        link.run(length)
        link["b"].resume()
        link.run(2 * DEADTIME)
        assert all(host.accepts() for host in link.hosts.values())

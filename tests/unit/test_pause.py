# SPDX-License-Identifier: GPL-2.0-or-later
"""A restart without a break: a core suspends itself, and another one goes on from its state."""

from __future__ import annotations

import copy

import msgspec
import pytest

from saru.core import suspension
from saru.core.action import Action, Change, Drop, Note, SendBeat
from saru.core.beat import Beat, Role
from saru.core.coordinator import Coordinator
from saru.core.settings import Quorum
from saru.core.state import State
from saru.core.term import Session
from tests.unit.cores import DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Link
from tests.unit.test_takeover import scramble

AWAY = DEADTIME - 2 * KEEPALIVE  # well within the lease


def watched(link: Link, length: int) -> int:
    """Let time pass; the blocks that were held throughout."""
    end, always = link.now + length, EVERYTHING
    while link.now < end:
        link.step()
        always &= link.held()
    return always


def beats(link: Link, name: str, first: int = 0) -> list[Beat]:
    return [m for _, who, m in link.sent[first:] if who == name and isinstance(m, Beat)]


# --- within the lease ---------------------------------------------------------------------------


@pytest.mark.parametrize("quorum", list(Quorum))
@pytest.mark.parametrize("who", "abc")
def test_a_restart_within_the_lease_moves_no_block_and_leaves_none_unheld(
    who: str, quorum: Quorum
) -> None:
    link = Link("abc", set_time=MS, quorum=quorum).settled()
    before = {name: host.accepts() for name, host in link.hosts.items()}
    session, begin = link[who].core.session, link.now
    for _ in range(3):
        state = link[who].suspend()
        assert watched(link, AWAY) == EVERYTHING
        link[who].go_on(state)
        assert watched(link, 3 * DEADTIME) == EVERYTHING
    assert {name: host.accepts() for name, host in link.hosts.items()} == before
    assert link[who].core.session == session
    assert not link.told(Change.LAPSED, begin)
    assert not link.told(Change.FENCED, begin)
    assert link.master()


def test_a_rolling_restart_of_all_costs_no_block_its_holder() -> None:
    link = Link("abcd", witnesses="d").settled()
    begin = link.now
    for name in "abcd":
        state = link[name].suspend()
        assert watched(link, AWAY) == EVERYTHING
        link[name].go_on(state)
        assert watched(link, KEEPALIVE) == EVERYTHING
    assert not link.told(Change.BLOCKS, begin)


def test_who_retires_first_leaves_a_master_behind() -> None:
    link = Link("abc").settled()
    begin = link.now
    assert link.master() == "a"
    link["a"].do(lambda core: core.retire(link["a"].clock()))
    link.until(lambda: link["a"].core.hears(link["a"].clock()), limit=KEEPALIVE)
    assert link.master() == "b"
    assert link["a"].core.term == link["b"].core.term
    state = link["a"].suspend()
    assert watched(link, AWAY) == EVERYTHING
    assert link.master() == "b"
    link["a"].go_on(state)
    link.run(DEADTIME)
    assert len(link.told(Change.MASTER, begin)) == 1


def test_who_has_retired_does_not_stand_and_who_has_gone_on_does() -> None:
    link = Link("abc").settled()
    link["b"].do(lambda core: core.retire(link["b"].clock()))
    link["a"].crash()
    link.until(lambda: link.master() == "c")
    state = link["b"].suspend()
    link.run(KEEPALIVE)
    link["b"].go_on(state)
    link["a"].start()
    link.run(2 * INITDEAD)
    link["c"].crash()
    link.until(lambda: link.master() in ("a", "b"))


def test_a_term_is_never_used_twice() -> None:
    """The same incarnation stands again: its counter has gone on."""
    link = Link("abc").settled()
    link["c"].crash()
    terms = [link["a"].core.term]
    for _ in range(3):
        state = link["a"].suspend()
        link.run(KEEPALIVE)
        link["a"].go_on(state)
        link.until(lambda: bool(link.master()))
        terms.append(link["a"].core.term)
    assert None not in terms
    assert sorted(set(terms), key=str) == terms


def test_numbers_only_grow() -> None:
    link = Link("abc").settled()
    first = len(link.sent)
    state = link["b"].suspend()
    link.run(KEEPALIVE)
    link["b"].go_on(state)
    link.run(DEADTIME)
    numbers = [beat.seq for beat in beats(link, "b", first)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {beat.session for beat in beats(link, "b", first)} == {Session(1, 1)}


# --- longer than the lease ----------------------------------------------------------------------


@pytest.mark.parametrize("who", "abc")
def test_away_for_longer_than_the_lease_is_a_lapse_and_not_a_new_start(who: str) -> None:
    """The others have its blocks; it knows its past, so it takes part at once, in a new session."""
    link = Link("abc").settled()
    state = link[who].suspend()
    link.run(5 * DEADTIME)
    assert not link[who].accepts()
    assert link.held() == EVERYTHING
    first = len(link.sent)
    begin = link.now
    link[who].go_on(state)
    assert link.told(Change.LAPSED, begin) == [who]
    assert link[who].core.session == Session(1, 2)
    assert link[who].core.waited(link[who].clock())
    link.until(lambda: bool(link[who].accepts()), limit=2 * KEEPALIVE)
    assert beats(link, who, first)[0].session == Session(1, 2)
    assert beats(link, who, first)[0].reports[0].taken is None


def test_away_for_longer_than_the_start_up_wait_would_have_taken() -> None:
    link = Link("abc").settled()
    state = link["a"].suspend()
    link.run(20 * DEADTIME)
    link["a"].go_on(state)
    link.until(lambda: bool(link["a"].accepts()), limit=INITDEAD)


def test_a_start_up_wait_goes_on() -> None:
    link = Link("abc").settled()
    link["a"].crash()
    link.run(2 * DEADTIME)
    link["a"].start()
    begin = link.now
    link.run(INITDEAD // 2)
    state = link["a"].suspend()
    link.run(INITDEAD // 4)
    link["a"].go_on(state)
    link.until(lambda: link["a"].core.waited(link["a"].clock()))
    assert link.now - begin == INITDEAD


def test_a_lapse_found_by_the_suspension_deletes_the_tables_before_anything_is_said() -> None:
    link = Link("abc").settled()
    host = link["b"]
    host.pause()
    link.run(2 * DEADTIME)
    core = host.core
    actions, state = core.suspend(host.clock())
    assert Drop() in actions
    assert state.dropping
    assert not any(isinstance(action, SendBeat) for action in actions)
    resumed = Coordinator.resume(link.settings, state, host.clock())
    said = resumed.tick(host.clock())
    assert Drop() in said
    assert not any(isinstance(action, SendBeat) for action in said)
    assert any(isinstance(action, SendBeat) for action in resumed.dropped(host.clock()))


# --- what is kept -------------------------------------------------------------------------------


def test_a_promise_and_a_vouch_outlast_a_restart() -> None:
    """c is cut off, and the others promise not to vouch for it: that binds whoever goes on."""
    link = Link("abc").settled()
    link.apart("c")
    link.until(lambda: bool(link.told(Change.FENCED)))
    host = link["b"]
    vouched = host.core.peers["c"].vouched_at
    state = host.suspend()
    (promise,) = state.promises
    assert promise.node == "c"
    link.heal()
    host.go_on(state)
    host.do(lambda core: core.receive(beats(link, "c")[-1], host.clock()))
    assert host.core.voter.promises.state() == state.promises
    assert host.core.peers["c"].vouched_at == vouched is not None


@pytest.mark.parametrize("seed", range(12))
def test_who_goes_on_does_what_a_paused_one_would(seed: int) -> None:
    """In states of every kind, and whatever comes then: a pause is all that a restart is."""
    link = scramble(seed)
    for host in link.hosts.values():
        core = host.daemon
        if core is None or any(holding.taking for holding in core.holdings.values()):
            continue
        actions, state = core.suspend(host.clock())
        assert copy.deepcopy(core).tick(host.clock() + KEEPALIVE) == []
        if Role.MASTER in (a.beat.role for a in actions if isinstance(a, SendBeat)):
            pytest.fail("a master does not resign before it pauses")
        for away in (MS, KEEPALIVE, 2 * DEADTIME, 20 * DEADTIME):
            now = host.clock() + away
            paused = copy.deepcopy(core)
            paused.suspended, paused.retiring = False, False
            paused.listen_again(now)  # what was said meanwhile is lost
            resumed = Coordinator.resume(link.settings, state, now)
            events = [m for _, name, m in link.sent[-30:] if name != host.name]
            for step, message in enumerate([None, *events]):
                at = now + step * MS
                assert doing(paused, message, at) == doing(resumed, message, at)
            assert suspension.capture(paused, now) == suspension.capture(resumed, now)


def doing(core: Coordinator, message: object, now: int) -> list[Action]:
    """What `core` does about an event, but for what it tells. A beat is due each time."""
    core.next_beat = now
    if message is None:
        actions = core.tick(now)
    elif isinstance(message, Beat):
        actions = core.receive(message, now)
    else:
        actions = core.receive_allocation(message, now)  # type: ignore[arg-type]
    return [action for action in actions if not isinstance(action, Note)]


# --- what is refused ----------------------------------------------------------------------------


def test_nobody_pauses_while_a_table_is_on_its_way() -> None:
    link = Link("abc", set_time=10 * MS).settled()
    link["b"].do(lambda core: core.weigh(0, link["b"].clock()))
    link.until(lambda: link["b"].core.holdings[1].taking is not None)
    with pytest.raises(ValueError, match="on its way"):
        link["b"].suspend()


def test_other_settings_and_an_earlier_clock_are_refused() -> None:
    link = Link("abc").settled()
    state = link["b"].suspend()
    others = msgspec.structs.replace(link.settings, deadtime=2 * DEADTIME)
    with pytest.raises(ValueError, match="settings have changed"):
        Coordinator.resume(others, state, link["b"].clock())
    with pytest.raises(ValueError, match="clock has gone back"):
        Coordinator.resume(link.settings, state, state.at - 1)


def test_a_state_in_other_words_is_refused() -> None:
    link = Link("abc").settled()
    state = msgspec.to_builtins(link["b"].suspend())
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**state, "later": 1}, State)

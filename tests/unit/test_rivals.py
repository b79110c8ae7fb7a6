# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings that differ where a quorum does not decide who serves: never two, and soon one.

Hosts start with the settings that the link has at that moment; those that differ refuse each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import msgspec
import pytest

from saru.core.beat import Beat, Claim
from saru.core.settings import Division, Quorum, Settings, plus
from tests.unit.cores import BLOCKS, DEADTIME, EVERYTHING, INITDEAD, KEEPALIVE, MS, Host, Link

TRIPS = 20 * MS  # until those that are with each other have moved their shares
LEASE_PLUS = plus(DEADTIME)
WAIT = 2 * LEASE_PLUS + KEEPALIVE + TRIPS  # from a claim to the first blocks
CALM = 8 * DEADTIME


def voters(link: Link, names: str, witnesses: str = "") -> Settings:
    """Other voters, and the quorum that goes with so many."""
    quorum = Quorum.MAJORITY if len(names) >= 3 else Quorum.NONE
    return msgspec.structs.replace(
        link.settings, nodes=tuple(names), witnesses=tuple(witnesses), quorum=quorum
    )


def start(link: Link, name: str, settings: Settings) -> Host:
    """Start one host, with these settings."""
    link.settings = settings
    link[name].start(able=name not in settings.witnesses)
    return link[name]


def running(link: Link, names: str, settings: Settings) -> None:
    """Start these and wait until they hold everything."""
    for name in names:
        start(link, name, settings)
    link.until(lambda: link.held() == EVERYTHING, limit=2 * settings.initdead)
    link.run(DEADTIME)
    assert link.held() == EVERYTHING


def restart(link: Link, name: str, settings: Settings) -> int:
    """What an operator does: stop, change the settings, start, wait until it takes part.

    For how long, of that and the time until all is calm, not everything was held.
    """
    host = link[name]
    host.do(lambda core: core.weigh(0, host.clock()))
    lacking, end = 0, link.now + DEADTIME
    while host.core.holds and link.now < end:
        lacking += unheld(link, 1)
    host.do(lambda core: core.leave(host.clock()))
    lacking += unheld(link, KEEPALIVE)
    start(link, name, settings)
    return lacking + unheld(link, CALM)


def unheld(link: Link, length: int) -> int:
    """Let time pass; for how long of it not everything was held."""
    end, lacking = link.now + length, 0
    while link.now < end:
        before = link.now
        whole = link.held() == EVERYTHING
        link.step()
        lacking += 0 if whole else link.now - before
    return lacking


def shared(link: Link, names: Iterable[str]) -> None:
    """Each of these holds its share."""
    assert link.held() == EVERYTHING
    assert all(link[name].accepts() for name in names), link.story()


# --- a pair becomes a pair with a witness ---------------------------------------------------------


@pytest.mark.parametrize("order", ["wab", "wba", "awb", "abw", "baw"])
def test_a_pair_gets_a_witness(order: str) -> None:
    """Both serve on until the others have a majority, who take nothing for 2 L+ then."""
    link = Link("abw", voters="ab", quorum=Quorum.NONE)
    new = voters(link, "abw", "w")
    running(link, "ab", link.settings)
    lacking = []
    for name in order:
        if name == "w":
            start(link, name, new)
            lacking.append(unheld(link, CALM))
        else:
            lacking.append(restart(link, name, new))
    shared(link, "ab")
    # With the witness last, the first to change has no majority when the second one stops.
    last = WAIT + INITDEAD if order.endswith("w") else WAIT
    assert sum(lacking) <= last, [length / MS for length in lacking]


def test_a_pair_that_gives_way_says_so() -> None:
    link = Link("abw", voters="ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    start(link, "w", voters(link, "abw", "w"))
    assert not unheld(link, CALM)  # a witness alone has no majority
    since = link.now
    restart(link, "a", link.settings)
    assert link["a"].accepts() == EVERYTHING
    assert "b: gives way to a (its settings differ, and it has a majority)" in link.story(since)
    assert (
        "a: takes no blocks yet (b, with other settings and no quorum, may hold some)"
        in link.story(since)
    )
    assert "a: takes part again" in link.story(since)


def test_whoever_has_no_quorum_serves_again_when_the_majority_has_gone() -> None:
    link = Link("abw", voters="ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    new = voters(link, "abw", "w")
    start(link, "w", new)
    restart(link, "a", new)
    link.until(lambda: link["a"].accepts() == EVERYTHING)
    link["a"].daemon = None  # killed: its kernel goes on until its deadline
    assert link.until(lambda: link["b"].accepts() == EVERYTHING) <= LEASE_PLUS + KEEPALIVE + TRIPS


# --- three voters become two ----------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
@pytest.mark.parametrize("witness", ["", "c"])
def test_three_voters_become_two(order: tuple[str, ...], witness: str) -> None:
    """Whether the one that is removed is stopped first or last."""
    link = Link("abc", witnesses=witness)
    two = voters(link, "ab")
    running(link, "abc", link.settings)
    for name in order:
        if name == "c":
            link["c"].do(lambda core: core.leave(link["c"].clock()))
            link.run(KEEPALIVE)
            link["c"].daemon = None
        else:
            restart(link, name, two)
        link.run(CALM)
    shared(link, "ab")


def test_a_newcomer_without_a_quorum_holds_nothing_beside_the_majority() -> None:
    link = Link("abc")
    old, two = link.settings, voters(link, "ab")
    running(link, "abc", old)
    restart(link, "a", two)
    assert not unheld(link, 5 * INITDEAD)
    assert not link["a"].accepts()
    assert (
        restart(link, "b", two) <= INITDEAD + TRIPS
    )  # and no longer, for a waits to hear what b has
    shared(link, "ab")
    assert not link["c"].accepts()


# --- no quorum before, none after -----------------------------------------------------------------


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"divisions": (Division(1, BLOCKS, 7),)},
        {"deadtime": 2 * DEADTIME, "initdead": 2 * INITDEAD},
        {"deadtime": DEADTIME // 2, "initdead": INITDEAD, "earlier_lease": DEADTIME},
        {"nodes": ("a", "b", "c", "d")},
        {"nodes": ()},
    ],
)
def test_another_setting_changes(names: str, backwards: bool, change: dict[str, object]) -> None:
    link = Link(names, quorum=Quorum.NONE)
    running(link, names, link.settings)
    new = msgspec.structs.replace(link.settings, **change)
    lacking = [restart(link, name, new) for name in (reversed(names) if backwards else names)]
    shared(link, names)
    assert max(lacking) <= TRIPS, lacking  # each farewell hands over to those who wait for it


def test_those_that_start_together_with_settings_that_differ() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    one, other = link.settings, msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2)
    start(link, "b", one)
    start(link, "a", other)
    link.until(lambda: link.held() == EVERYTHING)
    assert link["a"].accepts() == EVERYTHING
    assert not unheld(link, 5 * INITDEAD)
    assert not link["b"].accepts()


def test_one_that_is_unable_does_not_keep_the_other_from_serving() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    one, other = link.settings, msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2)
    link.settings = other
    link["a"].start(able=False)
    start(link, "b", one)
    link.until(lambda: link["b"].accepts() == EVERYTHING)
    link["a"].do(lambda core: core.guard(True, "rules in place", link["a"].clock()))
    assert not unheld(link, 5 * INITDEAD)


@pytest.mark.parametrize("late", range(0, 2 * LEASE_PLUS, LEASE_PLUS // 8))
def test_two_that_become_able_at_about_the_same_time(late: int) -> None:
    """With every other beat lost, and links slow enough to cross."""
    link = Link("ab", quorum=Quorum.NONE, delay=3 * MS)
    counts = {"a": 0, "b": 0}

    def lost(sender: str, _receiver: str, _message: object) -> bool:
        counts[sender] += 1
        return counts[sender] % 3 != 0

    link.lost = lost
    one = link.settings
    link.settings = msgspec.structs.replace(one, initdead=INITDEAD + MS)
    link["a"].start(able=False)
    link.settings = one
    link["b"].start(able=False)
    link.run(2 * INITDEAD)
    for name in "ba":
        host = link[name]
        host.do(lambda core, h=host: core.guard(True, "rules in place", h.clock()))  # type: ignore[misc]
        link.run(late)
    link.run(5 * INITDEAD)
    assert link.held() == EVERYTHING


def test_two_sides_that_meet() -> None:
    """The one whose names come first goes on; what the others have, they let go."""
    link = Link("abcd", quorum=Quorum.NONE)
    link.promised = False
    link.apart("ad")
    one, other = (
        link.settings,
        msgspec.structs.replace(link.settings, divisions=(Division(1, BLOCKS, 7),)),
    )
    for name in "abcd":
        start(link, name, one if name in "ad" else other)
    link.run(2 * INITDEAD)
    assert all(host.accepts() for host in link.hosts.values())
    link.heal()
    link.run(2 * KEEPALIVE)
    link.promised = True
    link.run(8 * DEADTIME)
    shared(link, "ad")


def test_a_killed_one_is_waited_for_until_its_deadline_has_passed() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    longer = msgspec.structs.replace(link.settings, deadtime=5 * DEADTIME, initdead=5 * INITDEAD)
    running(link, "ab", link.settings)
    restart(link, "a", longer)
    link["b"].daemon = None
    link.until(lambda: link["a"].accepts() == EVERYTHING)
    start(link, "b", msgspec.structs.replace(longer, deadtime=DEADTIME, initdead=INITDEAD))
    link.run(3 * INITDEAD)
    assert not link["b"].accepts()
    link["a"].daemon = None  # its kernel goes on for ten times b's deadtime
    link.until(lambda: link["b"].accepts() == EVERYTHING)


def test_what_a_killed_one_has_left_in_its_kernel_is_waited_for_when_it_starts_again() -> None:
    """It claims nothing in its start-up wait, and yet its kernel goes on for a while."""
    link = Link("ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    restart(link, "a", msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2))
    link["b"].kill()
    start(link, "b", msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 4))
    link.until(lambda: link["a"].accepts() == EVERYTHING)
    assert not unheld(link, 5 * INITDEAD)


def test_a_pause_does_not_make_it_forget_to_whom_it_gives_way() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    restart(link, "a", msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2))
    state = link["a"].suspend()
    link.run(DEADTIME // 2)
    link["a"].go_on(state)
    assert not unheld(link, 5 * INITDEAD)
    assert not link["a"].accepts()


def test_a_stopped_one_that_wakes_reads_first_what_the_others_have_said() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    restart(link, "a", msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2))
    link["a"].pause()
    link.run(5 * DEADTIME)
    link["a"].paused = False
    link["a"].do(lambda core: core.tick(link["a"].clock()))
    assert not link["a"].core.holds
    link["a"].resume()
    assert not unheld(link, 5 * INITDEAD)
    assert not link["a"].accepts()


# --- what a life before has left ------------------------------------------------------------------


def test_one_that_was_killed_and_comes_back_at_once_does_not_keep_its_blocks_from_the_other() -> (
    None
):
    """The other hears it, so it is not silent; but in this life it holds nothing yet."""
    link = Link("ab", quorum=Quorum.NONE)
    link.settings = msgspec.structs.replace(link.settings, initdead=20 * DEADTIME)
    running(link, "ab", link.settings)
    for _ in range(3):
        link["b"].kill()
        link.run(20 * MS)
        start(link, "b", link.settings)
        assert unheld(link, 3 * LEASE_PLUS) <= LEASE_PLUS + KEEPALIVE + TRIPS
    link.until(lambda: bool(link["b"].accepts()), limit=40 * DEADTIME)
    shared(link, "ab")


@pytest.mark.parametrize("differing", [False, True])
def test_a_longer_lease_of_a_life_before_is_waited_for_though_the_next_one_dies_too(
    differing: bool,
) -> None:
    """As in the midst of a change to a shorter deadtime, where the daemon does not stay up."""
    link = Link("ab", quorum=Quorum.NONE)
    short = link.settings
    long = msgspec.structs.replace(short, deadtime=10 * DEADTIME, initdead=22 * DEADTIME)
    running(link, "b", long)
    link["b"].kill()
    again = msgspec.structs.replace(short, earlier_lease=long.deadtime)
    if differing:
        again = msgspec.structs.replace(again, keepalive=KEEPALIVE // 2)
    start(link, "a", short)
    start(link, "b", again)
    link.run(KEEPALIVE)
    link["b"].kill()
    link.until(lambda: link["a"].accepts() == EVERYTHING, limit=40 * DEADTIME)


def test_one_that_finds_its_kernel_empty_keeps_nobody_from_serving() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    start(link, "a", link.settings)
    other = msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2)
    end = link.now + 10 * INITDEAD
    while link.now < end and not link["a"].accepts():
        link["b"].kill()
        start(link, "b", other)
        link["b"].core.former_until = 0
        link.run(INITDEAD // 2)
    shared(link, "a")


def test_a_farewell_in_the_start_up_wait_ends_all_claims() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    host = start(link, "b", link.settings)
    host.do(lambda core: core.leave(host.clock()))
    (last,) = [m for _, name, m in link.sent if name == "b" and isinstance(m, Beat)][-1:]
    assert (last.left, last.claim) == (True, Claim.NOTHING)


@pytest.mark.parametrize("differing", [False, True])
def test_one_that_goes_on_after_long_listens_first_for_those_it_does_not_know(
    differing: bool,
) -> None:
    link = Link("ab", quorum=Quorum.NONE)
    open_to_all = msgspec.structs.replace(link.settings, nodes=())
    running(link, "a", open_to_all)
    state = link["a"].suspend()
    link.run(2 * DEADTIME)
    other = msgspec.structs.replace(open_to_all, keepalive=KEEPALIVE // 2)
    running(link, "b", other if differing else open_to_all)
    link.settings = open_to_all
    link["a"].go_on(state)
    assert unheld(link, CALM) <= TRIPS
    shared(link, "b" if differing else "ab")


# --- what is heard without a quorum, and what that proves ----------------------------------------


def test_two_that_miss_the_first_beats_after_their_start_up_wait_do_not_both_serve() -> None:
    """Each has heard the other in its wait, and that proves nothing about later than its end."""
    link = Link("ab", quorum=Quorum.NONE)
    for name in "ab":
        start(link, name, link.settings)
    link.run(INITDEAD - MS)
    deaf_until = link.now + DEADTIME - 2 * KEEPALIVE
    link.lost = lambda _sender, _receiver, _message: link.now < deaf_until
    link.until(lambda: link.held() == EVERYTHING)
    shared(link, "ab")


def test_what_a_killed_one_has_left_is_waited_for_though_its_last_beats_were_lost() -> None:
    """It is refused when it comes back, and says that something is left of its life before."""
    link = Link("ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    link.lost = lambda sender, _receiver, _message: sender == "b"
    link.run(2 * KEEPALIVE)
    link.lost = lambda _sender, _receiver, _message: False
    link["b"].kill()
    start(link, "b", msgspec.structs.replace(link.settings, keepalive=KEEPALIVE // 2))
    assert unheld(link, 3 * LEASE_PLUS) <= LEASE_PLUS - DEADTIME + KEEPALIVE + TRIPS
    assert link["a"].accepts() == EVERYTHING


def test_what_was_said_in_a_pause_is_lost_and_so_a_short_one_proves_nobody_silent() -> None:
    link = Link("ab", quorum=Quorum.NONE)
    running(link, "ab", link.settings)
    state = link["a"].suspend()
    link.run(KEEPALIVE)
    link["a"].go_on(state)
    link["b"].kill()  # its kernel goes on from a beat that the other has missed
    link.until(lambda: link["a"].accepts() == EVERYTHING)

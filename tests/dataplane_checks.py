# SPDX-License-Identifier: GPL-2.0-or-later
"""Every promise of a data plane, whichever it is, against a real kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from saru.core.term import Term, Version
from saru.dataplane import Dataplane, Event, EventKind, Table, TableState
from saru.errors import SaruError, StaleError

SECOND = 10**9
LEASE = 600 * SECOND  # what a busy machine needs not hurry for
figures: dict[str, float] = {}


class Subject(NamedTuple):
    """What is checked, and what only its own kind knows how to do."""

    plane: Dataplane
    name_id: Callable[[int], None]
    """Add a rule that names an id."""
    unname: Callable[[], None]
    """Remove the rule that was added last."""
    counts_packets: bool
    """Whether it counts packets per block."""
    flood: tuple[int, int]
    """How many tables to set, and of how many blocks, until events are lost that nobody reads."""


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def table(id_: int, serial: int, *, blocks: int = 16, held: int = 1, lease: int = LEASE) -> Table:
    """A table of term 2.1.7, good for `lease` from now on."""
    return Table(
        id=id_,
        blocks=blocks,
        seed=0xDEADBEEF,
        version=Version(Term(2, 1, 7), serial),
        deadline=now() + lease,
        lease_max=LEASE,
        held=held,
    )


async def refused(kind: type[SaruError], words: str, attempt: Awaitable[Any]) -> None:
    """The attempt must raise exactly this kind of error with these words in it."""
    caught: SaruError | None = None
    try:
        await attempt
    except SaruError as error:
        caught = error
    assert type(caught) is kind, repr(caught)
    assert words in str(caught), str(caught)


def wait_until(moment: int) -> None:
    """Let a moment of CLOCK_BOOTTIME pass."""
    while now() <= moment:
        time.sleep(0.01)


async def told(events: AsyncIterator[Event], kind: EventKind, id_: int) -> Event:
    """The next event of this kind and id."""
    async with asyncio.timeout(60):
        async for event in events:
            if (event.kind, event.id) == (kind, id_):
                return event
    raise AssertionError("the events ended")


async def check_a_table_comes_back_as_it_was_set(subject: Subject) -> None:
    plane = subject.plane
    for blocks in (2, 4, 8, 1024, 4096, 8192, 65536):
        held = (1 << blocks) - 1 - (1 << blocks // 2)
        put = table(blocks % 65535, 1, blocks=blocks, held=held)
        await plane.set(put)
        state = await plane.get(put.id)
        counted = subject.counts_packets and blocks <= 4096
        packets = (0,) * blocks if counted else None
        assert state == TableState(id=put.id, table=put, packets=packets), state


async def check_a_newer_version_replaces_and_an_older_one_is_stale(subject: Subject) -> None:
    plane = subject.plane
    await plane.set(table(10, 5, held=0b11))
    newer = table(10, 6, blocks=32, held=0b1100)
    await plane.set(newer)
    assert (await plane.get(10)).table == newer
    await refused(StaleError, "the version is older than the table's", plane.set(table(10, 5)))


async def check_a_version_comes_again_with_the_same_blocks_or_fewer(subject: Subject) -> None:
    plane = subject.plane
    await plane.set(table(11, 1, held=0b111))
    await plane.set(table(11, 1, held=0b111))
    await plane.set(table(11, 1, held=0b101))
    more = table(11, 1, held=0b111)
    await refused(SaruError, "this version came before, and not with all of", plane.set(more))


async def check_a_renewal_moves_the_deadline(subject: Subject) -> None:
    plane = subject.plane
    put = table(12, 1)
    await plane.set(put)
    for step in (1, 2, 3):
        await plane.renew(12, put.version, put.deadline + step)
        state = await plane.get(12)
        assert state.table is not None
        assert state.table.deadline == put.deadline + step


async def check_a_renewal_of_another_version_is_stale(subject: Subject) -> None:
    plane = subject.plane
    put = table(13, 5)
    await plane.set(put)
    for serial in (4, 6):
        other = Version(put.version.term, serial)
        attempt = plane.renew(13, other, put.deadline)
        await refused(StaleError, "the table has another version", attempt)
    attempt = plane.renew(9999, put.version, put.deadline)
    await refused(StaleError, "there is no table of id 9999 to renew", attempt)


async def check_a_passed_deadline_is_final_for_its_version(subject: Subject) -> None:
    plane = subject.plane
    put = table(14, 1, lease=SECOND // 10)
    await plane.set(put)
    wait_until(put.deadline)
    attempt = plane.renew(14, put.version, now() + SECOND)
    await refused(StaleError, "the table's deadline has passed", attempt)
    await refused(StaleError, "deadline has passed", plane.set(table(14, 1)))
    await plane.set(table(14, 2))


async def check_a_deadline_too_far_away_is_refused(subject: Subject) -> None:
    plane = subject.plane
    words = "the deadline is further away than the longest lease"
    await refused(SaruError, words, plane.set(table(15, 1, lease=LEASE + 60 * SECOND)))
    put = table(15, 1)
    await plane.set(put)
    await refused(SaruError, words, plane.renew(15, put.version, now() + LEASE + 60 * SECOND))


async def check_a_deleted_table_is_gone(subject: Subject) -> None:
    plane = subject.plane
    await plane.set(table(16, 1))
    assert await plane.delete(16) is True
    assert await plane.delete(16) is False
    assert await plane.get(16) == TableState(id=16)


async def check_all_tables_are_listed_in_order(subject: Subject) -> None:
    plane = subject.plane
    put = {id_: table(id_, 1, blocks=4096, held=id_) for id_ in range(300, 340)}
    put[65535] = table(65535, 1, blocks=65536, held=1 << 65535)
    for one in put.values():
        await plane.set(one)
    states = await plane.tables()
    assert [state.id for state in states] == sorted(state.id for state in states)
    assert {state.id: state.table for state in states if state.id in put} == put


async def check_events_tell_what_happens(subject: Subject) -> None:
    plane = subject.plane
    events = plane.events()
    put = table(17, 1, lease=SECOND // 2)
    await plane.set(put)
    assert (await told(events, EventKind.SET, 17)).version == put.version
    assert (await told(events, EventKind.EXPIRED, 17)).version == put.version
    assert now() >= put.deadline
    await plane.delete(17)
    assert await told(events, EventKind.DELETED, 17) == Event(EventKind.DELETED, 17)


async def check_the_last_rule_gone_is_told_and_users_are_counted(subject: Subject) -> None:
    plane = subject.plane
    events = plane.events()
    for _ in range(2):
        subject.name_id(18)
    assert await plane.get(18) == TableState(id=18, users=2)
    assert [await plane.users(id_) for id_ in (18, 9999)] == [2, 0]
    assert TableState(id=18, users=2) in await plane.tables()
    for _ in range(2):
        subject.unname()
    assert await told(events, EventKind.UNUSED, 18) == Event(EventKind.UNUSED, 18)


async def check_events_that_were_not_read_in_time_are_said_to_be_lost(subject: Subject) -> None:
    plane = subject.plane
    events = plane.events()
    times, blocks = subject.flood
    for serial in range(1, times + 1):
        await plane.set(
            table(19, serial, blocks=blocks, held=(1 << blocks) - 1 if serial % 2 else 0)
        )
    assert (await told(events, EventKind.LOST, 0)).id == 0
    await plane.delete(19)
    await told(events, EventKind.DELETED, 19)


async def check_calls_are_made_in_their_order(subject: Subject) -> None:
    plane = subject.plane
    first, second = table(20, 1), table(20, 2)
    results = await asyncio.gather(
        plane.set(first),
        plane.renew(20, first.version, first.deadline + 1),
        plane.set(second),
        plane.renew(20, second.version, second.deadline + 1),
        plane.renew(20, first.version, first.deadline + 2),
        plane.get(20),
        return_exceptions=True,
    )
    assert list(results[:4]) == [None, None, None, None], results
    assert isinstance(results[4], StaleError)
    assert isinstance(results[5], TableState)
    assert results[5].table is not None
    assert results[5].table.deadline == second.deadline + 1


async def check_a_renewal_is_cheap(subject: Subject) -> None:
    plane = subject.plane
    for name, blocks in (("2", 2), ("65536", 65536)):
        put = table(22, blocks, blocks=blocks)
        await plane.set(put)
        spent = []
        for step in range(300):
            before = time.perf_counter_ns()
            await plane.renew(22, put.version, put.deadline + step)
            spent.append(time.perf_counter_ns() - before)
        figures[f"renew_{name}_blocks_us"] = sorted(spent)[150] / 1000
        spent = []
        for serial in range(1, 31):
            after = table(22, blocks + serial, blocks=blocks)
            before = time.perf_counter_ns()
            await plane.set(after)
            spent.append(time.perf_counter_ns() - before)
        figures[f"set_{name}_blocks_us"] = sorted(spent)[15] / 1000
    before = time.perf_counter_ns()
    await plane.get(22)
    figures["get_us"] = (time.perf_counter_ns() - before) / 1000


Check = Callable[[Subject], Awaitable[None]]
CHECKS: dict[str, Check] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}

# SPDX-License-Identifier: GPL-2.0-or-later
"""R7: the hand that carries the core's orders to the kernel, and what holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import cast

from saru.core.action import Push, Renew
from saru.core.settings import Division
from saru.core.term import Term, Version
from saru.daemon.pusher import Pusher
from saru.dataplane import Dataplane, Table
from saru.errors import SaruError, StaleError
from saru.membership import boottime

TERM = Term(1, 0, 1)
PATIENCE = 20.0


def version(serial: int) -> Version:
    return Version(TERM, serial)


class SlowKernel:
    """A data plane whose CPUs are done with an old table when `done` is set, and not before."""

    name = "slow"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.done = asyncio.Event()
        self.refuses = False
        self.fails = False

    async def set(self, table: Table) -> None:
        self.calls.append(f"set {table.version.serial}")
        if self.refuses:
            raise StaleError("older")
        await self.done.wait()

    async def renew(self, id: int, version: Version, deadline: int) -> None:  # noqa: A002
        self.calls.append(f"renew {id} {version.serial} {deadline}")
        if self.fails:
            raise SaruError("somebody else's words")

    async def delete(self, id: int) -> bool:  # noqa: A002
        self.calls.append(f"delete {id}")
        return True


class Ordered:
    """A pusher at work on a slow kernel, and what it has told."""

    def __init__(self) -> None:
        self.kernel = SlowKernel()
        self.told: list[str] = []
        self.pusher = Pusher(
            cast(Dataplane, self.kernel),
            (Division(1, 64, 0),),
            1000,
            pushed=lambda _, version, ok: self.told.append(f"pushed {version.serial} {ok}"),
            late=lambda _, version: self.told.append(f"late {version.serial}"),
            dropped=lambda: self.told.append("dropped"),
        )

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not so():  # noqa: ASYNC110  no event says so
                await asyncio.sleep(0)


def at_work(story: Callable[[Ordered], Awaitable[None]]) -> None:
    async def run() -> None:
        ordered = Ordered()
        running = asyncio.ensure_future(ordered.pusher.run())
        try:
            await story(ordered)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    work: Coroutine[None, None, None] = run()
    asyncio.run(work)


def test_a_renewal_does_not_wait_until_the_old_table_is_out_of_use() -> None:
    async def story(ordered: Ordered) -> None:
        ordered.pusher.push(Push(1, version(1), 3, 10))
        ordered.pusher.renew(Renew(1, version(1), 20))
        await ordered.until(lambda: len(ordered.kernel.calls) == 2)
        assert ordered.kernel.calls == ["set 1", "renew 1 1 20"]
        assert ordered.told == []  # it has not been let go yet
        assert not ordered.pusher.idle.is_set()
        ordered.kernel.done.set()
        await ordered.until(ordered.pusher.idle.is_set)
        assert ordered.told == ["pushed 1 True"]

    at_work(story)


def test_a_drop_does_not_wait_either_and_is_answered_after_what_had_begun() -> None:
    async def story(ordered: Ordered) -> None:
        ordered.pusher.push(Push(1, version(1), 3, 10))
        await ordered.until(lambda: ordered.kernel.calls == ["set 1"])
        ordered.pusher.drop()
        await ordered.until(lambda: ordered.kernel.calls == ["set 1", "delete 1"])
        assert ordered.told == []
        ordered.kernel.done.set()
        await ordered.until(ordered.pusher.idle.is_set)
        assert ordered.told == ["pushed 1 True", "dropped"]

    at_work(story)


def test_a_drop_voids_what_has_not_begun() -> None:
    async def story(ordered: Ordered) -> None:
        ordered.pusher.push(Push(1, version(1), 3, 10))
        ordered.pusher.renew(Renew(1, version(1), 20))
        ordered.pusher.drop()
        await ordered.until(ordered.pusher.idle.is_set)
        assert ordered.kernel.calls == ["delete 1"]
        assert ordered.told == ["dropped"]

    at_work(story)


def test_what_the_kernel_refuses_is_told() -> None:
    async def story(ordered: Ordered) -> None:
        ordered.kernel.refuses = True
        ordered.pusher.push(Push(1, version(1), 3, 10))
        await ordered.until(ordered.pusher.idle.is_set)
        assert ordered.told == ["pushed 1 False"]
        assert ordered.pusher.stale == 1

    at_work(story)


def test_a_renewal_that_fails_is_tried_again_until_the_deadline_is_over() -> None:
    far = boottime() + 3600 * 10**9

    async def story(ordered: Ordered) -> None:
        ordered.kernel.done.set()
        ordered.kernel.fails = True
        ordered.pusher.push(Push(1, version(1), 3, far))
        ordered.pusher.renew(Renew(1, version(1), far + 1))
        await ordered.until(ordered.pusher.idle.is_set)
        assert ordered.told == ["pushed 1 True"]  # the table is good for an hour
        ordered.pusher.renew(Renew(2, version(2), 20))
        await ordered.until(ordered.pusher.idle.is_set)
        assert ordered.told == ["pushed 1 True", "late 2"]

    at_work(story)

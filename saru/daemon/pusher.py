# SPDX-License-Identifier: GPL-2.0-or-later
"""R7: one hand that carries the core's orders to the kernel, in their order.

Kernel calls take time and the core does not wait for them, so orders meet here: a newer renewal
replaces one that has not been carried out, and a drop voids every push and renewal not yet begun;
it is answered after those that were.
A push that waits until the CPUs have done with the old table holds nothing up: the data plane keeps
the order of its calls, and what comes behind finds the new table. A lease of a few hundredths of a
second would else pass while its renewal waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from saru.core.action import Push, Renew
from saru.core.settings import Division
from saru.core.term import Version
from saru.dataplane import Dataplane, Table
from saru.errors import SaruError, StaleError
from saru.membership import boottime

log = logging.getLogger("saru.daemon.pusher")


class Pusher:
    """Carries out Push, Renew and Drop.

    `pushed` is called with the id, the version and whether the kernel took it, `late` with the id
    and version of a renewal that it refused, `dropped` when all tables have been deleted. A renewal
    that fails for another reason is told, and tried again with the next one; when the deadline that
    the kernel has is over meanwhile, it was refused. A table that cannot be deleted ends `run`.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        divisions: tuple[Division, ...],
        lease_max: int,
        pushed: Callable[[int, Version, bool], None],
        late: Callable[[int, Version], None],
        dropped: Callable[[], None],
    ) -> None:
        self.stale = 0  # tables and renewals that the kernel refused as older than what it has
        self._dataplane = dataplane
        self._divisions = {division.id: division for division in divisions}
        self._lease_max = lease_max
        self._pushed = pushed
        self._late = late
        self._dropped = dropped
        self._pushes: dict[int, Push] = {}
        self._renews: dict[int, Renew] = {}
        self._deadlines: dict[int, int] = {}  # those that the kernel has
        self._drop = False
        self._dropping = False  # under way
        self._group: asyncio.TaskGroup | None = None  # of the pushes under way, while this runs
        self._under_way: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self.idle = asyncio.Event()  # all orders have been carried out
        self.idle.set()

    def push(self, push: Push) -> None:
        """Order a table to be replaced: at once, for a block may have no holder until it is."""
        if self._group is None or self._drop or self._dropping:
            self._pushes[push.id] = push
            self._order()
        else:
            self._begin(self._group, push)

    def renew(self, renew: Renew) -> None:
        """Order a deadline to be moved."""
        self._renews[renew.id] = renew
        self._order()

    def drop(self) -> None:
        """Order all tables to be deleted, before anything else."""
        self._pushes.clear()
        self._renews.clear()
        self._drop = True
        self._order()

    def _order(self) -> None:
        self.idle.clear()
        self._news.set()

    async def run(self) -> None:
        """Carry out orders for ever."""
        try:
            async with asyncio.TaskGroup() as self._group:
                while True:
                    await self._next(self._group)
        finally:
            self._group = None

    async def _next(self, group: asyncio.TaskGroup) -> None:
        """Carry out an order, when there is one."""
        await self._news.wait()
        if self._drop:
            self._drop, self._dropping = False, True
            await self.empty()
            if self._under_way:
                # They were begun before, and are answered before: the next session may take a
                # version of the same name.
                await asyncio.wait(self._under_way)
            self._dropping = False
            self._dropped()
        elif self._pushes:
            self._begin(group, self._pushes.pop(next(iter(self._pushes))))
        elif self._renews:
            await asyncio.sleep(0)  # a push that was begun just now is called before
            if self._renews:  # no drop has come between
                await self._move(self._renews.pop(next(iter(self._renews))))
        else:
            self._news.clear()
            self._rest()

    def _begin(self, group: asyncio.TaskGroup, push: Push) -> None:
        self.idle.clear()
        task = group.create_task(self._set(push))
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._rest()

    def _rest(self) -> None:
        if not self._under_way and not self._news.is_set():
            self.idle.set()

    async def empty(self) -> None:
        """Delete the tables of all of this cluster's ids."""
        await asyncio.gather(*map(self._dataplane.delete, self._divisions))

    async def _set(self, push: Push) -> None:
        division = self._divisions[push.id]
        table = Table(
            id=push.id,
            blocks=division.blocks,
            seed=division.seed,
            version=push.version,
            deadline=push.deadline,
            lease_max=self._lease_max,
            held=push.held,
        )
        ok = False
        try:
            await self._dataplane.set(table)
            self._has(push.id, push.deadline)
            ok = True
        except StaleError as error:
            self.stale += 1
            log.warning("version %s of id %d: %s", push.version, push.id, error)
        except SaruError as error:
            log.error("version %s of id %d: %s", push.version, push.id, error)
        self._pushed(push.id, push.version, ok)

    async def _move(self, renew: Renew) -> None:
        try:
            await self._dataplane.renew(renew.id, renew.version, renew.deadline)
            self._has(renew.id, renew.deadline)
        except StaleError:
            # The deadline has passed, or the table is of another version by now: the core knows.
            self._refused(renew)
        except SaruError as error:
            log.error("renewal of id %d: %s", renew.id, error)
            if boottime() >= self._deadlines.get(renew.id, 0):
                self._refused(renew)

    def _has(self, number: int, deadline: int) -> None:
        """The kernel has that deadline; a renewal may have overtaken its table's push."""
        self._deadlines[number] = max(deadline, self._deadlines.get(number, 0))

    def _refused(self, renew: Renew) -> None:
        self.stale += 1
        self._late(renew.id, renew.version)

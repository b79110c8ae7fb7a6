# SPDX-License-Identifier: GPL-2.0-or-later
"""What one session asks of ZooKeeper for the core: each a few requests, and what came of them.

All raise LostError when the connection goes meanwhile: then nobody knows what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from saru.core.ensemble.action import Store
from saru.core.ensemble.record import ABSENT, Account, Reign
from saru.membership.keeper import Keeper
from saru.membership.places import Places
from saru.membership.znode import Check, Make, Put, RacedError, Znode
from saru.wire import znodes

OnWait = Callable[[], None]


class DeposedError(RacedError):
    """The election node is gone: this is no master any more."""


class Errands:
    """Those of the director `name`; `mark` tells its host's znodes from others'. `blocks` are how
    many each id has."""

    def __init__(
        self, keeper: Keeper, places: Places, name: str, mark: bytes, blocks: Mapping[int, int]
    ) -> None:
        self._keeper = keeper
        self._blocks = blocks
        self._places = places
        self._mark = mark
        self._own = f"{places.directors}/{name}"
        self._report = f"{places.reports}/{name}"
        self._moved = f"{places.moved}/{name}"
        self._reporting = False  # there is a report, and it is this session's

    async def register(self, terms: Callable[[], Znode | None], on_wait: OnWait) -> int:
        """Make `directors/NAME` while the znode `terms` stands, once no other is there: its czxid.

        `terms` None: RacedError. `on_wait` is called when another one is there that is not of
        this host; waits until that is gone.
        """
        while True:
            gone = asyncio.Event()
            found = await self._keeper.get(self._own, gone.set)
            if found is not None and found.owner == self._keeper.session:
                return found.czxid
            if found is None:
                agreed = terms()
                if agreed is None:
                    raise RacedError("the settings are no longer agreed on")
                parts = (
                    Check(self._places.settings, agreed.version),
                    Make(self._own, self._mark, ephemeral=True),
                )
                try:
                    await self._keeper.commit(*parts)
                except RacedError as why:
                    if why.place == 0:
                        raise
            elif found.data.startswith(self._mark):
                await self._remove(self._own, found.version)
            else:
                on_wait()
                await gone.wait()

    async def touch(self, number: int) -> int:
        """Write to `directors/NAME`: its czxid. RacedError if there is none."""
        return (await self._keeper.put(self._own, self._mark + b" %d" % number)).czxid

    async def report(self, account: Account) -> None:
        """Write `reports/NAME`; what an earlier session left goes first."""
        data = znodes.encode_account(account)
        while True:
            if self._reporting:
                try:
                    await self._keeper.put(self._report, data)
                except RacedError:  # an administrator deleted it
                    self._reporting = False
                else:
                    return
            found = await self._keeper.exists(self._report)
            if found is None:
                with contextlib.suppress(RacedError):
                    await self._keeper.create(self._report, data, ephemeral=True)
                    self._reporting = True
                    return
            elif found.owner == self._keeper.session:
                self._reporting = True
            else:
                await self._remove(self._report, found.version)

    async def proclaim(self, reign: Reign, election: str) -> None:
        """Write `master`. DeposedError if the election node is gone."""
        path, data = self._places.master, znodes.encode_reign(reign)
        while True:
            there = await self._keeper.exists(path) is not None
            try:
                await self._keeper.commit(
                    Check(election, 0), Put(path, data, -1) if there else Make(path, data)
                )
            except RacedError as why:
                _deposed(why)
            else:
                return

    async def store(self, action: Store, election: str) -> int:
        """Write `allocations/ID`: its version. RacedError if `base` is not what is there,
        DeposedError if the election node is gone."""
        number = action.document.allocation.id
        path = f"{self._places.allocations}/{number}"
        data = znodes.encode_document(action.document, self._blocks[number])
        absent = action.base == ABSENT
        try:
            await self._keeper.commit(
                Check(election, 0), Make(path, data) if absent else Put(path, data, action.base)
            )
        except RacedError as why:
            _deposed(why)
            raise
        return 0 if absent else action.base + 1

    async def evict(self, node: str, czxid: int) -> None:
        """Delete `directors/NODE`, if it is this one."""
        path = f"{self._places.directors}/{node}"
        found = await self._keeper.exists(path)
        if found is not None and found.czxid == czxid:
            await self._remove(path, found.version)

    async def move(self) -> None:
        """Make `moved/NAME`, if it is not there."""
        with contextlib.suppress(RacedError):
            await self._keeper.create(self._moved)

    async def _remove(self, path: str, version: int) -> None:
        with contextlib.suppress(RacedError):  # written to since: whoever asked looks again
            await self._keeper.delete(path, version)


def _deposed(why: RacedError) -> None:
    """Of a transaction that checks the election node first."""
    if why.place == 0:
        raise DeposedError("the election node is gone") from None

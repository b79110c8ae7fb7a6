# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a cluster's znodes, and which event of the core's tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from saru.core.ensemble.action import EnsembleAction
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.record import ABSENT, Account, Roll
from saru.core.share import Order
from saru.membership.keeper import Keeper, Watch
from saru.membership.places import Places
from saru.membership.view import Read
from saru.wire import znodes

Event = Callable[..., list[EnsembleAction]]
Tell = Callable[..., None]
"""Called with an event of the core's and what it is about."""
WatchToo = Callable[[Read], "asyncio.Task[None]"]


class Readings:
    """Those of the director `name`. `session` raises LostError without a connection."""

    def __init__(
        self,
        session: Callable[[], Keeper],
        places: Places,
        name: str,
        blocks: Mapping[int, int],
        core: Callable[[], EnsembleCoordinator],
        tell: Tell,
        on_order: Callable[[Order], None],
    ) -> None:
        self._session = session
        self._places = places
        self._name = name
        self._blocks = blocks
        self._core = core
        self._tell = tell
        self._on_order = on_order

    def of_all(self) -> list[Read]:
        """What every director reads."""
        return [self._reign, self._order, *(partial(self._document, n) for n in self._blocks)]

    def of_master(self, watch_too: WatchToo) -> list[Read]:
        """What a master reads beside that; more of it with every director it finds."""
        accounts: dict[str, asyncio.Task[None]] = {}
        return [self._roll, self._movers, partial(self._reports, accounts, watch_too)]

    async def accounts(self) -> Mapping[str, Account]:
        """What all registered directors say of themselves now."""
        keeper, reports = self._session(), self._places.reports
        names = (await keeper.children(reports)).names
        found = await asyncio.gather(*(keeper.get(f"{reports}/{name}") for name in names))
        return {
            name: znodes.decode_account(node.data)
            for name, node in zip(names, found, strict=True)
            if node is not None
        }

    async def _reign(self, watch: Watch) -> bool:
        found = await self._session().read(self._places.master, watch)
        if found is not None:
            self._tell(self._core().reign, znodes.decode_reign(found.data))
        return True

    async def _document(self, number: int, watch: Watch) -> bool:
        found = await self._session().read(f"{self._places.allocations}/{number}", watch)
        if found is None:
            self._tell(self._core().document, number, None, ABSENT)
        else:
            document = znodes.decode_document(found.data, self._blocks[number])
            self._tell(self._core().document, number, document, found.version)
        return True

    async def _order(self, watch: Watch) -> bool:
        found = await self._session().read(f"{self._places.orders}/{self._name}", watch)
        if found is not None:
            self._on_order(msgspec.msgpack.decode(found.data, type=Order))
        return True

    async def _roll(self, watch: Watch) -> bool:
        keeper, directors = self._session(), self._places.directors
        children = await keeper.children(directors, watch)
        found = await asyncio.gather(
            *(keeper.exists(f"{directors}/{name}") for name in children.names)
        )
        there = zip(children.names, found, strict=True)
        known = {name: node.czxid for name, node in there if node is not None}
        self._tell(self._core().roll, Roll(children.pzxid, known))
        return True

    async def _movers(self, watch: Watch) -> bool:
        children = await self._session().children(self._places.moved, watch)
        self._tell(self._core().movers, frozenset(children.names))
        return True

    async def _reports(
        self, accounts: dict[str, asyncio.Task[None]], watch_too: WatchToo, watch: Watch
    ) -> bool:
        """Each report there is, too; the reading of one ends with its znode."""
        children = await self._session().children(self._places.reports, watch)
        for name in children.names:
            if name not in accounts or accounts[name].done():
                accounts[name] = watch_too(partial(self._account, name))
        return True

    async def _account(self, name: str, watch: Watch) -> bool:
        found = await self._session().get(f"{self._places.reports}/{name}", watch)
        if found is None:
            return False
        self._tell(self._core().account, znodes.decode_account(found.data))
        return True

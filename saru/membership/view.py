# SPDX-License-Identifier: GPL-2.0-or-later
"""Znodes that are read again whenever they change, for as long as a session lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from saru.membership.keeper import Keeper, Watch
from saru.membership.znode import LostError, Tie

_AGAIN = 0.01  # seconds; the word that the connection is gone is on its way then

Read = Callable[[Watch], Awaitable[bool]]
"""Reads once, and has `watch` called when that is no longer so; False: never again."""


class View:
    """Calls `read` now, and after every change; `there` is set while there is a connection.

    A change while nothing is connected is not missed: whatever is watched counts as changed then.
    """

    def __init__(self, keeper: Keeper, there: asyncio.Event, read: Read) -> None:
        self._keeper = keeper
        self._there = there
        self._read = read
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Read again, changed or not."""
        self._changed.set()

    async def run(self) -> None:
        """Until the session ends, or `read` has had enough."""
        while self._keeper.tie is not Tie.LOST:
            await self._there.wait()
            self._changed.clear()
            try:
                if not await self._read(self._changed.set):
                    return
            except LostError:
                await asyncio.sleep(_AGAIN)
                continue
            await self._changed.wait()

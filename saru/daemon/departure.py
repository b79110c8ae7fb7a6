# SPDX-License-Identifier: GPL-2.0-or-later
"""How a daemon ends: it hands its blocks over and says goodbye, or it pauses for the next one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from saru.core.coordinator import Coordinator
from saru.core.participant import Participant
from saru.core.state import State
from saru.daemon.pusher import Pusher
from saru.errors import SaruError
from saru.membership import boottime

SECOND = 1_000_000_000

logger = logging.getLogger("saru")


class Departure:
    """The end of `core`.

    `do` carries out what an event brought about, and `until` waits until something is so.
    """

    def __init__(
        self,
        core: Participant[Any],
        pusher: Pusher | None,
        do: Callable[[list[Any]], None],
        until: Callable[[Callable[[], bool]], Awaitable[None]],
    ) -> None:
        self._core = core
        self._pusher = pusher
        self._do = do
        self._until = until
        self._lease = core.settings.lease / SECOND

    async def leave(self) -> None:
        """Hand the blocks over, as far as anybody takes them within a lease, and say goodbye."""
        core = self._core
        logger.info("%s: stops", core.node)
        self._do(core.weigh(0, boottime()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lease):
                await self._until(self._idle)
        self._do(core.leave(boottime()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lease):
                await self._until(lambda: not core.dropping)

    async def pause(self, core: Coordinator, keep: Callable[[State], Awaitable[None]]) -> bool:
        """Stop so that the next daemon can go on as this one; False if that is impossible.

        `keep` is called with the state when all has been said. If nothing could be suspended, there
        is still somebody to leave.
        """
        self._do(core.retire(boottime()))
        with contextlib.suppress(TimeoutError):  # better with another master, if there can be one
            async with asyncio.timeout(2 * core.settings.keepalive / SECOND):
                await self._until(lambda: core.hears(boottime()))
        try:
            async with asyncio.timeout(self._lease):
                await self._quiet()
            actions, state = core.suspend(boottime())
            self._do(actions)
            await keep(state)
        except (TimeoutError, SaruError) as why:
            text = str(why) or "the kernel has not taken its table"
            logger.error("%s: cannot pause: %s", core.node, text)
            return False
        left = max(0, state.lease - boottime()) / SECOND
        logger.info("%s: pauses; its blocks stay for %.3g s", core.node, left)
        return True

    async def _quiet(self) -> None:
        """Wait until nothing is on its way into the kernel; it is so when this returns."""

        def quiet() -> bool:
            taking = any(holding.taking for holding in self._core.holdings.values())
            return not taking and not self._core.dropping

        while not quiet() or not (self._pusher is None or self._pusher.idle.is_set()):
            await self._until(quiet)
            if self._pusher is not None:
                await self._pusher.idle.wait()

    def _idle(self) -> bool:
        held = any(holding.held for holding in self._core.holdings.values())
        return not held or not self._core.leased(boottime())

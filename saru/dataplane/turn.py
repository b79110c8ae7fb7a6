# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls into the kernel in the order in which they were asked for, those that wait in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Turn:
    """One thread for calls that wait; what comes while they run queues behind them.

    The order of calls is the order in the kernel. A call that is cancelled before it began is not
    made; one that began is carried out.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tables")
        self._under_way: set[Future[Any]] = set()

    def idle(self) -> bool:
        """Whether nothing is under way in the thread."""
        return not self._under_way

    async def take(self, call: Callable[[], T], *, waits: bool = False) -> T:
        """Make the call here and now, or in the thread if it `waits` or something runs there."""
        if not waits and self.idle():
            return call()
        future = self._worker.submit(call)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Wait for what is under way; no further call is taken."""
        await asyncio.to_thread(self._worker.shutdown)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Standing for master by kazoo's lock recipe: one thread, which waits for its predecessor alone.

Whoever is elected learns the path of its own election node. That is all the recipe tells: it does
not say when the session is suspended or lost, so that is looked after by whoever asks here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError, KazooException, NoNodeError
from kazoo.recipe.lock import Lock
from kazoo.retry import KazooRetry

_AGAIN = 0.1  # seconds between two attempts while there is no connection

logger = logging.getLogger("saru.candidacy")


class _Lock(Lock):  # type: ignore[misc]  # kazoo has no types
    """kazoo's, but that it tries again soon: its own waits grow to a minute."""

    def __init__(self, client: KazooClient, path: str, name: str) -> None:
        super().__init__(client, path, name)
        self._retry = KazooRetry(
            max_tries=-1, delay=_AGAIN, backoff=1, sleep_func=client.handler.sleep_func
        )


class Candidacy:
    """One: from now until it is withdrawn or its session ends. `elected` is called with the path
    of the election node, once at most, and not after `withdraw`."""

    def __init__(
        self, client: KazooClient, path: str, name: str, elected: Callable[[str], None]
    ) -> None:
        self._client = client
        self._lock = _Lock(client, path, name)
        self._loop = asyncio.get_running_loop()
        self._elected = elected
        self._withdrawn = threading.Event()
        threading.Thread(target=self._run, name="zookeeper-candidacy", daemon=True).start()

    def withdraw(self) -> None:
        """Stand no more, or give the office back; the next is elected once that has been done."""
        self._withdrawn.set()
        self._lock.cancel()

    def _run(self) -> None:
        try:
            self._stand()
        except KazooException as why:  # the session has ended, and the election node with it
            logger.debug("stands no more: %s", type(why).__name__)

    def _stand(self) -> None:
        with contextlib.suppress(CancelledError):
            if self._lock.acquire():
                path = f"{self._lock.path}/{self._lock.node}"
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    self._loop.call_soon_threadsafe(self._tell, path)
        self._withdrawn.wait()
        # The lock tries once to delete its node. One that stayed would keep all others from office.
        self._client.retry(self._clear)

    def _tell(self, path: str) -> None:
        if not self._withdrawn.is_set():
            self._elected(path)

    def _clear(self) -> None:
        """Delete the election node, whether the lock knows of it or not."""
        for name in self._client.get_children(self._lock.path):
            if name.startswith(self._lock.prefix):
                with contextlib.suppress(NoNodeError):
                    self._client.delete(f"{self._lock.path}/{name}")

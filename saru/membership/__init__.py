# SPDX-License-Identifier: GPL-2.0-or-later
"""How directors reach each other, behind one small interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from saru.core.beat import Message
from saru.core.share import Order

# Called with a message that came in and the time of its coming: ns of CLOCK_BOOTTIME, read after
# it was received. Runs on the event loop.
OnMessage = Callable[[Message | Order, int], None]
# Called with a line for the operator.
OnNote = Callable[[str], None]


class Membership(Protocol):
    """Carries messages between the directors of a cluster. It loses some, and doubles none."""

    async def start(self) -> None:
        """Begin to receive. Raises OutageError for what will not mend itself."""

    def send(self, message: Message | Order) -> None:
        """Send to all others, at once, on every road. Failures are counted, not raised."""

    async def stop(self) -> None:
        """Receive and send no more."""

    def counters(self) -> dict[str, int]:
        """What was sent, received and dropped, by name."""


def boottime() -> int:
    """CLOCK_BOOTTIME in ns: the clock of the core and of the kernel's deadlines."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

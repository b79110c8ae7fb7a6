# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that pushes to the data plane nftables, to be stopped or killed.

`pushing WHAT SERIAL LENGTH`: `steadily` renews the table of id 1 until it is refused; `renew` and
`set` stop themselves once, between reading the clocks and handing to the kernel what they computed
from them, which is the worst moment there is. LENGTH, in ns, is how far away each deadline is.
Ends with status 3 if the data plane says that it came too late. Says `ready` before it begins.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from saru.core.term import Term, Version
from saru.dataplane import Table
from saru.dataplane.bounds import Clocks, read
from saru.dataplane.nftables import Nftables
from saru.errors import StaleError
from tests.prober import now

PERIOD = 0.05  # seconds
REFUSED = 3


class Worst:
    """Clocks that stop the process once they have been read, the first time that is asked."""

    armed = False

    def __call__(self) -> Clocks:
        clocks = read()
        if self.armed:
            self.armed = False
            os.kill(os.getpid(), signal.SIGSTOP)
            while now() - clocks.boot < 10**8:  # the signal stops a thread in its own time
                time.sleep(0.001)
        return clocks


def table(serial: int, deadline: int, blocks: int = 1024) -> Table:
    """Every block of id 1, in term 1.0.0."""
    return Table(
        id=1,
        blocks=blocks,
        seed=0,
        version=Version(Term(1, 0, 0), serial),
        deadline=deadline,
        lease_max=3600 * 10**9,
        held=(1 << blocks) - 1,
    )


async def push(what: str, serial: int, length: int) -> None:
    """Until told to stop, or refused."""
    worst = Worst()
    plane = Nftables(worst)
    await plane.open()
    await plane.get(1)
    print("ready", flush=True)
    sys.stdin.readline()
    worst.armed = what != "steadily"
    version = Version(Term(1, 0, 0), serial)
    if what == "set":
        await plane.set(table(serial, now() + length))
    while what != "set":
        await plane.renew(1, version, now() + length)
        if what == "renew":
            break
        await asyncio.sleep(PERIOD)
    await plane.close()


if __name__ == "__main__":
    try:
        asyncio.run(push(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    except StaleError:
        sys.exit(REFUSED)

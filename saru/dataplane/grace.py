# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting until no CPU looks at what nf_tables has replaced.

nf_tables acknowledges a transaction when its new generation is in use: packets that come then find
the new elements. A packet that a CPU is in the middle of may still go by what it looked up before;
nf_tables itself waits for those (`synchronize_rcu`) only later, in a worker, before it frees old
elements. Netfilter's hooks run within an RCU read-side critical section, so whoever waits for a
grace period of RCU after the acknowledgement knows that no packet is judged by the old ones any
more. A process can do that: membarrier's global command is a grace period where more than one CPU
is online (and none is "nohz_full": there it is refused), and closing a packet socket always is.
It takes some milliseconds; `hurry` has one that takes less, where the host permits it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from saru.errors import OutageError

_GLOBAL = 1  # MEMBARRIER_CMD_GLOBAL
_NUMBERS = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_libc = ctypes.CDLL(None, use_errno=True)


class Grace:
    """Grace periods that all who want one at the same time share, in a thread of their own."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grace")
        self._alone = asyncio.Lock()
        self._next: asyncio.Future[None] | None = None

    async def period(self) -> None:
        """Return after a grace period that began after this was called. Raises as `wait` does."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._run())
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        async with self._alone:
            self._next = None  # who comes from now on is too late for this one
            await asyncio.get_running_loop().run_in_executor(self._worker, wait)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._worker.shutdown)


def wait() -> None:
    """Return when every CPU has done with the packets it was judging when this was called.

    Some milliseconds. Other threads run meanwhile. Raises OutageError if the kernel offers nothing
    to wait by.
    """
    number = _NUMBERS.get(os.uname().machine)
    # On a single CPU membarrier does not wait, and a kernel thread may have been preempted.
    if number is not None and (os.sysconf("SC_NPROCESSORS_ONLN") or 1) > 1:
        nothing = ctypes.c_int(0)
        if _libc.syscall(ctypes.c_long(number), ctypes.c_int(_GLOBAL), nothing, nothing) == 0:
            return
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as fault:
        raise OutageError(
            f"the kernel offers no way to wait for its CPUs: {fault.strerror}; "
            "this needs the system call membarrier, or CAP_NET_RAW for a packet socket"
        ) from None

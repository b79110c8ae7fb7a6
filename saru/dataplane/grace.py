# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting until no CPU looks at what nf_tables has replaced.

nf_tables acknowledges a transaction when its new generation is in use: packets that come then find
the new elements. A packet that a CPU is in the middle of may still go by what it looked up before;
nf_tables itself waits for those (`synchronize_rcu`) only later, in a worker, before it frees old
elements. Netfilter's hooks run within an RCU read-side critical section, so whoever waits for a
grace period of RCU after the acknowledgement knows that no packet is judged by the old ones any
more. A process can do that: membarrier's global command is a grace period where more than one CPU
is online (and none is "nohz_full": there it is refused), and closing a packet socket always is.

Such a period takes some milliseconds, because RCU leaves the CPUs alone and waits for their ticks.
Asked to hurry, it asks the CPUs instead, and takes a tenth of one: the same proof, sooner.
/sys/kernel/rcu_expedited is how root asks. It is the whole machine's, so it is 1 only while a
`hurried` period lasts, and whoever finds it 1 leaves it so: the host's administrator, or somebody
who will put it back himself, has set it. Thus no order of reading and writing by several who do
this leaves it 1 in the end. (Killed within that tenth of a millisecond, one does; then the kernel
hurries its grace periods until the next boot, which costs a busy CPU an interrupt for each.) Where
/sys is read-only, as in most containers, and where the administrator has set rcu_normal, there is
no hurry.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from saru.errors import OutageError

_GLOBAL = 1  # MEMBARRIER_CMD_GLOBAL
_NUMBERS = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_EXPEDITED = "/sys/kernel/rcu_expedited"
_NORMAL = "/sys/kernel/rcu_normal"
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


def hurried() -> bool:
    """As `wait`, in a tenth of a millisecond, where this host lets us; False if it does not."""
    with contextlib.suppress(OSError), _hurry():
        wait()
        return True
    return False


@contextlib.contextmanager
def _hurry() -> Iterator[None]:
    """Grace periods hurry meanwhile. Raises OSError where they do not."""
    with open(_NORMAL, "rb", buffering=0) as normal:
        if normal.read(1) != b"0":
            raise OSError(f"{_NORMAL} forbids it")
    switch = os.open(_EXPEDITED, os.O_RDWR | os.O_CLOEXEC)
    try:
        ours = os.pread(switch, 1, 0) == b"0"
        if ours:
            os.pwrite(switch, b"1", 0)
        try:
            yield
        finally:
            if ours:
                os.pwrite(switch, b"0", 0)
    finally:
        os.close(switch)


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

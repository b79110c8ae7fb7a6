# SPDX-License-Identifier: GPL-2.0-or-later
"""What a netlink socket that has joined a multicast group receives."""

from __future__ import annotations

import asyncio
import errno
import socket

RECEIVE = 256 * 1024  # bytes; above the kernel's largest message


async def receive(subscribed: socket.socket, seconds: float | None = None) -> bytes | None:
    """The next datagram of a non-blocking socket; None if none comes for this long.

    Empty if some were lost: look at everything then. What came after those is thrown away too.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    while True:
        try:
            return subscribed.recv(RECEIVE)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            _drain(subscribed)
            return b""
        loop.add_reader(subscribed, ready.set)
        try:
            async with asyncio.timeout(seconds):
                await ready.wait()
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(subscribed)


def _drain(subscribed: socket.socket) -> None:
    """Throw away what is queued.

    A netlink socket that has overflowed goes on dropping, without another word, until its queue
    has been read empty. Who looks at the tables after that misses nothing.
    """
    while True:
        try:
            subscribed.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

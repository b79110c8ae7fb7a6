# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether an interface carries anything: up, and with a cable that leads somewhere.

Asked of the kernel at once, or followed: it tells of every change.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator

import msgspec

from saru.dataplane.notices import receive

SETTLE = 1.0  # seconds that an interface must carry again before it counts: cables bounce

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_RUNNING = 0x40
_IFF_MULTICAST = 0x1000
_RTMGRP_LINK = 1


class Flags(msgspec.Struct, frozen=True):
    """What the kernel says of an interface. `running`: it is up and has a carrier."""

    index: int
    up: bool
    running: bool
    loopback: bool
    multicast: bool


def flags(interface: str) -> Flags | None:
    """The state of an interface in this network namespace; None if it is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        request = struct.pack("16sH14x", interface.encode(), 0)
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, request)
            index = socket.if_nametoindex(interface)
        except OSError:
            return None
    (bits,) = struct.unpack_from("H", answer, 16)
    return Flags(
        index=index,
        up=bool(bits & _IFF_UP),
        running=bool(bits & _IFF_UP and bits & _IFF_RUNNING),
        loopback=bool(bits & _IFF_LOOPBACK),
        multicast=bool(bits & _IFF_MULTICAST),
    )


def trouble(interface: str) -> str:
    """Why an interface carries nothing; empty if it does."""
    state = flags(interface)
    if state is None:
        return f"there is no interface {interface}"
    if not state.up:
        return f"{interface}: is down"
    return "" if state.running else f"{interface}: has no carrier"


class Carrier:
    """Follows one interface. `why`: what keeps it from carrying; empty if nothing does.

    That it fails counts at once; that it is back, when it has been so for `SETTLE`. At first it has
    that time to come up, and is not `known` before.
    """

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.known = False
        self.why = ""

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` when it is known, and whenever `why` is another; until cancelled."""
        with _links() as told:
            self.why = await self._steady(told, troubled=True)
            self.known = True
            changed()
            while True:
                why = trouble(self.interface)
                if self.why and not why:
                    why = await self._steady(told, troubled=False)
                if why != self.why:
                    self.why = why
                    changed()
                await receive(told)

    async def _steady(self, told: socket.socket, *, troubled: bool) -> str:
        """What is wrong when `SETTLE` is over, or as soon as it is no more as it was."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLE
        why = trouble(self.interface)
        while bool(why) is troubled and (left := end - loop.time()) > 0:
            await receive(told, left)
            why = trouble(self.interface)
        return why


@contextlib.contextmanager
def _links() -> Iterator[socket.socket]:
    """A socket on which the kernel tells of every change of an interface."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as told:
        told.bind((0, _RTMGRP_LINK))
        yield told

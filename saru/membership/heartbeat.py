# SPDX-License-Identifier: GPL-2.0-or-later
"""Membership by beats over UDP: multicast or unicast, on one interface or several.

Every message goes out on every road; hearing one copy is enough. An interface that is missing, down
or replaced is tried again for as long as the daemon runs.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from saru.config import Config, HeartbeatMode, duration
from saru.core.beat import Message
from saru.core.share import Order
from saru.errors import OutageError
from saru.membership import OnMessage, OnNote, boottime
from saru.membership.road import Road, usable_interfaces
from saru.wire.codec import COUNTERS, DATAGRAM_MAX, Codec

_CHECK_MAX = 1.0  # seconds between two looks at the interfaces, at most
_DRAIN_MAX = 512  # datagrams in one go; a flood must not keep the daemon from all else
_STRANGERS_MAX = 256  # addresses whose dropped datagrams are told one by one
# Drops that somebody has to do something about, and what.
_MENDS = {
    "bad_magic": "something else sends to this port",
    "bad_version": "are all directors of one release?",
    "malformed": "are all directors of one release, with the same ids?",
    "unknown_key": "do the authkeys files agree?",
    "forged": "do the authkeys files agree?",
    "namesake": "is director.name the same on two hosts?",
    "earlier_life": "was its incarnation under /var/lib/saru lost?",
    "crowded": "who sends all this?",
}


class HeartbeatMembership:
    """A Membership of beats. `codec` turns messages into datagrams and back.

    `on_note` is told of what is wrong, `on_news` (the same, if left out) of what is well,
    `on_namesake` the address from which another daemon has spoken under this one's name.
    """

    def __init__(
        self,
        config: Config,
        codec: Codec,
        on_message: OnMessage,
        on_note: OnNote,
        on_news: OnNote | None = None,
        on_namesake: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config.heartbeat
        self.codec = codec
        self.on_message = on_message
        self.on_note = on_note
        self.on_news = on_news or on_note
        self.on_namesake = on_namesake
        self.roads: dict[str | None, Road] = {}
        self._check_every = min(config.times.keepalive / duration.SECOND, _CHECK_MAX)
        self._troubles: dict[str | None, str] = {}
        self._dropped: dict[tuple[str, str], int] = {}
        self._checking: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open every road that can be opened now; the others follow when they can.

        Raises OutageError if the port is taken or this user may not have it.
        """
        self._loop = asyncio.get_running_loop()
        self._check(starting=True)
        if not self.roads:
            self.on_note("no interface is up that beats could use; waiting for one")

    async def stop(self) -> None:
        """Close all roads."""
        if self._checking is not None:
            self._checking.cancel()
        for road in self.roads.values():
            self._close(road)
        self._loop = None

    def send(self, message: Message | Order) -> None:
        """Send to everybody on every road, now. What the network refuses is counted."""
        datagrams = self.codec.encode(message)
        for road in self.roads.values():
            failure = road.send(datagrams)
            if failure is not None and failure.errno in (errno.ENODEV, errno.ENXIO):
                self._look_soon()

    def counters(self) -> dict[str, int]:
        """The codec's counters, and per road `NAME.sent`, `.unsent`, `.received`, `.open`."""
        found = dict(self.codec.counters)
        for road in self.roads.values():
            found[f"{road.name}.sent"] = road.sent
            found[f"{road.name}.unsent"] = road.unsent
            found[f"{road.name}.received"] = road.received
            found[f"{road.name}.open"] = int(road.is_open and not road.down())
        return found

    def troubles(self) -> tuple[str, ...]:
        """The roads that carry no beats now, a line each: `eth2: is down`."""
        return tuple(f"{name}: {what}" for name, what in sorted(self._troubles.items(), key=str))

    def _wanted(self) -> list[str | None]:
        """The roads that there should be; without interfaces in the configuration we choose."""
        if self.config.interfaces:
            return list(self.config.interfaces)
        if self.config.mode is HeartbeatMode.UNICAST:
            return [None]
        return [*usable_interfaces()]

    def _look_soon(self) -> None:
        if self._loop is not None and self._checking is not None:
            self._checking.cancel()
            self._checking = self._loop.call_soon(self._check)

    def _check(self, *, starting: bool = False) -> None:
        """Open what is closed, close what has gone, say what changed; then again, later."""
        if self._loop is None:
            return
        wanted = self._wanted()
        for name in wanted:
            if name not in self.roads:
                self.roads[name] = Road(name, self.config)
        for name, road in list(self.roads.items()):
            if road.is_open and road.stale():
                self._close(road)
                self._trouble(road, "is gone")
            if not road.is_open and name in wanted:
                self._open(road, starting=starting)
            if road.is_open:
                self._trouble(road, "is down" if road.down() else "")
            elif name not in wanted:
                del self.roads[name]  # chosen by ourselves, and no more there
        self._checking = self._loop.call_later(self._check_every, self._check)

    def _open(self, road: Road, *, starting: bool) -> None:
        assert self._loop is not None
        try:
            road.open()
        except OSError as fault:
            if starting and fault.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
                raise self._outage(fault) from None
            self._trouble(road, "cannot be used: " + (fault.strerror or str(fault)))
            return
        for each in road.sockets:
            self._loop.add_reader(each, self._drain, road, each)
        if road.name not in self._troubles:
            self.on_news(f"{road.name}: beats go {self._whither()}")

    def _whither(self) -> str:
        if self.config.mode is HeartbeatMode.MULTICAST:
            return f"to {self.config.group} port {self.config.port}"
        return f"to {', '.join(self.config.peers)} port {self.config.port}"

    def _outage(self, fault: OSError) -> OutageError:
        port = self.config.port
        if fault.errno == errno.EADDRINUSE:
            return OutageError(
                f"UDP port {port} is in use by another program; stop it (`ss -lunp`), "
                "or set heartbeat.port"
            )
        return OutageError(f"UDP port {port} is refused: {fault.strerror}; run as root")

    def _close(self, road: Road) -> None:
        for each in road.sockets:
            if self._loop is not None:
                self._loop.remove_reader(each)
        road.close()

    def _trouble(self, road: Road, what: str) -> None:
        """Tell the operator once that a road is in trouble, and once that it is out of it."""
        before = self._troubles.get(road.name, "")
        if what == before:
            return
        if what:
            self._troubles[road.name] = what
            self.on_note(f"{road.name}: {what}; beats cannot go there, trying on")
        else:
            del self._troubles[road.name]
            self.on_news(f"{road.name}: is back; beats go {self._whither()}")

    def _drain(self, road: Road, each: socket.socket) -> None:
        """Read everything that has come, and look at the newest first.

        A beat that has been overtaken by a newer one of its sender is worth nothing: it is dropped
        for the price of its signature. So a daemon that was kept from its work for a while
        has caught up at once, however much has come meanwhile.
        """
        came = []
        for _ in range(_DRAIN_MAX):
            try:
                came.append(each.recvfrom(DATAGRAM_MAX))
            except OSError:
                # Nothing more; or the interface went down: told once by a socket, and looked at by
                # the next check.
                break
        road.received += len(came)
        for datagram, source in reversed(came):
            message = self.codec.decode(datagram)
            if message is not None:
                self.on_message(message, boottime())
            elif self.codec.refusal in _MENDS:
                self._tell_drop(str(source[0]), self.codec.refusal)
                if self.codec.refusal == "namesake" and self.on_namesake is not None:
                    self.on_namesake(str(source[0]))
            if each.fileno() < 0:
                return  # closed by what the message led to

    def _tell_drop(self, address: str, why: str) -> None:
        """A line at the 1st, 10th, 100th ... datagram of an address dropped for one reason."""
        key = (address, why)
        if key not in self._dropped and len(self._dropped) >= _STRANGERS_MAX:
            return
        count = self._dropped[key] = self._dropped.get(key, 0) + 1
        if count == 10 ** (len(str(count)) - 1):
            times = "a datagram" if count == 1 else f"{count} datagrams"
            self.on_note(f"{address}: {times} dropped, {COUNTERS[why]}; {_MENDS[why]}")

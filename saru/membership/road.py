# SPDX-License-Identifier: GPL-2.0-or-later
"""A road: one network interface that datagrams go out of and come in by."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

from saru.config import Heartbeat as HeartbeatConfig
from saru.config import HeartbeatMode
from saru.link.carrier import flags

_IP_MULTICAST_ALL = 49  # these three are missing from Python's socket module
_IPV6_MULTICAST_ALL = 29
_SO_RCVBUFFORCE = 33
_CLASS_CONTROL = 0xC0  # CS6: beats do not queue behind bulk traffic
_BUFFER = 4 << 20  # holds what comes while the daemon is busy

Address = tuple[str, int] | tuple[str, int, int, int]


def usable_interfaces() -> list[str]:
    """The interfaces that multicast beats can use: up, able to, and not the loopback."""
    found = []
    for _, interface in socket.if_nameindex():
        state = flags(interface)
        if state and state.up and state.multicast and not state.loopback:
            found.append(interface)
    return found


class Road:
    """The sockets of one interface, or of whatever the routes say (`interface` None, unicast).

    Closed at first. `open` raises OSError; it may be tried again.
    """

    def __init__(self, interface: str | None, config: HeartbeatConfig) -> None:
        self.interface = interface
        self.config = config
        self.index = 0  # of the interface, while open
        self.sent = 0
        self.unsent = 0
        self.received = 0
        self.sockets: list[socket.socket] = []
        self._ways: list[tuple[socket.socket, Address]] = []

    @property
    def name(self) -> str:
        """For the operator."""
        return self.interface or "any interface"

    @property
    def is_open(self) -> bool:
        """Whether it has sockets; the interface may be down all the same."""
        return bool(self.sockets)

    def open(self) -> None:
        """Make the sockets. Raises OSError if the interface is not there, the port is taken, …"""
        if self.interface is not None:
            state = flags(self.interface)
            if state is None:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            self.index = state.index
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the sockets; the counters stay."""
        for each in self.sockets:
            each.close()
        self.sockets = []
        self._ways = []

    def stale(self) -> bool:
        """Whether the interface went away, or another one has its name now."""
        if self.interface is None:
            return False
        state = flags(self.interface)
        return state is None or state.index != self.index

    def down(self) -> bool:
        """Whether the interface is there but carries nothing now."""
        state = flags(self.interface) if self.interface is not None else None
        return state is not None and not state.running

    def send(self, datagrams: list[bytes]) -> OSError | None:
        """Send to everybody; the last failure, if there was one. Every failure is counted."""
        failure = None
        for datagram in datagrams:
            for each, address in self._ways:
                try:
                    each.sendto(datagram, address)
                    self.sent += 1
                except OSError as fault:  # also a full buffer: a beat that waits is worth nothing
                    self.unsent += 1
                    failure = fault
        return failure

    def _open(self) -> None:
        port = self.config.port
        if self.config.mode is HeartbeatMode.MULTICAST:
            address = _resolved(self.config.group, port, self.index)
            each = self._socket(address)
            self._join(each)
            # Bound to the group, it receives nothing that is sent to this host alone.
            each.bind(address)
            self._ways.append((each, address))
            return
        by_family: dict[bool, socket.socket] = {}
        for peer in self.config.peers:
            address = _resolved(peer, port, self.index)
            six = ":" in peer
            if six not in by_family:
                by_family[six] = self._socket(address)
                by_family[six].bind(("::" if six else "", port))
            self._ways.append((by_family[six], address))

    def _socket(self, address: Address) -> socket.socket:
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        each = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sockets.append(each)
        if family is socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CLASS_CONTROL)
        else:
            each.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CLASS_CONTROL)
        if self.interface is not None:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        with contextlib.suppress(PermissionError):  # past the system's limit, if we may
            each.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        return each

    def _join(self, each: socket.socket) -> None:
        """Join the group on this interface alone, and send to it by this interface alone."""
        group, ttl = self.config.group, self.config.ttl
        # Several clusters of one host may share group and port; each then gets a copy.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if each.family is socket.AF_INET6:
            six = socket.IPPROTO_IPV6
            member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", self.index)
            each.setsockopt(six, socket.IPV6_JOIN_GROUP, member)
            each.setsockopt(six, socket.IPV6_MULTICAST_IF, self.index)
            each.setsockopt(six, socket.IPV6_MULTICAST_HOPS, ttl)
            each.setsockopt(six, socket.IPV6_MULTICAST_LOOP, 0)
            each.setsockopt(six, _IPV6_MULTICAST_ALL, 0)
            return
        four = socket.IPPROTO_IP
        member = struct.pack("@4s4si", socket.inet_aton(group), bytes(4), self.index)
        each.setsockopt(four, socket.IP_ADD_MEMBERSHIP, member)
        each.setsockopt(four, socket.IP_MULTICAST_IF, member)
        each.setsockopt(four, socket.IP_MULTICAST_TTL, ttl)
        each.setsockopt(four, socket.IP_MULTICAST_LOOP, 0)
        each.setsockopt(four, _IP_MULTICAST_ALL, 0)


def _resolved(address: str, port: int, index: int) -> Address:
    """The socket address of a numeric address; IPv6 link-local ones without a zone get `index`."""
    ((_, _, _, _, found),) = socket.getaddrinfo(
        address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )
    if len(found) == 2:
        return str(found[0]), port
    host, zone = str(found[0]).partition("%")[0], found[3]
    raw = socket.inet_pton(socket.AF_INET6, host)
    # fe80::/10, and groups of link-local scope.
    local = (raw[0] == 0xFE and raw[1] & 0xC0 == 0x80) or (raw[0] == 0xFF and raw[1] & 0x0F == 2)
    return host, port, 0, zone or (index if local else 0)

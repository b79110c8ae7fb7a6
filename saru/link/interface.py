# SPDX-License-Identifier: GPL-2.0-or-later
"""One network interface as the kernel has it: its MAC, its state, its addresses and routes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from saru.errors import OutageError

_IFA_F_NODAD = 0x02
_LINK_LOCAL = 253  # the scope
_PROTO_KERNEL = 2
_TABLE_LOCAL = 255
_UNICAST = 1
_SIOCADDMULTI, _SIOCDELMULTI = 0x8931, 0x8932
_NO_MAC = "00:00:00:00:00:00"


class Interface:
    """An open connection to the kernel about one interface; use it with `with`.

    Everything raises OutageError with the interface's name. Not for use inside a running asyncio
    loop (pyroute2's plain sockets refuse that): call it from a thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._kernel = IPRoute()
        found = self._kernel.link_lookup(ifname=name)
        if not found:
            self._kernel.close()
            raise OutageError(f"there is no interface {name}; see `ip link` for those there are")
        self.index: int = found[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.close()

    @property
    def mac(self) -> str:
        """The MAC it has now, in lower case."""
        return str(self._link().get_attr("IFLA_ADDRESS")).lower()

    @property
    def permanent_mac(self) -> str | None:
        """The MAC it was made with, if it is a device that has one."""
        found = self._link().get_attr("IFLA_PERM_ADDRESS")
        return str(found).lower() if found and found != _NO_MAC else None

    @property
    def is_up(self) -> bool:
        """Whether it is administratively up."""
        return bool(self._link()["flags"] & 1)

    def set_mac(self, mac: str) -> None:
        """Change the MAC."""
        with self._named(f"set its MAC to {mac}"):
            self._kernel.link("set", index=self.index, address=mac)

    def set_up(self, up: bool) -> None:
        """Bring it up or take it down."""
        with self._named("bring it up" if up else "take it down"):
            self._kernel.link("set", index=self.index, state="up" if up else "down")

    @contextlib.contextmanager
    def taken_down(self) -> Iterator[None]:
        """Down inside, then up again, with what the kernel forgets of an interface that is down.

        That is its routes and its IPv6 addresses but for the link-local ones. Routes with several
        ways are not brought back. An interface that was down before is up afterwards as well.
        """
        routes = [self._route(each) for each in self._routes()]
        addresses = [a for a in self.addresses() if a.version == 6 and not a.is_link_local]
        self.set_up(False)
        try:
            yield
        finally:
            self.set_up(True)
            for address in addresses:
                self.add_address(address)
            for route in routes:
                with self._named(f"bring back its route to {route.get('dst', 'default')}"):
                    self._kernel.route("replace", **route)

    def addresses(self) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        """Its addresses with their prefix lengths, IPv4's first."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            with self._named("read its addresses"):
                messages = list(self._kernel.get_addr(family=family, index=self.index))
            for message in messages:
                address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                found.append(ipaddress.ip_interface(f"{address}/{message['prefixlen']}"))
        return found

    def add_address(self, address: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> bool:
        """Add an address, IPv6 without duplicate address detection; whether it was new."""
        words: dict[str, Any] = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
        if address.version == 6 and address.is_link_local:
            words["scope"] = _LINK_LOCAL
        with self._named(f"add {address}", but=errno.EEXIST) as done:
            self._kernel.addr("add", index=self.index, **_written(address), **words)
        return done.pop()

    def remove_address(self, address: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> bool:
        """Remove an address; whether it was there."""
        with self._named(f"remove {address}", but=errno.EADDRNOTAVAIL) as done:
            self._kernel.addr("del", index=self.index, **_written(address))
        return done.pop()

    def listens_to(self, mac: str) -> bool:
        """Whether frames to a multicast MAC are taken in because somebody asked for it by hand."""
        wanted = mac.replace(":", "")
        for line in Path("/proc/self/net/dev_mcast").read_text(encoding="ascii").splitlines():
            _, name, _, by_hand, address = line.split()
            if name == self.name and address == wanted and by_hand != "0":
                return True
        return False

    def listen_to(self, mac: str, *, listen: bool = True) -> None:
        """Take in frames to a multicast MAC, or no longer."""
        packed = bytes.fromhex(mac.replace(":", ""))
        request = struct.pack("16sH14s", self.name.encode(), socket.AF_UNSPEC, packed)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            try:
                fcntl.ioctl(any_socket, _SIOCADDMULTI if listen else _SIOCDELMULTI, request)
            except OSError as fault:
                raise OutageError(
                    f"{self.name}: cannot take in frames to {mac}: {fault.strerror}"
                ) from fault

    def _link(self) -> Any:
        with self._named("read its state"):
            return self._kernel.link("get", index=self.index)[0]

    def _routes(self) -> Iterator[Any]:
        """The unicast routes through it that somebody set up, the kernel's own left out."""
        for family in (socket.AF_INET, socket.AF_INET6):
            with self._named("read its routes"):
                messages = list(self._kernel.get_routes(family=family, oif=self.index))
            for message in messages:
                if (
                    message.get_attr("RTA_OIF") == self.index
                    and message["type"] == _UNICAST
                    and message["proto"] != _PROTO_KERNEL
                    and message["table"] != _TABLE_LOCAL
                ):
                    yield message

    def _route(self, message: Any) -> dict[str, Any]:
        """A route's message as the words that make the same route."""
        route: dict[str, Any] = {
            "family": message["family"],
            "oif": self.index,
            "proto": message["proto"],
            "scope": message["scope"],
            "table": message.get_attr("RTA_TABLE") or message["table"],
        }
        destination = message.get_attr("RTA_DST")
        route["dst"] = f"{destination}/{message['dst_len']}" if destination else "default"
        for word in ("gateway", "priority", "prefsrc"):
            value = message.get_attr(f"RTA_{word.upper()}")
            if value is not None:
                route[word] = value
        return route

    @contextlib.contextmanager
    def _named(self, what: str, but: int = 0) -> Iterator[list[bool]]:
        """Errors of the kernel as OutageError; the one named `but` makes the outcome False."""
        outcome = [True]
        try:
            yield outcome
        except NetlinkError as fault:
            if fault.code != but:
                said = str(fault.args[1] if len(fault.args) > 1 else fault)
                raise OutageError(f"{self.name}: cannot {what}: {said}") from fault
            outcome[0] = False


def _written(address: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> dict[str, Any]:
    return {
        "family": socket.AF_INET if address.version == 4 else socket.AF_INET6,
        "address": str(address.ip),
        "prefixlen": address.network.prefixlen,
    }

# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire's side: every frame that tells who accepted a probe."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from ipaddress import ip_address

from pyroute2 import netns

from deploy.demonstration.prober import Targets
from deploy.demonstration.record import Record
from deploy.demonstration.stage import Tap

ETH_P_ALL = 0x0003
ETH_P_IP, ETH_P_IPV6 = b"\x08\x00", b"\x86\xdd"
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("qq")
BUFFER = 32 << 20
"""Bytes: frames of several seconds, should this process not get its turn."""
WAIT = 0.1
"""Seconds until it looks whether it is to end."""


class Capture(threading.Thread):
    """Reads frames in `namespace` and tells `record` of those for, or from, `targets`: the VIP's
    addresses, and the service's port.

    A bridge is listened to as a port of its own would be, promiscuous: every frame that crosses
    the segment is seen once, before any host can change it. At a port, what comes in is seen, not
    what goes out; ports may go and come back, so all of the namespace are listened to.
    """

    def __init__(self, record: Record, namespace: str, tap: Tap, targets: Targets) -> None:
        super().__init__(name="capture", daemon=True)
        self._record = record
        self._prefix = record.prefix.encode()
        self._namespace = namespace
        self._tap = tap
        self._targets = {(ip_address(vip).packed, port) for vip, port in targets.values()}
        self._ready = threading.Event()
        self._halt = threading.Event()
        self._error: Exception | None = None

    def open(self) -> None:
        """Start, and return when no frame is missed any more."""
        self.start()
        self._ready.wait()
        self.check()

    def run(self) -> None:
        """Read frames until told to stop."""
        try:
            netns.setns(self._namespace)
            # Without a bridge to bind it to, it hears every interface from here on.
            heard = 0 if self._tap.bridge else socket.htons(ETH_P_ALL)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, heard) as wire:
                self._prepare(wire)
                self._ready.set()
                self._read(wire)
                self._count_losses(wire)
        except Exception as error:  # noqa: BLE001 - raised again by check()
            self._error = error
        finally:
            self._ready.set()

    def _prepare(self, wire: socket.socket) -> None:
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        if self._tap.bridge:
            wire.bind((self._tap.bridge, ETH_P_ALL))
            index = socket.if_nametoindex(self._tap.bridge)
            member = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
            wire.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)
        wire.settimeout(WAIT)

    def _read(self, wire: socket.socket) -> None:
        while not self._halt.is_set():
            with contextlib.suppress(TimeoutError):
                self._take(wire)
        wire.setblocking(False)  # what has arrived by now still counts
        with contextlib.suppress(BlockingIOError):
            while True:
                self._take(wire)

    def _take(self, wire: socket.socket) -> None:
        frame, told, _, (interface, *_) = wire.recvmsg(2048, socket.CMSG_SPACE(TIMESPEC.size))
        came = time.monotonic_ns() - _ago(told)
        mac = frame[6:12].hex(":")
        if self._tap.bridge or not interface:  # the port is gone meanwhile
            self._judge(frame, mac, came)
        elif interface in self._tap.ports:
            self._judge(frame, self._tap.ports[interface], came)

    def _judge(self, frame: bytes, who: str, came: int) -> None:
        """Tell the record, if this frame of `who` carries a probe or a segment of the service."""
        if frame[12:14] == ETH_P_IP and len(frame) >= 42:
            transport = 14 + 4 * (frame[14] & 15)
            protocol, here = frame[23], (frame[26:30], frame[30:34])  # from, to
        elif frame[12:14] == ETH_P_IPV6 and len(frame) >= 62:
            transport = 54
            protocol, here = frame[20], (frame[22:38], frame[38:54])
        else:
            return
        ports = struct.unpack_from("!HH", frame, transport)
        service, client = (1, 0) if self._tap.bridge else (0, 1)
        if (here[service], ports[service]) not in self._targets:
            return
        if protocol == socket.IPPROTO_TCP:
            self._record.segment(ports[client], who)
        elif protocol == socket.IPPROTO_UDP:
            length = struct.unpack_from("!H", frame, transport + 4)[0]
            text = frame[transport + 8 : transport + length]
            if not self._tap.bridge:  # an answer: a name, a space, and what was asked
                text = text.partition(b" ")[2]
            if text.startswith(self._prefix):
                number = int(text[len(self._prefix) :])
                self._record.accepted(number, who, came)

    def _count_losses(self, wire: socket.socket) -> None:
        """A frame that this socket had no room for would be a director wrongly accused."""
        lost = struct.unpack("II", wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        if lost:
            raise RuntimeError(f"the capture lost {lost} frames: its figures mean nothing")

    def check(self) -> None:
        """Raise what ended the thread early, if anything did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Read what has arrived, end, and raise what went wrong meanwhile."""
        self._halt.set()
        self.join()
        self.check()


def _ago(told: list[tuple[int, int, bytes]]) -> int:
    """For how many ns a frame has waited to be read: the kernel says when it came, by the wall
    clock (socket(7), SO_TIMESTAMPNS)."""
    ((_, _, stamp),) = told
    seconds, nanoseconds = TIMESPEC.unpack(stamp)
    ago: int = time.time_ns() - seconds * 10**9 - nanoseconds
    return max(0, ago)

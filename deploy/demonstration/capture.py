# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire's side: every frame on the real servers' segment that carries a probe, by its sender."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from ipaddress import IPv4Address

from pyroute2 import netns

from deploy.demonstration.record import Record

ETH_P_ALL = 0x0003
ETH_P_IP = 0x0800
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_MR_PROMISC = 1
SO_RCVBUFFORCE = 33
BUFFER = 32 << 20
"""Bytes: frames of several seconds, should this process not get its turn."""


class Capture(threading.Thread):
    """Reads a bridge's frames in `namespace` and tells `record` of those for `target`, the VIP
    and the service's port.

    The bridge is listened to as a port of its own would be, promiscuous: every frame that
    crosses the segment is seen once, before any host can change it.
    """

    def __init__(
        self, record: Record, namespace: str, bridge: str, target: tuple[str, int]
    ) -> None:
        super().__init__(name="capture", daemon=True)
        self._record = record
        self._prefix = record.prefix.encode()
        self._namespace = namespace
        self._bridge = bridge
        self._vip = IPv4Address(target[0]).packed
        self._port = target[1]
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
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
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
        wire.bind((self._bridge, ETH_P_ALL))
        index = socket.if_nametoindex(self._bridge)
        member = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        wire.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)
        wire.settimeout(0.1)

    def _read(self, wire: socket.socket) -> None:
        while not self._halt.is_set():
            with contextlib.suppress(TimeoutError):
                self._judge(wire.recv(2048))
        wire.setblocking(False)  # what has arrived by now still counts
        with contextlib.suppress(BlockingIOError):
            while True:
                self._judge(wire.recv(2048))

    def _judge(self, frame: bytes) -> None:
        """Tell the record, if the frame carries a probe or a segment for the VIP's service."""
        if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[30:34] != self._vip:
            return
        transport = 14 + 4 * (frame[14] & 15)
        source, destination = struct.unpack_from("!HH", frame, transport)
        if destination != self._port:
            return
        mac = frame[6:12].hex(":")
        if frame[23] == socket.IPPROTO_TCP:
            self._record.segment(source, mac)
        elif frame[23] == socket.IPPROTO_UDP:
            length = struct.unpack_from("!H", frame, transport + 4)[0]
            text = frame[transport + 8 : transport + length]
            if text.startswith(self._prefix):
                self._record.forwarded(int(text[len(self._prefix) :]), mac)

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

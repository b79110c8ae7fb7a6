# SPDX-License-Identifier: GPL-2.0-or-later
"""Beats that come late, twice, or in another order: what the kernel here has no queue for."""

from __future__ import annotations

import contextlib
import heapq
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping

from pyroute2 import netns

from deploy.lab import topology

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
PORT = 694
WAIT = 0.05
"""Seconds between two looks whether to end."""


class Relay(threading.Thread):
    """Carries the beats between nodes whose switches carry none, each `delay` seconds late or less.

    `pairs` says from whom to whom, and the share of beats that come twice is `twice`. Each copy has
    its own delay, so they overtake each other. Runs among the switches, in `namespace`.
    """

    def __init__(
        self,
        namespace: str,
        pairs: Mapping[str, tuple[str, ...]],
        delay: float,
        twice: float,
        seed: int,
    ) -> None:
        super().__init__(name="relay", daemon=True)
        self._namespace = namespace
        self._delay, self._twice = delay, twice
        self._random = random.Random(seed)
        self._halt = threading.Event()
        self._due: list[tuple[float, int, str, bytes]] = []
        self._count = 0
        self._targets = {
            leg.port: tuple(
                other.port
                for name in targets
                for other in topology.director(name).legs()
                if other.segment == leg.segment
            )
            for source, targets in pairs.items()
            for leg in topology.director(source).legs()
        }

    def run(self) -> None:
        """Carry beats until told to stop."""
        netns.setns(self._namespace)
        ports = {*self._targets, *(port for some in self._targets.values() for port in some)}
        with contextlib.ExitStack() as stack:
            wires = {}
            for port in sorted(ports):
                # A node without power has no ports: its beats stay lost until this ends.
                with contextlib.suppress(OSError):
                    wires[port] = stack.enter_context(_wire(port))
            poll = select.poll()
            by_number = {}
            for port in self._targets.keys() & wires.keys():
                poll.register(wires[port], select.POLLIN)
                by_number[wires[port].fileno()] = port
            while not self._halt.is_set():
                now = time.monotonic()
                wait = min(WAIT, self._due[0][0] - now) if self._due else WAIT
                for number, _ in poll.poll(max(0.0, wait) * 1000):
                    self._take(wires[by_number[number]], by_number[number])
                self._deliver(wires)

    def _take(self, wire: socket.socket, port: str) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while True:
                frame = wire.recv(2048)
                if not _is_beat(frame):
                    continue
                for target in self._targets[port]:
                    for _ in range(1 + (self._random.random() < self._twice)):
                        self._count += 1
                        due = time.monotonic() + self._random.uniform(0, self._delay)
                        heapq.heappush(self._due, (due, self._count, target, frame))

    def _deliver(self, wires: Mapping[str, socket.socket]) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, port, frame = heapq.heappop(self._due)
            with contextlib.suppress(OSError):  # a cable that is out
                if port in wires:
                    wires[port].send(frame)

    def stop(self) -> None:
        """End; beats still under way are lost."""
        self._halt.set()
        self.join()


def _wire(port: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    wire.setblocking(False)
    wire.bind((port, ETH_P_ALL))
    return wire


def _is_beat(frame: bytes) -> bool:
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return False
    return bool(struct.unpack_from("!H", frame, 14 + 4 * (frame[14] & 15) + 2)[0] == PORT)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's side: datagrams into every block without a pause, and TCP connections."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyroute2 import netns

from deploy.demonstration.record import Family, Record

PORTS = 65536
SOCKETS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
Targets = Mapping[Family, tuple[str, int]]
"""The VIP's addresses, and the service's port."""
KEPT = 2048
"""Sockets stay open for this many probes: the answers must find them, or the client's kernel
would tell the VIP of unreachable ports."""
LATE_NS = 50_000_000
"""A sender this far behind its plan does not catch up: the burst would be lost in a queue."""
CONNECT_SECONDS = 0.9
"""Shorter than TCP's first repetition: a connection is answered at the first asking."""


def source_port(block: int, blocks: int, turn: int) -> int:
    """A source port in `block`: another one each turn, until all its ports had theirs.

    Port 0 does not exist, so the first block has one fewer.
    """
    width = PORTS // blocks
    return block * width + turn % width if block else 1 + turn % (width - 1)


def family(turn: int) -> Family:
    """One turn goes to the one address, the next to the other."""
    return tuple(Family)[turn % len(Family)]


def stride(blocks: int) -> int:
    """A step that visits every block once a round, neighbours far apart."""
    return blocks * 5 // 8 | 1


class Prober(threading.Thread):
    """Sends `rate` probes a second, each into the next block, until `stop`.

    Runs in `namespace`. Two rounds through all blocks probe each at both of `targets`. What goes
    wrong is raised by `check` and `stop`.
    """

    def __init__(
        self, record: Record, namespace: str, targets: Targets, blocks: int, rate: int
    ) -> None:
        super().__init__(name="prober", daemon=True)
        self._record = record
        self._prefix = record.prefix.encode()
        self._namespace = namespace
        self._targets = targets
        self._count = blocks
        self._pause = 1_000_000_000 // rate
        self._halt = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Probe until told to stop."""
        try:
            netns.setns(self._namespace)
            self._probe()
        except Exception as error:  # noqa: BLE001 - raised again by stop()
            self._error = error

    def _probe(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 2 * KEPT:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2 * KEPT, max(hard, 2 * KEPT)))
        kept: deque[socket.socket] = deque()
        due = time.monotonic_ns()
        sent, step = 0, stride(self._count)
        while not self._halt.is_set():
            now = time.monotonic_ns()
            if now < due:
                time.sleep((due - now) / 1e9)
                continue
            due = (now if now - due > LATE_NS else due) + self._pause
            turn, place = divmod(sent, self._count)
            block = place * step % self._count
            kept.append(self._send(block, turn))
            if len(kept) > KEPT:
                kept.popleft().close()
            sent += 1
        for one in kept:
            one.close()

    def _send(self, block: int, turn: int) -> socket.socket:
        of = family(turn)
        one = socket.socket(SOCKETS[of], socket.SOCK_DGRAM)
        one.bind(("", source_port(block, self._count, turn)))
        one.setblocking(False)
        number = self._record.sent(block, time.monotonic_ns(), of)
        # No route, no neighbour, a full queue: the probe counts as sent, and as unanswered.
        with contextlib.suppress(OSError):
            one.sendto(self._prefix + str(number).encode(), self._targets[of])
        return one

    def check(self) -> None:
        """Raise what ended the thread early, if anything did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it, and raise what went wrong meanwhile."""
        self._halt.set()
        self.join()
        self.check()


@dataclass(frozen=True)
class Connection:
    """One TCP connection: from which port, and what the real server said of itself."""

    port: int
    real: str
    """Empty if nobody answered."""


class Connections:
    """Makes TCP connections from `namespace`, one after the other, no source port twice."""

    def __init__(self, namespace: str, targets: Targets, blocks: int) -> None:
        self._namespace = namespace
        self._targets = targets
        self._blocks = blocks
        self._made = 0

    def make(self, count: int, until: Callable[[], bool] = lambda: False) -> list[Connection]:
        """Make `count` connections, each in another block; fewer if `until()` becomes true."""
        made: list[Connection] = []

        def work() -> None:
            netns.setns(self._namespace)
            while len(made) < count and not until():
                turn, place = divmod(self._made, self._blocks)
                block = place * stride(self._blocks) % self._blocks
                self._made += 1
                # Neighbouring blocks are probed far apart: pairs mix the addresses better.
                of = family(place // 2)
                made.append(self._connect(of, source_port(block, self._blocks, turn)))

        thread = threading.Thread(target=work, name="connections", daemon=True)
        thread.start()
        thread.join()
        return made

    def _connect(self, of: Family, port: int) -> Connection:
        question = f"connection from {port}\n".encode()
        try:
            with socket.socket(SOCKETS[of], socket.SOCK_STREAM) as one:
                # Closed with a reset: nothing lingers on the port, on either side.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.bind(("", port))
                one.settimeout(CONNECT_SECONDS)
                one.connect(self._targets[of])
                one.sendall(question)
                answer = b""
                while not answer.endswith(b"\n"):
                    chunk = one.recv(256)
                    if not chunk:
                        return Connection(port, "")
                    answer += chunk
        except OSError:
            return Connection(port, "")
        real, _, echo = answer.partition(b" ")
        return Connection(port, real.decode() if echo == question else "")

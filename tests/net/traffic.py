# SPDX-License-Identifier: GPL-2.0-or-later
"""A client with much to do, as a program: many new connections, and some that stay.

    python -m tests.net.traffic VIP PORT RATE STAYING

Makes RATE TCP connections a second, each from a port of its own, each for one question, and keeps
STAYING others and asks them again and again. Prints `ready` when all that stay are there. With its
standard input it ends, and prints JSON, the `Counts`. What it is late with it makes up for, but
not what it could not make because a connection before had the port.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

QUESTION = b"who\n"
LOWEST, HIGHEST = 1025, 65535
PATIENCE = 20.0
"""Seconds until an answer counts as lost; TCP asks for a connection again after 1, 3, and 7."""
AGAIN = 0.2
"""Seconds between two questions on a connection that stays."""
LATE = 0.9
"""Seconds; a connection that took longer had its first packet lost."""
OTHERS = 100
"""Open files beside those of connections."""
BUSY = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}


@dataclass
class Counts:
    """What became of it all."""

    seconds: float = 0.0
    """For how long it made new connections."""
    asked: int = 0
    """New connections begun."""
    skipped: int = 0
    """Those that were due, and whose port was not free."""
    answered: int = 0
    refused: int = 0
    """Broken off, at any time, by the other side."""
    silent: int = 0
    """Not answered in PATIENCE."""
    late: int = 0
    """Answered, and later than LATE."""
    stayed: int = 0
    """Connections that were still answered at the end."""
    lost: int = 0
    """Those of them that were not."""
    questions: int = 0
    """Answered on connections that stay."""


@dataclass
class Talk:
    """A connection."""

    wire: socket.socket
    port: int
    stays: bool
    begun: float
    asked: bool = False


class Traffic:
    """One loop for everything. Times are CLOCK_MONOTONIC in seconds."""

    def __init__(self, target: tuple[str, int], rate: float, staying: int, most: int) -> None:
        """`most`: how many connections there may be at a time; others wait for their turn."""
        self.counts = Counts()
        self._target = target
        self._pause = 1 / rate
        self._most = most
        self._talks: dict[int, Talk] = {}
        self._poll = select.epoll()
        self._ports = self._free_ports()
        self._open = True
        for _ in range(staying):
            self._begin(stays=True)

    @staticmethod
    def _free_ports() -> Iterator[int]:
        step = 40503  # odd, so that every port has its turn; neighbours are in other blocks
        port = LOWEST
        while True:
            port = (port + step) % 65536
            if LOWEST <= port <= HIGHEST:
                yield port

    def _begin(self, *, stays: bool) -> None:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        # Closed with a reset: nothing lingers on the port, on either side.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        port = next(self._ports)
        try:
            one.bind(("", port))
        except OSError as error:
            one.close()
            if error.errno in BUSY:
                self.counts.skipped += not stays
                return
            raise
        one.connect_ex(self._target)
        self._talks[one.fileno()] = Talk(one, port, stays, time.monotonic())
        self._poll.register(one, select.EPOLLOUT)
        self.counts.asked += not stays

    def run(self) -> None:
        """Until standard input ends."""
        self._poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
        begun = due = again = time.monotonic()
        ready = False
        while self._open:
            now = time.monotonic()
            while due <= now and len(self._talks) < self._most:
                self._begin(stays=False)
                due += self._pause
            if again <= now:
                again = now + AGAIN
                self._ask_again(now)
            if not ready and all(t.asked for t in self._talks.values() if t.stays):
                ready = True
                print("ready", flush=True)
            soon = due if len(self._talks) < self._most else again
            self._wait(max(0.0, min(soon, again) - time.monotonic()))
        self.counts.seconds = time.monotonic() - begun
        self._finish()

    def _wait(self, seconds: float) -> None:
        for number, event in self._poll.poll(seconds):
            if number == sys.stdin.fileno():
                self._open = bool(os.read(number, 1))
            elif number in self._talks:
                self._go_on(self._talks[number], event)

    def _go_on(self, talk: Talk, event: int) -> None:
        try:
            if not talk.asked and event & select.EPOLLOUT:
                talk.asked = True
                talk.wire.send(QUESTION)
                self._poll.modify(talk.wire, select.EPOLLIN)
                return
            answer = talk.wire.recv(256)
        except OSError:
            answer = b""
        if not answer:
            self.counts.refused += not talk.stays
            self.counts.lost += talk.stays
            self._end(talk)
        elif talk.stays:
            self.counts.questions += 1
            talk.begun = time.monotonic()
        else:
            self.counts.answered += 1
            self.counts.late += time.monotonic() - talk.begun > LATE
            self._end(talk)

    def _ask_again(self, now: float) -> None:
        for talk in list(self._talks.values()):
            if talk.stays and talk.asked:
                with contextlib.suppress(OSError):  # what is wrong shows when it is read
                    talk.wire.send(QUESTION)
            elif not talk.stays and now - talk.begun > PATIENCE:
                self.counts.silent += 1
                self._end(talk)

    def _end(self, talk: Talk) -> None:
        del self._talks[talk.wire.fileno()]
        self._poll.unregister(talk.wire)
        talk.wire.close()

    def _finish(self) -> None:
        """Begin nothing new, and wait for what is under way."""
        self._poll.unregister(sys.stdin)
        staying = {n: talk for n, talk in self._talks.items() if talk.stays}
        for talk in staying.values():
            talk.begun = 0.0
        self._ask_again(time.monotonic())
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            waiting = any(not t.stays or not t.begun for t in self._talks.values())
            if not waiting:
                break
            self._wait(0.1)
        for talk in list(self._talks.values()):
            if talk.stays:
                self.counts.stayed += bool(talk.begun)
                self.counts.lost += not talk.begun
            else:
                self.counts.silent += 1
            self._end(talk)


def main(words: list[str]) -> None:
    # On a busy host many are under way at a time.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    vip, port, rate, staying = words
    traffic = Traffic((vip, int(port)), float(rate), int(staying), most - OTHERS)
    traffic.run()
    json.dump(asdict(traffic.counts), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])

# SPDX-License-Identifier: GPL-2.0-or-later
"""For how long blocks have no holder: a client that asks from each once a millisecond.

    python -m tests.net.gaps VIP PORT PORT,PORT,...

For each line on its standard input it prints the longest time, in ms, from an answered question to
the next answered one of the same source port with unanswered ones between them, since the line
before; and the longest time from one question to the next in that time, by which it may be too
long. It has a real-time priority, and goes by when it asked: an answer that is late is an answer.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import time
from itertools import pairwise
from typing import Self

from deploy.lab.cache import PROJECT

ROUND = 0.001
"""Seconds."""
SETTLE = 0.1
"""Seconds that the last answers have to come in."""
PRIORITY = 20
_NUMBER = struct.Struct("!Q")


def go_first(pid: int = 0) -> None:
    """Give a process, or this one, a real-time priority, and not what it starts."""
    os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))


class Asked:
    """What was asked from one port, in its order, and which of it was answered. Times in ns."""

    def __init__(self) -> None:
        self._first = 0
        self._times: list[int] = []
        self._answered: list[bool] = []

    def ask(self, now: int) -> int:
        """A question is asked now: its number."""
        self._times.append(now)
        self._answered.append(False)
        return self._first + len(self._times) - 1

    def answer(self, number: int) -> None:
        """A question was answered."""
        if number >= self._first:
            self._answered[number - self._first] = True

    def longest(self) -> tuple[int, int]:
        """The longest gap, and the longest time between two questions in it.

        What has been counted is forgotten; from the last answer on it is kept.
        """
        longest, last = (0, 0), None
        for place, answered in enumerate(self._answered):
            if answered:
                if last is not None and place > last + 1:
                    longest = max(longest, self._gap(last, place))
                last = place
        if last is not None:
            self._first += last
            del self._times[:last], self._answered[:last]
        return longest

    def _gap(self, last: int, place: int) -> tuple[int, int]:
        asked = self._times[last : place + 1]
        return asked[-1] - asked[0], max(after - before for before, after in pairwise(asked))


class Asker:
    """Questions from some source ports to a service."""

    def __init__(self, target: tuple[str, int], ports: list[int]) -> None:
        self._poll = select.epoll()
        self._wires: dict[int, tuple[socket.socket, Asked]] = {}
        for port in ports:
            wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            wire.setblocking(False)
            wire.bind(("", port))
            wire.connect(target)
            self._wires[wire.fileno()] = wire, Asked()
            self._poll.register(wire, select.EPOLLIN)

    def run(self) -> None:
        """Until standard input ends."""
        self._poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
        print("ready", flush=True)
        while True:
            self._ask()
            if self._listen(time.monotonic() + ROUND) and not self._tell():
                return

    def _ask(self) -> None:
        for wire, asked in self._wires.values():
            with contextlib.suppress(OSError):
                wire.send(_NUMBER.pack(asked.ask(time.monotonic_ns())))

    def _listen(self, until: float) -> bool:
        """Take answers in; True if somebody wants to be told."""
        wanted = False
        while (left := until - time.monotonic()) > 0:
            for number, _ in self._poll.poll(left):
                if number == sys.stdin.fileno():
                    wanted = True
                    break
                wire, asked = self._wires[number]
                with contextlib.suppress(OSError):
                    asked.answer(*_NUMBER.unpack(wire.recv(256)[-_NUMBER.size :]))
            if wanted:
                break
        return wanted

    def _tell(self) -> bool:
        if not os.read(sys.stdin.fileno(), 1):
            return False
        self._poll.unregister(sys.stdin)
        self._listen(time.monotonic() + SETTLE)
        self._poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
        gap, between = max(asked.longest() for _, asked in self._wires.values())
        print(f"{gap / 1e6:.1f} {between / 1e6:.1f}", flush=True)
        return True


class Gaps:
    """The program at work in a network namespace."""

    def __init__(self, namespace: str, target: tuple[str, int], ports: list[int]) -> None:
        words = [target[0], str(target[1]), ",".join(map(str, ports))]
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.net.gaps", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        )  # fmt: skip
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def longest(self) -> tuple[float, float]:
        """The longest gap of late, and the longest time between two questions in it, in ms."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        gap, between = map(float, self._read().split())
        return gap, between

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def main(words: list[str]) -> None:
    vip, port, ports = words
    go_first()
    Asker((vip, int(port)), [int(each) for each in ports.split(",")]).run()


if __name__ == "__main__":
    main(sys.argv[1:])

# SPDX-License-Identifier: GPL-2.0-or-later
"""The ping nodes, as they are asked over a real stack: the loopback of a namespace."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable

import icmplib.sockets
import pytest

from saru.config.duration import MS
from saru.config.tree import Ping
from saru.core.reach import Reach
from saru.membership.ping import Pinger

NODES = ("127.0.0.1", "::1", "198.51.100.7", "2001:db8::7")


def loopback(what: str, address: str) -> None:
    subprocess.run(["ip", "addr", what, address, "dev", "lo"], check=True)


class Listener:
    """What a pinger tells."""

    def __init__(self, deadping: int = 1500) -> None:
        self.told: list[Reach | None] = []
        self.news = asyncio.Event()
        self.pinger = Pinger(Ping(NODES, 100 * MS, deadping * MS), self.tell)

    def tell(self, reach: Reach | None) -> None:
        self.told.append(reach)
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while not (self.told and self.told[-1] and self.told[-1].count == count):
                self.news.clear()
                await self.news.wait()

    def run(self, steps: list[tuple[Callable[[], None], int]]) -> None:
        """Do one thing after the other, each until so many nodes are reached."""

        async def work() -> None:
            task = asyncio.create_task(self.pinger.run())
            try:
                for step, count in steps:
                    step()
                    await self.until(count)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(work())


def test_ping_nodes_are_counted_as_they_come_and_go() -> None:
    listener = Listener()
    listener.run(
        [
            (lambda: None, 2),
            (lambda: loopback("add", "198.51.100.7/32"), 3),
            (lambda: loopback("add", "2001:db8::7/128"), 4),
            (lambda: loopback("del", "198.51.100.7/32"), 3),
        ]
    )
    told = (reach.count for reach in listener.told if reach)  # more, where the machine stood still
    assert all(count in told for count in (2, 3, 4, 3)), "not in this order"
    assert {node.address for node in listener.pinger.status() if node.answered_ms is None} == set()


def test_nothing_is_told_before_each_had_the_time_to_answer() -> None:
    listener = Listener(5000)
    listener.run([(lambda: loopback("add", "198.51.100.7/32"), 3)])
    assert listener.told[0] == Reach(3, Ping(NODES[::-1], 1, 1).mark())


class Clock:
    """icmplib's wall clock, which can be set."""

    def __init__(self) -> None:
        self.read = asyncio.Event()  # often, since it was set back
        self._offset = 0.0
        self._left = 0

    def set_back(self) -> None:
        """By an hour."""
        self._offset, self._left = -3600.0, 40

    def __call__(self) -> float:
        self._left -= 1
        if self._left == 0:
            self.read.set()
        return time.time() + self._offset


def test_a_wall_clock_set_back_keeps_no_ping_node_unreached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A silent one is waited for when the clock is set; the others' answers pass by meanwhile."""
    clock, silent = Clock(), "198.51.100.7"
    monkeypatch.setattr(icmplib.sockets, "time", clock)
    subprocess.run(["ip", "route", "add", silent, "dev", "lo"], check=True)
    listener = Listener()

    async def work() -> None:
        task = asyncio.create_task(listener.pinger.run())
        try:
            await listener.until(2)
            clock.set_back()
            async with asyncio.timeout(60):
                await clock.read.wait()
            loopback("add", f"{silent}/32")
            await listener.until(3)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())

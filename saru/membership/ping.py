# SPDX-License-Identifier: GPL-2.0-or-later
"""Ping nodes: which of the hosts beyond the cluster answer, by ICMP echo.

icmplib makes and reads the packets. Its sockets here are raw ones (CAP_NET_RAW): those that anyone
may have are shut off by default (net.ipv4.ping_group_range). A raw socket sees every ICMP packet
that this host receives, so each ping node has its own identifier, and whatever is not its answer is
passed over. An error from a router in place of an answer is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import icmplib

from saru import status
from saru.config.duration import SECOND
from saru.config.tree import Ping
from saru.core.reach import Reach
from saru.errors import OutageError
from saru.membership import boottime

_AGAIN = 0.02  # seconds between two cancellations

Answer = TypeVar("Answer")
OnReach = Callable[[Reach | None], None]


class Pinger:
    """Asks the ping nodes of `ping` all the time.

    `on_reach` is told how many answer, whenever that changes; and first when each has had the time
    to: before, nothing is known.
    """

    def __init__(self, ping: Ping, on_reach: OnReach) -> None:
        self._ping = ping
        self._on_reach = on_reach
        self._mark = ping.mark()
        self._answered: dict[str, int] = {}  # when each answered last
        self._begun = boottime()
        self._told: Reach | None = None

    def status(self) -> tuple[status.PingNode, ...]:
        """Which ping nodes answer now."""
        now = boottime()
        return tuple(
            status.PingNode(
                address=node,
                reached=self._reached(node, now),
                answered_ms=(now - self._answered[node]) // 1_000_000
                if node in self._answered
                else None,
            )
            for node in self._ping.nodes
        )

    async def run(self) -> None:
        """Ask until cancelled. Raises OutageError if this user may not."""
        self._begun = boottime()
        work = [*(self._ask(node) for node in self._ping.nodes), self._tell()]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await _end(tasks)

    async def _ask(self, node: str) -> None:
        """Ask one node for ever.

        Directors that ask from the VIP receive each other's answers; 32 random bits tell them
        apart.
        """
        interval = self._ping.interval / SECOND
        loop = asyncio.get_running_loop()
        number, sequence = secrets.randbelow(2**16), secrets.randbelow(2**16)
        with _socket(node) as sock:
            while True:
                next_at = loop.time() + interval
                sequence = (sequence + 1) % 2**16
                request = icmplib.ICMPRequest(node, number, sequence)
                # No route, a full buffer, no answer, an error in place of one: it does not answer.
                with contextlib.suppress(icmplib.ICMPLibError):
                    sock.send(request)
                    reply = await _within(interval, sock.receive(request, interval))
                    if reply is not None:
                        reply.raise_for_status()
                        self._answered[node] = boottime()
                await asyncio.sleep(max(0.0, next_at - loop.time()))

    async def _tell(self) -> None:
        while True:
            reach = self._reach(boottime())
            if reach != self._told:
                self._told = reach
                self._on_reach(reach)
            await asyncio.sleep(self._ping.interval / SECOND)

    def _reach(self, now: int) -> Reach | None:
        if now < self._begun + self._ping.deadping and len(self._answered) < len(self._ping.nodes):
            return None
        count = sum(self._reached(node, now) for node in self._ping.nodes)
        return Reach(count, self._mark)

    def _reached(self, node: str, now: int) -> bool:
        answered = self._answered.get(node)
        return answered is not None and now < answered + self._ping.deadping


async def _within(seconds: float, answer: Coroutine[Any, Any, Answer]) -> Answer | None:
    """What `answer` brings in that time; None if nothing came.

    icmplib's own limit goes by the wall clock: once that is set back, it would wait for as long.
    """
    task = asyncio.create_task(answer)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        await _end({task})
    return None if task.cancelled() else task.result()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they end.

    Once is not enough: icmplib waits by asyncio.wait_for, which loses a cancellation (until Python
    3.12) if a packet comes at the same moment.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN)


def _socket(node: str) -> icmplib.AsyncSocket:
    six = ipaddress.ip_address(node).version == 6
    try:
        return icmplib.AsyncSocket(icmplib.ICMPv6Socket() if six else icmplib.ICMPv4Socket())
    except icmplib.SocketPermissionError:
        raise OutageError("ping nodes need CAP_NET_RAW: run it as root") from None

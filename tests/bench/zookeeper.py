# SPDX-License-Identifier: GPL-2.0-or-later
"""What a cluster costs ZooKeeper: znodes, watches and requests, and how they grow with directors.

usage: tests/bench/zookeeper [--directors N,N,...] [--seconds N] [--json FILE]

The core and its membership as they are, each director with sessions of its own, all in this
process, and kernels that take every table at once; one real server (as root: it is in a network
namespace). The server counts. `steady`: what happens when nothing does, in requests a second.
`change`: how many requests and watch events more there are when one director leaves, from its last
word until everybody holds his share: a herd would be a number that grows with the directors'
square, or one that a follower's part of grows at all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import uuid
from pathlib import Path
from typing import Any

from deploy.lab import topology
from deploy.lab.network import Network
from deploy.lab.node import wait_until
from deploy.lab.zookeeper import Ensemble
from saru import config
from saru.core.action import Drop, Note, Push, Renew
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.membership import boottime
from saru.membership.zookeeper import ZookeeperMembership

SETTLING = 60.0
"""Seconds, at most."""
LOOK = 0.05
EVENTS = (
    *("node_changed_watch_count", "node_children_watch_count", "node_deleted_watch_count"),
    "node_created_watch_count",
)
"""The server's counters of watch events, by kind."""


class Director:
    """One director without a kernel."""

    def __init__(self, name: str, hosts: list[str]) -> None:
        given: dict[str, dict[str, object]] = {
            "cluster": {"membership": "zookeeper"},
            "zookeeper": {"hosts": hosts, "session_timeout": 20},
            "times": {"keepalive": 1, "deadtime": 10, "join_delay": 0},
        }
        self.config = config.load(host=name, given=given)
        settings = self.config.settings()
        self.core = EnsembleCoordinator(settings, name, 1, boottime())
        self.membership = ZookeeperMembership(
            self.config, settings, lambda: self.core, self.do, lambda _: None, self.broke
        )
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False

    async def start(self) -> None:
        """Begin; with no rules to look after, it is able at once."""
        await self.membership.enter()
        self.membership.start()
        self.do(self.core.guard(True, "", boottime()))

    async def leave(self) -> None:
        """As a daemon does that is stopped."""
        self.do(self.core.leave(boottime()))
        while not self.membership.said_farewell:  # noqa: ASYNC110 - a benchmark may look
            await asyncio.sleep(LOOK)
        await self.end()

    async def end(self) -> None:
        """No more events."""
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        await self.membership.stop()

    def broke(self, error: BaseException) -> None:
        raise error

    def do(self, actions: list[Any]) -> None:
        """Carry out actions; the kernel takes everything at once."""
        loop = asyncio.get_running_loop()
        for action in actions:
            if isinstance(action, Push):
                loop.call_soon(self._took, action)
            elif isinstance(action, Drop):
                loop.call_soon(lambda: self.do(self.core.dropped(boottime())))
            elif not isinstance(action, Renew | Note):
                self.membership.carry_out(action)
        if self.ended:
            return
        if self._timer is not None:
            self._timer.cancel()
        now = boottime()
        delay = (self.core.wake(now) - now) / 1e9
        self._timer = loop.call_later(delay, lambda: self.do(self.core.tick(boottime())))

    def _took(self, push: Push) -> None:
        self.do(self.core.pushed(push.id, push.version, True, boottime()))

    @property
    def held(self) -> int:
        """How many blocks it holds."""
        return self.core.holdings[1].held.bit_count()


async def settled(directors: list[Director]) -> None:
    """Wait until everybody holds his share."""
    async with asyncio.timeout(SETTLING):
        blocks = directors[0].config.ids[0].blocks
        share = blocks // len(directors)
        while not all(share <= d.held <= share + 1 for d in directors):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)


class Counts:
    """What the server has counted by now."""

    def __init__(self, ensemble: Ensemble) -> None:
        facts: dict[str, str] = {}

        def told() -> bool:
            facts.update(ensemble.servers[0].facts("mntr"))
            return bool(facts)

        wait_until("the server tells its counts", told)
        self.znodes = int(facts["zk_znode_count"])
        self.watches = int(facts["zk_watch_count"])
        self.requests = int(facts["zk_packets_received"])
        self.events = round(sum(float(facts.get(f"zk_sum_{name}", 0)) for name in EVENTS))
        self.bytes = int(facts["zk_approximate_data_size"])


async def measure(ensemble: Ensemble, count: int, seconds: float) -> dict[str, object]:
    """The figures for so many directors."""
    before = Counts(ensemble)
    directors = [Director(f"director{n:02}", ensemble.hosts) for n in range(count)]
    try:
        for director in directors:
            await director.start()
        await settled(directors)
        await asyncio.sleep(1)
        first = Counts(ensemble)
        await asyncio.sleep(seconds)
        second = Counts(ensemble)
        leaver = next(d for d in directors if d.core.mastership is None)
        rest = [d for d in directors if d is not leaver]
        begun = boottime()
        await leaver.leave()
        await settled(rest)
        took = (boottime() - begun) / 1e9
        third = Counts(ensemble)
    finally:
        await asyncio.gather(*(d.end() for d in directors))
    rate = (second.requests - first.requests) / seconds
    return {
        "directors": count,
        "znodes": second.znodes - before.znodes,
        "watches": second.watches,
        "requests_per_s": round(rate, 1),
        "requests_per_s_each": round(rate / count, 2),
        "watch_events_steady": second.events - first.events,
        "change_requests": round(third.requests - second.requests - rate * took),
        "change_watch_events": third.events - second.events,
        "change_s": round(took, 2),
        "data_bytes": second.bytes,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(usage=(__doc__ or "").split("\n")[2].removeprefix("usage: "))
    parser.add_argument("--directors", default="3,16,64")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cases = []
    for count in map(int, arguments.directors.split(",")):
        name = f"saru-zkbench-{uuid.uuid4().hex[:6]}"
        network = Network(name)
        ensemble = Ensemble(network, Path("/run") / name, 1)
        try:
            network.make((), [topology.zookeeper("zk1")])
            ensemble.up()
            with ensemble.inside():
                cases.append(asyncio.run(measure(ensemble, count, arguments.seconds)))
        finally:
            network.remove()
            ensemble.down()
        print(", ".join(f"{key} {value}" for key, value in cases[-1].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

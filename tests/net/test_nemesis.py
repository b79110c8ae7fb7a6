# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons and real packets under random faults: never two, and soon one.

A client sends datagrams into every block without a pause; who answers is seen on the wires.
Whatever happens to the directors, no datagram may be accepted by two of them. When the faults of
a round have ended, all blocks must be answered again; how long that took is printed beside its
bound.

    tests/run tests/net/test_nemesis.py --nemesis 3600      an hour for each cluster
    tests/run tests/net/test_nemesis.py --nemesis-seed 17   the same faults once more
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import Plan
from deploy.lab.node import wait_until
from tests.net.faults import KINDS, Fault
from tests.net.ledger import Ledger
from tests.net.probes import names, probing

BLOCKS = 256
RATE = 1300
"""Probes a second: each block five times."""
CALM = 0.5
"""The chance that a round ends with everything whole and answered."""


@dataclass
class Storm:
    """Rounds of faults over a cluster, and what came of them."""

    cluster: Cluster
    ledger: Ledger
    chance: random.Random
    lines: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of a round's last fault until every block was answered."""
    begun: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        self.lines.append(f"{time.monotonic() - self.begun:9.3f} s  {text}")

    def round(self) -> None:
        """Some faults, one after the other, that end in any order."""
        faults = self._draw()
        deadtime = self.cluster.plan.times.deadtime / 1000
        for fault in faults:
            self.say(fault.text)
            fault.begin()
            self._wait(self.chance.uniform(0, 2 * deadtime))
        self._wait(self.chance.choice((0, 0.5, 1, 2, 4)) * deadtime * self.chance.random())
        self.chance.shuffle(faults)
        for fault in faults:
            self.say(f"ended: {fault.text}")
            fault.end()
            self._wait(self.chance.uniform(0, deadtime))
        self.check()
        if self.chance.random() < CALM:
            self.calm()

    def _draw(self) -> list[Fault]:
        faults: list[Fault] = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            node = self.chance.choice(list(self.cluster.nodes.values()))
            fault = self.chance.choice(KINDS)(self.cluster, node, self.chance)
            taken = {name for one in faults for name in one.nodes}
            if not taken & set(fault.nodes) and not (fault.wires and any(f.wires for f in faults)):
                faults.append(fault)
        return faults

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def check(self) -> None:
        """Never two."""
        twice = self.ledger.twice()
        assert not twice, "accepted twice: " + "; ".join(self.ledger.who(n) for n in twice[:10])

    def calm(self) -> None:
        """Everything is whole: soon every block is answered."""
        since = time.monotonic_ns()
        found: dict[int, int] = {}

        def all_answered() -> bool:
            nonlocal found
            found = self.ledger.answered(since)
            return len(found) == BLOCKS

        wait_until("every block is answered", all_answered)
        self.recoveries.append((max(found.values()) - since) / 1e9)
        self.say(f"every block answered after {self.recoveries[-1]:.3f} s")
        self.cluster.wait_settled()
        self.check()


def bound(plan: Plan) -> float:
    """Seconds in which every block is held again once nothing fails any more and nobody is busy.

    Whoever was started at the end waits `initdead`, and may be needed for a quorum; then come one
    silence of L+ (a fence) and a term.
    """
    times = plan.times
    return (times.initdead + 2 * times.deadtime * 1.01 / 0.99 + 4 * times.keepalive) / 1000


@pytest.fixture(params=[3, 5])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = f"saru-nemesis-{uuid.uuid4().hex[:6]}"
    shape = clusters.plan(request.param, blocks=BLOCKS)
    with Cluster(name, shape) as made:
        made.wait_settled()
        yield made


def test_never_two(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    seconds = float(request.config.getoption("--nemesis"))
    seed = request.config.getoption("--nemesis-seed")
    seed = random.randrange(2**32) if seed is None else int(seed)
    ledger = Ledger(names(cluster), prefix=f"storm {seed} ")
    storm = Storm(cluster, ledger, random.Random(seed))
    print(f"--nemesis-seed {seed}")
    try:
        with probing(cluster, ledger, BLOCKS, RATE):
            storm.calm()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                storm.round()
            storm.calm()
        storm.check()
    except BaseException:
        print("\n".join(storm.lines))
        raise
    worst = max(storm.recoveries)
    print(
        f"{len(ledger)} probes, none accepted twice; {len(storm.lines)} events; "
        f"whole again {len(storm.recoveries)} times, at worst after {worst:.3f} s "
        f"(bound {bound(cluster.plan):.3f} s, without what programs take on this machine)"
    )

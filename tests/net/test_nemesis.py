# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons and real packets under random faults: never two, and soon one.

A client sends datagrams into every block without a pause; who answers is seen on the wires.
Whatever happens to the directors, and whatever an operator does to them meanwhile, no datagram may
be accepted by two of them. When the faults of a round have ended, all blocks must be answered again
within a bound, and what is allowed to programs and to others on this machine. How long it took is
among the run's figures.

No fault is a step of the wall clock: namespaces share their host's, and a step would be everybody's
on the machine. Guests step theirs (tests/vm/test_nemesis.py), and what a step does to the two
bounds in the kernel's table is in tests/net/test_nft_deadline.py.

    tests/run tests/net/test_nemesis.py --nemesis 3600      an hour for each cluster
    tests/run tests/net/test_nemesis.py --nemesis-seed 17   the same faults once more
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import pytest

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from tests import storm
from tests.bench.stalls import Stalls
from tests.net.faults import KINDS, kinds
from tests.net.orders import Orders
from tests.net.probes import names, probing
from tests.net.restart import Restarts

BLOCKS = 256
RATE = 1300
"""Probes a second: each block five times."""
ALLOWED, BUSY = 6.0, 12.0
"""Seconds beyond a bound. There are daemons, rules and links to be started, all of them programs of
Python, and two processors for them, for the packets of all, and for what else is being tested."""


@pytest.mark.parametrize("directors", [3, 5])
def test_never_two(
    directors: int, request: pytest.FixtureRequest, figures: Callable[[str], None]
) -> None:
    seed = storm.seed(request.config)
    name = f"saru-nemesis-{uuid.uuid4().hex[:6]}"
    with Cluster(name, clusters.plan(directors, blocks=BLOCKS)) as cluster, Stalls() as stalls:
        cluster.wait_settled()
        times = cluster.plan.times
        keepalive, deadtime = times.keepalive / 1000, times.deadtime / 1000
        ledger = storm.LastingLedger(names(cluster), prefix=f"{name} ")
        orders, restarts = Orders(cluster), Restarts()
        planned = (
            *(restarts.killed, restarts.paused, restarts.suspended),
            *(orders.drained, orders.weighed, orders.left),
        )
        rounds = storm.Storm(
            kinds=kinds(cluster, (*KINDS, *planned)),
            deadtime=deadtime,
            ledger=ledger,
            blocks=BLOCKS,
            settled=cluster.wait_settled,
            chance=random.Random(seed),
            directors=cluster.nodes,
            limits=storm.Limits(
                whole=storm.bound(keepalive, deadtime, times.initdead / 1000),
                outage=storm.outage(keepalive, deadtime),
                period=BLOCKS / RATE,
                allowed=ALLOWED,
                busy=BUSY,
            ),
            stood_still=stalls.worst,
            mend=orders.undo,
            forget=ledger.forget,
        )
        with probing(cluster, ledger, BLOCKS, RATE):
            rounds.rage(float(request.config.getoption("--nemesis")))
        rounds.check()
        figures(f"{rounds.summary()}\n{orders}; {restarts.summary(cluster)}")

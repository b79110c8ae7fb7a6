# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons and real packets under random faults: never two, and soon one.

A client sends datagrams into every block without a pause; who answers is seen on the wires.
Whatever happens to the directors, and whatever an operator does to them meanwhile, no datagram may
be accepted by two of them. When the faults of
a round have ended, all blocks must be answered again; how long that took is printed beside its
bound.

    tests/run tests/net/test_nemesis.py --nemesis 3600      an hour for each cluster
    tests/run tests/net/test_nemesis.py --nemesis-seed 17   the same faults once more
"""

from __future__ import annotations

import random
import uuid

import pytest

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from tests import storm
from tests.ledger import Ledger
from tests.net.faults import KINDS, kinds
from tests.net.orders import Orders
from tests.net.probes import names, probing
from tests.net.restart import Restarts

BLOCKS = 256
RATE = 1300
"""Probes a second: each block five times."""


@pytest.mark.parametrize("directors", [3, 5])
def test_never_two(directors: int, request: pytest.FixtureRequest) -> None:
    seed = storm.seed(request.config)
    name = f"saru-nemesis-{uuid.uuid4().hex[:6]}"
    with Cluster(name, clusters.plan(directors, blocks=BLOCKS)) as cluster:
        cluster.wait_settled()
        times = cluster.plan.times
        ledger = Ledger(names(cluster), prefix=f"{name} ")
        orders, restarts = Orders(cluster), Restarts()
        planned = (
            *(restarts.killed, restarts.paused, restarts.suspended),
            *(orders.drained, orders.weighed, orders.left),
        )
        rounds = storm.Storm(
            kinds=kinds(cluster, (*KINDS, *planned)),
            deadtime=times.deadtime / 1000,
            ledger=ledger,
            blocks=BLOCKS,
            settled=cluster.wait_settled,
            chance=random.Random(seed),
            directors=cluster.nodes,
            mend=orders.undo,
        )
        with probing(cluster, ledger, BLOCKS, RATE):
            rounds.rage(float(request.config.getoption("--nemesis")))
        rounds.check()
        print(f"{orders}; {restarts.summary(cluster)}")
    keepalive, deadtime = times.keepalive / 1000, times.deadtime / 1000
    whole = storm.bound(keepalive, deadtime, times.initdead / 1000)
    print(rounds.summary(whole, storm.outage(keepalive, deadtime)))

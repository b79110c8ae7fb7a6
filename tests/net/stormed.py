# SPDX-License-Identifier: GPL-2.0-or-later
"""A storm over a cluster of real daemons in namespaces, whoever tells them who is alive."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from deploy.lab.cluster import Cluster
from tests import storm
from tests.bench.stalls import Stalls
from tests.net.orders import Orders
from tests.net.probes import names, probing
from tests.net.restart import Restarts

BLOCKS = 256
RATE = 1300
"""Probes a second: each block five times."""


def rage(
    cluster: Cluster,
    kinds: Callable[[Orders, Restarts], Sequence[storm.Kind]],
    limits: storm.Limits,
    seed: int,
    seconds: float,
) -> str:
    """Let faults of these `kinds` rage over `cluster` for so long; its figures.

    AssertionError if two directors accepted a probe, or a block went unanswered for too long.
    """
    with Stalls() as stalls:
        cluster.wait_settled()
        ledger = storm.LastingLedger(names(cluster), prefix=f"{cluster.name} ")
        orders, restarts = Orders(cluster), Restarts()
        rounds = storm.Storm(
            kinds=kinds(orders, restarts),
            deadtime=cluster.plan.times.deadtime / 1000,
            ledger=ledger,
            blocks=BLOCKS,
            settled=cluster.wait_settled,
            chance=random.Random(seed),
            directors=cluster.nodes,
            limits=limits,
            stood_still=stalls.worst,
            mend=orders.undo,
            forget=ledger.forget,
        )
        with probing(cluster, ledger, BLOCKS, RATE):
            rounds.rage(seconds)
        rounds.check()
        return f"{rounds.summary()}\n{orders}; {restarts.summary(cluster)}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons, a real ensemble, and real packets under random faults: never two, and soon one.

tests/run tests/net/test_nemesis_zookeeper.py --nemesis-zookeeper 3600     an hour for each
tests/run tests/net/test_nemesis_zookeeper.py --nemesis-seed 17            the same once more
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from deploy.demonstration.stage import TICKS
from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from tests import storm
from tests.net.faults_zookeeper import kinds
from tests.net.stormed import BLOCKS, RATE, rage

ALLOWED, BUSY = 12.0, 24.0
"""Seconds beyond a bound: three servers in Java may have to start, and to agree on a leader."""


@pytest.mark.parametrize("failsafe", [False, True], ids=["plain", "failsafe"])
def test_never_two(
    failsafe: bool, request: pytest.FixtureRequest, figures: Callable[[str], None]
) -> None:
    seed = storm.seed(request.config)
    more = {"zookeeper": {"failsafe": failsafe}}
    shape = clusters.plan(3, blocks=BLOCKS, zookeepers=3, more=more)
    deadtime = shape.times.deadtime / 1000  # a session's timeout, too
    lease = deadtime * 1.01 / 0.99
    limits = storm.Limits(
        whole=2 * (deadtime + lease),
        outage=deadtime + TICKS + lease,
        period=BLOCKS / RATE,
        allowed=ALLOWED,
        busy=BUSY,
    )
    with Cluster(f"saru-zkstorm-{uuid.uuid4().hex[:6]}", shape) as cluster:
        seconds = float(request.config.getoption("--nemesis-zookeeper"))
        figures(
            rage(
                cluster,
                lambda orders, restarts: kinds(
                    cluster, (restarts.killed, orders.drained, orders.weighed, orders.left)
                ),
                limits,
                seed,
                seconds,
            )
        )

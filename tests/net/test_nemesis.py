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

import uuid
from collections.abc import Callable

import pytest

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from tests import storm
from tests.net.faults import KINDS, kinds
from tests.net.stormed import BLOCKS, RATE, rage

ALLOWED, BUSY = 6.0, 12.0
"""Seconds beyond a bound. There are daemons, rules and links to be started, all of them programs of
Python, and two processors for them, for the packets of all, and for what else is being tested."""


@pytest.mark.parametrize("directors", [3, 5])
def test_never_two(
    directors: int, request: pytest.FixtureRequest, figures: Callable[[str], None]
) -> None:
    seed = storm.seed(request.config)
    shape = clusters.plan(directors, blocks=BLOCKS)
    keepalive, deadtime = shape.times.keepalive / 1000, shape.times.deadtime / 1000
    limits = storm.Limits(
        whole=storm.bound(keepalive, deadtime, shape.times.initdead / 1000),
        outage=storm.outage(keepalive, deadtime),
        period=BLOCKS / RATE,
        allowed=ALLOWED,
        busy=BUSY,
    )
    with Cluster(f"saru-nemesis-{uuid.uuid4().hex[:6]}", shape) as cluster:
        seconds = float(request.config.getoption("--nemesis"))
        figures(
            rage(
                cluster,
                lambda orders, restarts: kinds(
                    cluster,
                    (
                        *KINDS,
                        *(restarts.killed, restarts.paused, restarts.suspended),
                        *(orders.drained, orders.weighed, orders.left),
                    ),
                ),
                limits,
                seed,
                seconds,
            )
        )

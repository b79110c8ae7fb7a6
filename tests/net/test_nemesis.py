# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons and real packets under random faults: never two, and soon one.

A client sends datagrams into every block without a pause; who answers is seen on the wires.
Whatever happens to the directors, and whatever an operator does to them meanwhile, no datagram may
be accepted by two of them. When the faults of a round have ended, all blocks must be answered again
within a bound, and what is allowed to programs and to others on this machine. How long it took is
among the run's figures.

Namespaces share their host's wall clock, so a step of it is a daemon that reads another one
(tests/net/wall_clocks.py). Guests step their own (tests/vm/test_nemesis.py), and what a step does
to the two bounds in the kernel's table is in tests/net/test_nft_deadline.py.

    tests/run tests/net/test_nemesis.py --nemesis 3600      an hour for each cluster
    tests/run tests/net/test_nemesis.py --nemesis-seed 17   the same faults once more
"""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.lab import cluster as clusters
from deploy.lab.cache import PROJECT
from deploy.lab.cluster import Cluster
from saru.dataplane.bounds import read
from tests import storm
from tests.net.faults import KINDS, kinds
from tests.net.stormed import BLOCKS, RATE, rage
from tests.net.wall_clocks import WallClocks

ALLOWED, BUSY = 6.0, 12.0
"""Seconds beyond a bound. There are daemons, rules and links to be started, all of them programs of
Python, and two processors for them, for the packets of all, and for what else is being tested."""


@pytest.mark.parametrize("directors", [3, 5])
def test_never_two(
    directors: int,
    request: pytest.FixtureRequest,
    figures: Callable[[str], None],
    tmp_path: Path,
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
    cluster = Cluster(f"saru-nemesis-{uuid.uuid4().hex[:6]}", shape)
    clocks = WallClocks(cluster, tmp_path)
    with cluster:
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
                        clocks.stepped,
                    ),
                ),
                limits,
                seed,
                seconds,
            )
            + f"; {clocks}"
        )


def test_a_daemon_reads_the_wall_clock_that_was_set(tmp_path: Path) -> None:
    cluster = Cluster("saru-nemesis-clocks", clusters.plan(3))
    clocks = WallClocks(cluster, tmp_path)
    node = cluster.nodes["walter"]

    def ahead() -> float:
        """By how many seconds what it would compute with is ahead."""
        look = "from saru.dataplane.bounds import read; print(*read())"
        words = [*node.around, sys.executable, "-c", look]
        done = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True)
        real, boot = map(int, done.stdout.split())
        here = read()
        return ((real - boot) - (here.real - here.boot)) / 1e9

    assert abs(ahead()) < 1
    for fault in (clocks.stepped(cluster, node, random.Random(seed)) for seed in range(20)):
        if fault.text.endswith("clock -3600 s"):
            break
    fault.begin()
    assert abs(ahead() - 3600) < 1
    fault.end()
    assert abs(ahead()) < 1

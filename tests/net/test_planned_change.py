# SPDX-License-Identifier: GPL-2.0-or-later
"""Planned changes under load: no established connection is lost, and no new one refused.

The directors serve the VIP themselves and track connections; a client makes 2,000 new connections
a second, and keeps others. How long a block that moves has no holder is printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Self

import pytest

from deploy.demonstration.prober import source_port
from deploy.lab import cluster as clusters
from deploy.lab import topology
from deploy.lab.cache import PROJECT
from deploy.lab.cluster import Cluster
from deploy.lab.node import Node, wait_until
from tests.net.traffic import Counts

NEW = 2000
"""Connections a second."""
STAYING = 300
WATCHED = 4
"""Blocks whose time without a holder is measured, to the nearest 4 ms: a probe each millisecond."""


class Client:
    """A client at work, in a process of its own."""

    def __init__(self, cluster: Cluster, probes: list[int]) -> None:
        words = [topology.VIP, str(topology.PORT), str(NEW), str(STAYING)]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", cluster.client, sys.executable, "-m", "tests.net.traffic",
             *words, ",".join(map(str, probes))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self._said, self._told = self.process.stdout, self.process.stdin
        assert self._said.readline() == "ready\n"

    def gap(self) -> float:
        """The longest time in ms that one of the watched blocks was not answered, of late."""
        self._told.write("\n")
        self._told.flush()
        return float(self._said.readline())

    def counts(self) -> Counts:
        """Let it come to its end: what it has counted."""
        return Counts(**json.loads(self.process.communicate(timeout=120)[0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def blocks_of(node: Node) -> list[int]:
    """The blocks that a director holds."""
    status = node.status()
    assert status is not None
    return [
        block
        for run in status.divisions[0].runs
        if run.holder == node.name
        for block in range(run.first, run.last + 1)
    ]


def has(node: Node, share: float) -> bool:
    """Whether a director holds its share, as near as whole blocks allow."""
    return abs(node.held() - share) < 1


@pytest.mark.alone
def test_planned_changes_break_no_connection() -> None:
    name = f"saru-planned-{uuid.uuid4().hex[:6]}"
    with Cluster(name, clusters.plan(3)) as cluster:
        cluster.wait_settled()
        walter, wendy, wanda = cluster.directors
        blocks = cluster.plan.blocks
        mine = blocks_of(walter)
        watched = [
            source_port(mine[place * len(mine) // WATCHED], blocks, 1) for place in range(WATCHED)
        ]
        gaps = {}
        with Client(cluster, watched) as client:

            def planned(what: str, change: Callable[[], object], so: Callable[[], object]) -> None:
                client.gap()
                change()
                wait_until(what, so)
                gaps[what] = client.gap()

            planned(
                "walter is drained",
                lambda: wendy.run("drain", "walter"),
                lambda: walter.held() == 0,
            )
            cluster.wait_settled()  # a drained director needs no block for that
            planned(
                "walter is back",
                lambda: wendy.run("undrain", "walter"),
                lambda: has(walter, blocks / 3),
            )
            planned(
                "walter weighs half",
                lambda: walter.run("weight", "walter", "50"),
                lambda: has(walter, blocks / 5),
            )
            planned(
                "walter weighs as much as the others",
                lambda: wanda.run("weight", "walter", "100"),
                lambda: has(walter, blocks / 3),
            )
            planned(
                "walter stops",
                walter.stop,
                lambda: wanda.held() + wendy.held() == blocks,
            )
            planned(
                "walter starts again",
                walter.start,
                lambda: has(walter, blocks / 3),
            )
            counts = client.counts()
    print(counts)
    assert counts.asked > 0
    assert counts.refused == 0
    assert counts.silent == 0
    assert counts.answered == counts.asked
    assert counts.lost == 0
    assert counts.stayed == STAYING
    print(
        f"{counts.answered} new connections, none refused, {counts.late} asked twice; "
        f"{counts.stayed} of {STAYING} stayed; ms without a holder at most: {gaps}"
    )

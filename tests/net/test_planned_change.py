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
from typing import Self

import pytest

from deploy.lab import cluster as clusters
from deploy.lab import topology
from deploy.lab.cache import PROJECT
from deploy.lab.cluster import Cluster
from tests.net.moving import changes, longest_gap
from tests.net.traffic import Counts

NEW = 2000
"""Connections a second."""
STAYING = 300


class Client:
    """A client at work, in a process of its own."""

    def __init__(self, cluster: Cluster) -> None:
        words = [topology.VIP, str(topology.PORT), str(NEW), str(STAYING)]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", cluster.client, sys.executable, "-m", "tests.net.traffic",
             *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def counts(self) -> Counts:
        """Let it come to its end: what it has counted."""
        return Counts(**json.loads(self.process.communicate(timeout=120)[0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.alone
def test_planned_changes_break_no_connection() -> None:
    name = f"saru-planned-{uuid.uuid4().hex[:6]}"
    with Cluster(name, clusters.plan(3)) as cluster:
        cluster.wait_settled()
        with Client(cluster) as client:
            gaps = {change.name: longest_gap(cluster, change, 1)[0] for change in changes(cluster)}
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

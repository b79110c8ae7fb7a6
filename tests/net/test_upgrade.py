# SPDX-License-Identifier: GPL-2.0-or-later
"""A rolling upgrade: three directors get the next release one by one, and serve together meanwhile.

The next release is today's, but its beats have a field more (`tests.net.next_release`).
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Collection

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import Times
from deploy.lab.node import PRIORITY, Node, wait_until
from saru import __version__
from tests.ledger import Ledger
from tests.net import restart
from tests.net.next_release import VERSION
from tests.net.test_settings_change import probed, waited
from tests.net.test_voters import LONG, changes

BLOCKS = 32
"""So few that each of them is probed every 25 ms."""
SHORT = Times(keepalive=200, deadtime=2000, initdead=4100, join_delay=300)
AT_MOST_MS = 1000
"""For so long a block may be without an answer, for a planned move's sake or a busy machine's; a
failure costs `deadtime`, 2 s and more here."""
GOES_ON, DOES_NOT = "0", "1"
"""Whether the next release goes on from a pause of today's."""


def program(step: str) -> tuple[str, ...]:
    """What Python is told to run for `saru` where the next release is installed."""
    return "-m", "tests.net.next_release", step


def start(cluster: Cluster, node: Node, step: str) -> None:
    """Start the next release's daemon as the unit does at every start; it has answered."""
    words = [*PRIORITY, sys.executable, *program(step), "--config", str(node.config), "--debug"]
    words += ["--log_facility", str(node.directory / "saru.log"), "--prepare"]
    node.adopt(cluster.network.start(node.name, words, node.directory / "start.log"))
    node.wait_ready()


def serve_together(cluster: Cluster, upgraded: Collection[str]) -> None:
    """All hear one master, hold blocks, and understand each other, each of its own release."""
    cluster.wait_settled()
    for node in cluster.directors:
        status = node.status()
        assert status is not None
        assert status.version == (VERSION if node.name in upgraded else __version__)
        assert (status.counters.malformed, status.counters.refused) == (0, 0)


def longest_ms(ledger: Ledger, since: int) -> float:
    """For how long nobody answered a block's probes, at most."""
    return ledger.longest(since) / 1e6


def test_an_upgrade_by_pauses_costs_no_block_its_holder(figures: Callable[[str], None]) -> None:
    shape = clusters.plan(3, times=LONG, blocks=BLOCKS)
    with (
        Cluster(f"saru-upgrade-{uuid.uuid4().hex[:6]}", shape) as cluster,
        probed(cluster, BLOCKS) as ledger,
    ):
        before, since, upgraded = changes(cluster), time.monotonic_ns(), []
        for node in cluster.directors:
            assert restart.end(node, *program(GOES_ON)) == ""
            start(cluster, node, GOES_ON)
            assert f"{node.name}: goes on after a pause" in node.log()
            upgraded.append(node.name)
            serve_together(cluster, upgraded)
        assert changes(cluster) == before
        longest = longest_ms(ledger, since)
    figures(f"longest without an answer: {longest:.0f} ms")
    assert longest <= AT_MOST_MS


def test_an_upgrade_by_stops_costs_no_block_more_than_planned_moves(
    figures: Callable[[str], None],
) -> None:
    """A pause is refused, so the unit stops the daemon, which hands its blocks over first."""
    shape = clusters.plan(3, times=SHORT, blocks=BLOCKS)
    with (
        Cluster(f"saru-upgrade-{uuid.uuid4().hex[:6]}", shape) as cluster,
        probed(cluster, BLOCKS) as ledger,
    ):
        upgraded = []
        for node in cluster.directors:
            since = time.monotonic_ns()
            refusal = restart.end(node, *program(DOES_NOT))
            assert "of a release that does not go on from this one; stop it" in refusal
            start(cluster, node, DOES_NOT)
            wait_until(f"{node.name} is past its start-up wait", lambda: waited(node))  # noqa: B023
            upgraded.append(node.name)
            serve_together(cluster, upgraded)
            longest = longest_ms(ledger, since)
            figures(f"{node.name}: longest without an answer: {longest:.0f} ms")
            assert longest <= AT_MOST_MS
        assert not any("lapsed" in node.log() for node in cluster.directors)

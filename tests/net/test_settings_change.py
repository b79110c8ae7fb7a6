# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings that must be alike everywhere are changed on a running cluster, director by director.

Those with the old settings and those with the new ones are not in contact: for a while there are
two clusters. They must never both serve a block.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import Settings
from deploy.lab.node import Node, wait_until
from tests.ledger import Ledger
from tests.net.probes import names, probing

BLOCKS = 256
RATE = 1300
"""Probes a second."""


@contextmanager
def probed(cluster: Cluster) -> Iterator[Ledger]:
    """A cluster that has settled; at the end everything is answered, and nothing was ever twice."""
    ledger = Ledger(names(cluster), prefix=f"settings {secrets.token_hex(4)} ")
    cluster.wait_settled()
    with probing(cluster, ledger, BLOCKS, RATE):
        wait_until("every block is answered", lambda: len(ledger.answered(0)) == BLOCKS)
        yield ledger
        cluster.wait_settled()
        since = time.monotonic_ns()
        wait_until("every block is answered", lambda: len(ledger.answered(since)) == BLOCKS)
    assert ledger.twice() == []


def waited(node: Node) -> bool:
    """Whether a daemon is past its start-up wait."""
    status = node.status()
    return status is not None and any(d.name == node.name and d.waited for d in status.directors)


def change(node: Node, settings: Settings) -> None:
    """What the operator does on one director: stop, edit, start, and wait until it takes part."""
    node.stop()
    node.own = settings
    node.start()
    node.wait_ready()
    wait_until(f"{node.name} is past its start-up wait", lambda: waited(node))


def test_deadtime_and_blocks_are_changed_director_by_director() -> None:
    settings: Settings = {"times": {"deadtime": "300ms"}, "[id]": {"blocks": 2 * BLOCKS}}
    shape = clusters.plan(3, blocks=BLOCKS)
    with Cluster(f"saru-settings-{uuid.uuid4().hex[:6]}", shape) as cluster, probed(cluster):
        for node in cluster.directors:
            change(node, settings)


def test_a_voter_is_added() -> None:
    shape = clusters.plan(4, blocks=BLOCKS)
    made = Cluster(f"saru-settings-{uuid.uuid4().hex[:6]}", shape)
    old, added = made.directors[:3], made.directors[3]
    for node in old:
        node.own = {"cluster": {"nodes": [one.name for one in old]}}
    made.up(boot=False)
    try:
        made.boot(*(node.name for node in old))
        with probed(made):
            made.boot(added.name)
            for node in old:
                change(node, {})
    finally:
        made.down()

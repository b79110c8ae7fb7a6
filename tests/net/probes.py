# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes into every block of a cluster of namespaces, and an ear on every director's cable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Prober
from deploy.demonstration.record import Family, Record
from deploy.demonstration.stage import Tap
from deploy.lab import topology
from deploy.lab.cluster import Cluster

DRAIN_SECONDS = 0.5
"""What an answer may need."""


def names(cluster: Cluster) -> dict[str, str]:
    """The directors by the MAC that stands in place of the shared one in what they send."""
    return {topology.director(node.name).mac(0): node.name for node in cluster.directors}


def ears(cluster: Cluster) -> Tap:
    """The switch's port of every director's eth0."""
    return Tap(
        ports={topology.director(node.name).legs()[0].port: node.name for node in cluster.directors}
    )


@contextmanager
def probing(cluster: Cluster, record: Record, blocks: int, rate: int) -> Iterator[None]:
    """Probe every block without a pause; the record learns who answers. Raises at the end what
    went wrong meanwhile."""
    targets = {
        Family.IPV4: (topology.VIP, topology.PORT),
        Family.IPV6: (topology.VIP6, topology.PORT),
    }
    capture = Capture(record, cluster.name, ears(cluster), targets)
    prober = Prober(record, cluster.client, targets, blocks, rate)
    capture.open()
    prober.start()
    try:
        yield
    finally:
        try:
            prober.stop()
            time.sleep(DRAIN_SECONDS)
        finally:
            capture.stop()

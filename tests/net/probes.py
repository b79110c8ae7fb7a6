# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes into every block of a cluster of namespaces, and an ear on every director's cable."""

from __future__ import annotations

from contextlib import AbstractContextManager

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Prober
from deploy.demonstration.probing import TARGETS
from deploy.demonstration.probing import probing as together
from deploy.demonstration.record import Record
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


def probing(
    cluster: Cluster, record: Record, blocks: int, rate: int
) -> AbstractContextManager[None]:
    """Probe every block without a pause; the record learns who answers. Raises at the end what
    went wrong meanwhile."""
    capture = Capture(record, cluster.name, ears(cluster), TARGETS)
    prober = Prober(record, cluster.client, TARGETS, blocks, rate)
    return together(capture, prober, DRAIN_SECONDS)

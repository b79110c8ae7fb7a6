# SPDX-License-Identifier: GPL-2.0-or-later
"""Planned changes of a cluster of three, and for how long a block that moves has no holder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from deploy.demonstration.prober import source_port
from deploy.lab import topology
from deploy.lab.cluster import Cluster
from deploy.lab.node import wait_until
from saru.core.allocation import plan
from saru.core.blocks import bitmap_blocks
from tests.net.gaps import Gaps


class Change(NamedTuple):
    """A planned change: what brings it about, and the weights of all directors afterwards."""

    name: str
    bring_about: Callable[[], object]
    weights: tuple[int, int, int]


def changes(cluster: Cluster) -> list[Change]:
    """All kinds of them, of the first director, in an order that ends as it begins."""
    one, other, third = cluster.directors
    return [
        Change("drain", lambda: other.run("drain", one.name), (0, 100, 100)),
        Change("undrain", lambda: other.run("undrain", one.name), (100, 100, 100)),
        Change("half the weight", lambda: one.run("weight", one.name, "50"), (50, 100, 100)),
        Change("the whole weight", lambda: third.run("weight", one.name, "100"), (100, 100, 100)),
        Change("stop", one.stop, (0, 100, 100)),
        Change("start", one.start, (100, 100, 100)),
    ]


def longest_gap(cluster: Cluster, change: Change, watched: int) -> tuple[float, float]:
    """Make a change: what `Gaps.longest` says of so many of the blocks that move. In ms."""
    counts, moved = _aim(cluster, change.weights)
    some = [moved[place * len(moved) // watched] for place in range(watched)]
    ports = [source_port(block, cluster.plan.blocks, 1) for block in some]
    with Gaps(cluster.client, (topology.VIP, topology.PORT), ports) as gaps:
        gaps.longest()
        change.bring_about()

        def done() -> bool:
            # Directors that all lapsed, where the machine stood still, begin anew, and the block
            # that does not divide may be somebody else's.
            found = {name: bitmap.bit_count() for name, bitmap in _held(cluster).items()}
            near = all(abs(found[name] - count) <= 1 for name, count in counts.items())
            return near and sum(found.values()) == sum(counts.values())

        wait_until(change.name, done)
        found = gaps.longest()
    cluster.wait_settled()
    return found


def _held(cluster: Cluster) -> dict[str, int]:
    """The blocks that each director holds, as a bitmap, as the second one says."""
    found = dict.fromkeys((node.name for node in cluster.directors), 0)
    status = cluster.directors[1].status(timeout=60)
    assert status is not None
    for run in status.divisions[0].runs:
        if run.holder is not None:
            found[run.holder] |= (1 << run.last + 1) - (1 << run.first)
    return found


def _aim(cluster: Cluster, weights: tuple[int, int, int]) -> tuple[dict[str, int], list[int]]:
    """How many blocks each will hold, and those that change hands for that."""
    now = _held(cluster)
    names = list(now)
    then = plan(cluster.plan.blocks, now, dict(zip(names, weights, strict=True)), names)
    moved = [block for name in names for block in bitmap_blocks(then.get(name, 0) & ~now[name])]
    return {name: then.get(name, 0).bit_count() for name in names}, moved

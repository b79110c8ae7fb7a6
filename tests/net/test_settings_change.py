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
from dataclasses import replace

import pytest

from deploy.lab import cluster as clusters
from deploy.lab import configuration
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import NAMESPACES, Places, Plan, Settings
from deploy.lab.node import Node, wait_until
from tests.ledger import Ledger
from tests.net import restart
from tests.net.probes import names, probing

BLOCKS = 256
RATE = 1300
"""Probes a second."""


@contextmanager
def probed(cluster: Cluster, blocks: int = BLOCKS) -> Iterator[Ledger]:
    """A cluster that has settled; at the end everything is answered, and nothing was ever twice."""
    ledger = Ledger(names(cluster), prefix=f"settings {secrets.token_hex(4)} ")
    cluster.wait_settled()
    with probing(cluster, ledger, blocks, RATE):
        wait_until("every block is answered", lambda: len(ledger.answered(0)) == blocks)
        yield ledger
        cluster.wait_settled()
        since = time.monotonic_ns()
        wait_until("every block is answered", lambda: len(ledger.answered(since)) == blocks)
    assert ledger.twice() == []


def waited(node: Node) -> bool:
    """Whether a daemon is past its start-up wait."""
    status = node.status()
    return status is not None and any(d.name == node.name and d.waited for d in status.directors)


def edit(cluster: Cluster, node: Node, settings: Settings) -> None:
    """Write a director's file with settings of its own; its daemon has not read it yet."""
    node.own = settings
    places = Places(
        authkeys=cluster.directory / "authkeys",
        run=node.directory / "run",
        state=node.directory / "state",
    )
    node.config.write_text(configuration.config(cluster.plan, node.name, places, settings))


def change(cluster: Cluster, node: Node, settings: Settings) -> None:
    """What the README says for one director: edit, restart, and wait until it takes part."""
    edit(cluster, node, settings)
    assert "cannot pause, for the configuration has changed in " in restart.end(node)
    node.start()
    node.wait_ready()
    wait_until(f"{node.name} is past its start-up wait", lambda: waited(node))


@contextmanager
def switched_off(shape: Plan) -> Iterator[Cluster]:
    """A cluster whose nodes are to be booted."""
    cluster = Cluster(f"saru-settings-{uuid.uuid4().hex[:6]}", shape)
    cluster.up(boot=False)
    try:
        yield cluster
    finally:
        cluster.down()


DEADTIMES = {
    "shorter": (NAMESPACES, {"deadtime": "300ms"}),
    "longer": (replace(NAMESPACES, deadtime=300), {"deadtime": "600ms", "initdead": "1300ms"}),
}
"""The times before, and what of them is changed."""


@pytest.mark.parametrize("deadtime", DEADTIMES)
@pytest.mark.parametrize("directors", [2, 3])
def test_deadtime_and_blocks_are_changed_director_by_director(
    directors: int, deadtime: str
) -> None:
    """Two have no quorum, before and after."""
    before, after = DEADTIMES[deadtime]
    settings: Settings = {"times": after, "[id]": {"blocks": 2 * BLOCKS}}
    shape = clusters.plan(directors, times=before, blocks=BLOCKS)
    with Cluster(f"saru-settings-{uuid.uuid4().hex[:6]}", shape) as cluster, probed(cluster):
        for node in cluster.directors:
            change(cluster, node, settings)


def test_a_voter_is_added() -> None:
    with switched_off(clusters.plan(4, blocks=BLOCKS)) as cluster:
        old, added = cluster.directors[:3], cluster.directors[3]
        for node in old:
            node.own = {"cluster": {"nodes": [one.name for one in old]}}
        cluster.boot(*(node.name for node in old))
        with probed(cluster):
            cluster.boot(added.name)
            for node in old:
                change(cluster, node, {})


@pytest.mark.parametrize("first", [True, False], ids=["stopped first", "stopped last"])
@pytest.mark.parametrize("voters", [3, 4])
def test_a_voter_is_removed(voters: int, first: bool) -> None:
    """Of three voters, two go on without a quorum."""
    shape = clusters.plan(voters, blocks=BLOCKS)
    with Cluster(f"saru-settings-{uuid.uuid4().hex[:6]}", shape) as cluster, probed(cluster):
        *kept, removed = cluster.directors
        if first:
            removed.stop()
        for node in kept:
            change(cluster, node, {"cluster": {"nodes": [one.name for one in kept]}})
        if not first:
            removed.stop()


@pytest.mark.parametrize("first", [True, False], ids=["witness first", "witness last"])
def test_a_pair_gets_a_witness(first: bool) -> None:
    """A pair has no quorum, and with a witness it has one."""
    with switched_off(clusters.plan(2, witnesses=1, blocks=BLOCKS)) as cluster:
        pair = cluster.directors
        (witness,) = set(cluster.nodes.values()) - set(pair)
        for node in pair:
            node.own = {"cluster": {"nodes": [one.name for one in pair], "witnesses": []}}
        cluster.boot(*(node.name for node in pair))
        with probed(cluster) as ledger:
            if first:
                cluster.boot(witness.name)
                since = time.monotonic_ns()
                wait_until("all is answered", lambda: len(ledger.answered(since)) == BLOCKS)
            change(cluster, pair[0], {})
            if first:
                wait_until("the majority serves", lambda: pair[0].held() == BLOCKS)
                status = pair[1].status()
                assert status is not None
                why = f"gives way to {pair[0].name}: its settings differ, and it has a majority"
                assert f"{pair[1].name} {why}" in status.problems
            change(cluster, pair[1], {})
            if not first:
                cluster.boot(witness.name)

# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that comes up as a copy of another one: one name, one incarnation, real packets."""

from __future__ import annotations

from deploy.lab import cluster as clusters
from deploy.lab.node import Node, wait_until
from tests.net.test_voters import BLOCKS, CALM, probed, wait_answered


def namesake(node: Node) -> str:
    """From where a daemon hears another one of its name."""
    status = node.status()
    return status.namesake if status else ""


def test_two_hosts_of_one_name_let_go_while_they_hear_each_other() -> None:
    with probed(clusters.plan(3, times=CALM, blocks=BLOCKS)) as (cluster, ledger):
        walter, wendy, twin = cluster.nodes.values()
        wait_answered(ledger)
        assert not namesake(walter)
        twin.stop()
        (twin.directory / "state/saru.incarnation").unlink()
        twin.own = {"director": {"name": walter.name}}
        twin.start()
        twin.wait_ready()
        for one in (walter, twin):
            wait_until("each hears the other", lambda: namesake(one))  # noqa: B023
            status = one.status()
            assert status is not None
            assert (status.node, status.incarnation) == (walter.name, 1)
            assert any("another daemon called walter is heard" in p for p in status.problems)
        wait_until("wendy has all blocks", lambda: wendy.held() == BLOCKS)
        assert (walter.held(), twin.held()) == (0, 0)
        wait_answered(ledger)
        assert "holds nothing (another daemon called walter is heard from" in walter.log()
        twin.stop()
        wait_until("walter has blocks again", walter.held)
        wait_answered(ledger)
        assert not namesake(walter)
        assert not ledger.twice()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Directors that agree by a real ZooKeeper ensemble: single faults, looked at closely.

Every block is probed without a pause; no probe may ever be accepted by two directors. How long
blocks were unanswered is printed: those figures stand in saru/membership/README.md.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from deploy.lab import cluster as clusters
from deploy.lab import topology
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import NAMESPACES, Settings, Times
from deploy.lab.node import Node, wait_until
from saru.core.ensemble.record import Document
from saru.status import Status
from saru.wire import znodes
from tests.ledger import Ledger
from tests.net.faults_zookeeper import ensemble_of, sessions
from tests.net.probes import names, probing

BLOCKS = 256
RATE = 1300
"""Probes a second: each block five times."""
GENEROUS = Times(keepalive=200, deadtime=4000, initdead=8200, join_delay=0)
"""A lease that outlasts the election of another leader many times."""


GONE = "the connection with ZooKeeper is gone"

EASY = Times(keepalive=200, deadtime=1500, initdead=3100, join_delay=0)
"""Beats may come late on a busy host, and with the fail-safe each director needs those of all
others; nor shall the next master be given up for an answer that is late."""


class Probed:
    """A cluster under probes."""

    def __init__(self, cluster: Cluster, ledger: Ledger) -> None:
        self.cluster = cluster
        self.ledger = ledger

    def answered(self) -> float:
        """Wait until every block is answered: after how many seconds from now."""
        since = time.monotonic_ns()
        found: dict[int, int] = {}

        def so() -> bool:
            found.update(self.ledger.answered(since))
            return len(found) == BLOCKS

        wait_until("every block is answered", so)
        return (max(found.values()) - since) / 1e9

    def unanswered(self, since: int) -> int:
        """How many probes since then nobody answered."""
        return self.ledger.unanswered(since, time.monotonic_ns() - 200 * 10**6)

    def say(self, fault: str, since: int) -> None:
        """Print what a fault cost."""
        longest = self.ledger.longest(since) / 1e9
        print(f"{fault}: {self.unanswered(since)} probes unanswered, no block longer "
              f"than {longest:.2f} s")  # fmt: skip


@contextmanager
def probed(
    servers: int = 3,
    directors: int = 3,
    times: Times | None = None,
    more: Settings | None = None,
    ensemble: Mapping[str, object] | None = None,
) -> Iterator[Probed]:
    """A settled cluster under probes; at the end all is answered, and nothing was twice."""
    shape = clusters.plan(
        directors, blocks=BLOCKS, zookeepers=servers, more=more,
        times=times or NAMESPACES,
    )  # fmt: skip
    cluster = Cluster(f"saru-zk-{uuid.uuid4().hex[:6]}", shape)
    cluster.ensemble = ensemble_of(cluster, dict(ensemble or {}))
    with cluster:
        cluster.wait_settled()
        ledger = Ledger(names(cluster), prefix=f"zookeeper {secrets.token_hex(4)} ")
        with probing(cluster, ledger, BLOCKS, RATE):
            found = Probed(cluster, ledger)
            found.answered()
            yield found
            cluster.wait_settled()
            found.answered()
        assert ledger.twice() == []


def status_of(node: Node) -> Status:
    status = node.status()
    assert status is not None, f"{node.name} does not answer"
    return status


def document(cluster: Cluster) -> Document:
    """The newest allocation, as it stands in ZooKeeper."""
    with cluster.ensemble.client() as client:
        data, _ = client.get("/saru/saru/allocations/1")
    return znodes.decode_document(data, BLOCKS)


def zookeepers(cluster: Cluster) -> list[str]:
    return list(topology.ZOOKEEPERS[: cluster.plan.zookeepers])


def test_a_director_dies_and_its_blocks_are_taken_over() -> None:
    with probed(servers=1) as probe:
        cluster = probe.cluster
        for name in (cluster.master(), next(n for n in cluster.nodes if n != cluster.master())):
            since = time.monotonic_ns()
            cluster.power_cut(name)
            probe.answered()
            probe.say("a director without power", since)
            cluster.boot(name)
            cluster.wait_settled()


def test_a_follower_that_is_cut_from_its_leader_keeps_nobody_alive() -> None:
    """It answers the pings of the director that hangs on it for 2 s: five times the lease."""
    more: Settings = {"zookeeper": {"session_timeout": "2s"}}
    with probed(more=more, ensemble={"syncLimit": 20}) as probe:
        cluster = probe.cluster
        cluster.ensemble.wait_led()
        follower = next(s for s in cluster.ensemble.servers if not s.leads())
        node = next(n for n in cluster.nodes.values() if n.name != cluster.master())
        node.stop()
        node.own = {"zookeeper": {"hosts": [f"{follower.address}:2181"]}}
        node.start()
        node.wait_ready()
        cluster.wait_settled()
        session = sessions_of(node)
        since, before = time.monotonic_ns(), len(node.log())
        others = [s.name for s in cluster.ensemble.servers if s is not follower]
        cluster.cut([[follower.name], others])
        wait_until("the follower gives up", lambda: GONE in node.log()[before:])
        told = node.log()[before:]
        assert "lapsed (" in told[: told.index(GONE)], "it believed a follower's answers"
        probe.answered()
        probe.say("a follower cut from its leader, with a director on it", since)
        cluster.heal()
        wait_until("it has a new session", lambda: sessions_of(node) not in (None, session))


def sessions_of(node: Node) -> str | None:
    ensemble = status_of(node).zookeeper
    return ensemble.session if ensemble is not None else None


def test_a_master_that_was_paused_past_its_session_writes_nothing() -> None:
    with probed(times=EASY) as probe:
        cluster = probe.cluster
        old = cluster.node(cluster.master())
        term = document(cluster).allocation.version.term
        since = time.monotonic_ns()
        old.freeze()
        wait_until(
            "another term's allocation",
            lambda: document(cluster).allocation.version.term > term,
        )
        probe.answered()
        probe.say("the master's daemon stopped", since)
        newest = document(cluster).allocation.version
        old.thaw()
        wait_until("it resigns", lambda: f"resigns as master of term {term}" in old.log())
        cluster.wait_settled()
        assert document(cluster).allocation.version >= newest
        assert document(cluster).allocation.version.term == newest.term


def test_the_ensemble_is_gone_for_ten_session_timeouts() -> None:
    with probed() as probe:
        since = time.monotonic_ns()
        gone_and_back(probe.cluster, 10)
        probe.cluster.wait_settled()
        probe.answered()
        probe.say("the ensemble gone for ten session timeouts", since)


def test_with_the_fail_safe_nobody_notices_that_the_ensemble_is_gone() -> None:
    more: Settings = {"zookeeper": {"failsafe": True}}
    with probed(times=EASY, more=more) as probe:
        cluster = probe.cluster
        since = time.monotonic_ns()

        def in_force() -> None:
            for node in cluster.nodes.values():
                ensemble = status_of(node).zookeeper
                assert ensemble is not None
                assert ensemble.failing_safe
                assert "fail-safe: in force" in node.run("status")

        gone_and_back(cluster, 10, in_force)
        cluster.wait_settled()
        probe.answered()
        probe.say("the same, with the fail-safe", since)
        lapsed = [n.name for n in cluster.nodes.values() if "lapsed (" in n.log()]
        print(f"lapsed: {lapsed}")


def gone_and_back(cluster: Cluster, sessions: int, meanwhile: object = None) -> None:
    """No server is there for so many session timeouts."""
    for server in cluster.ensemble.servers:
        server.kill()
    time.sleep(sessions * cluster.plan.times.deadtime / 1000)
    if callable(meanwhile):
        meanwhile()
    for server in cluster.ensemble.servers:
        server.start()
    cluster.ensemble.wait_serving()


def test_a_rolling_restart_of_the_ensemble_costs_nobody_a_block() -> None:
    with probed(times=GENEROUS) as probe:
        cluster = probe.cluster
        before = document(cluster)
        since = time.monotonic_ns()
        for server in cluster.ensemble.servers:
            server.stop()
            server.start()
            cluster.ensemble.wait_serving()
        probe.answered()
        probe.say("a rolling restart of the ensemble, deadtime 4 s", since)
        assert document(cluster).allocation.grants == before.allocation.grants
        for node in cluster.nodes.values():
            assert "lost" not in node.log()
            assert "lapsed" not in node.log()


def test_sessions_that_end_from_outside_and_roads_that_are_cut() -> None:
    with probed() as probe:
        cluster = probe.cluster
        since = time.monotonic_ns()
        for session in sessions(cluster):
            cluster.ensemble.expire(session)
        cluster.wait_settled()
        probe.answered()
        probe.say("all sessions expired from outside", since)

        one = cluster.directors[0]
        since = time.monotonic_ns()
        cluster.cut([[one.name], zookeepers(cluster)])
        wait_until("it lets go", lambda: one.held() == 0)
        probe.answered()
        probe.say("a director cut from ZooKeeper, not from clients", since)
        cluster.heal()
        cluster.wait_settled()

        leader = cluster.ensemble.leader()
        since = time.monotonic_ns()
        leader.kill()
        cluster.ensemble.wait_led()
        cluster.wait_settled()
        probe.answered()
        probe.say("the leader killed, deadtime 400 ms", since)
        leader.start()
        cluster.ensemble.wait_serving()

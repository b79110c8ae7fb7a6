# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operator does with a cluster that agrees by ZooKeeper, and what he is told."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator

import pytest
from kazoo.exceptions import NoAuthError

from deploy.lab import cluster as clusters
from deploy.lab.cache import LabError
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import Settings, Times
from deploy.lab.node import Node, NodeStoppedError, wait_until
from saru.membership.places import Places
from saru.status import State
from tests.ledger import Ledger
from tests.net.probes import names, probing

BLOCKS = 256
RATE = 1300
"""Probes a second: each block five times."""
CALM = Times(keepalive=200, deadtime=1500, initdead=3100, join_delay=0)
"""Nobody lapses on a busy host while an operator asks for something."""
HEARTBEAT: Settings = {"cluster": {"membership": "heartbeat"}}


@pytest.fixture(name="cluster", scope="module")
def three_directors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Directors with one server, whose znodes are theirs alone; each test leaves them settled."""
    digest = tmp_path_factory.mktemp("secret") / "digest"
    digest.touch(0o600)
    digest.write_text("saru:of-the-directors-alone\n")
    more: Settings = {"zookeeper": {"digest": str(digest)}}
    shape = clusters.plan(3, blocks=BLOCKS, zookeepers=1, times=CALM, more=more)
    with Cluster(f"saru-zkop-{uuid.uuid4().hex[:6]}", shape) as made:
        made.wait_settled()
        yield made


def refused(node: Node, *words: str) -> str:
    with pytest.raises(LabError) as why:
        node.run(*words)
    return str(why.value)


def test_the_status_shows_session_server_and_fail_safe(cluster: Cluster) -> None:
    node = cluster.directors[0]
    text = node.run("status")
    status = json.loads(node.run("status", "--json"))
    server = f"{cluster.ensemble.servers[0].address}:2181"
    session = status["zookeeper"]["session"]
    assert status["membership"] == "zookeeper"
    assert status["zookeeper"]["server"] == server
    assert f"ZooKeeper: session {session} at {server}" in text
    assert "fail-safe: off" in text
    assert "Nothing is wrong." in text


def test_its_znodes_are_nobody_elses(cluster: Cluster) -> None:
    places = Places("/saru", "saru")
    name = cluster.directors[0].name
    some = (
        *("/saru", *places.lasting(), places.settings, places.master),
        *(f"{places.directors}/{name}", f"{places.reports}/{name}", f"{places.allocations}/1"),
    )
    with cluster.ensemble.client() as stranger:
        for path in some:
            with pytest.raises(NoAuthError):
                stranger.get(path)
            with pytest.raises(NoAuthError):
                stranger.set(path, b"")


def test_drain_undrain_and_weight_here_and_elsewhere(cluster: Cluster) -> None:
    here, there = cluster.directors[:2]
    for node in (here, there):
        said = here.run("drain", node.name)
        assert "to " in said
        assert node.held() == 0
        assert node.sees(node.name, State.DRAINED)
        assert "drained by an operator" in cluster.directors[2].run("status")
        here.run("undrain", node.name)
        cluster.wait_settled()
    here.run("weight", there.name, "300")
    wait_until("it holds three fifths", lambda: there.held() >= BLOCKS * 3 // 5)
    here.run("weight", there.name, "100")
    cluster.wait_settled()
    assert "there is no director nobody" in refused(here, "drain", "nobody")


def test_a_daemon_leaves_and_comes_back_and_none_can_pause(cluster: Cluster) -> None:
    node = cluster.node(cluster.master())
    assert "cannot pause" in refused(node, "pause")
    node.run("leave")
    wait_until("its daemon ends", lambda: not node.running)
    cluster.wait_settled()
    assert "does not run" in refused(cluster.node(cluster.master()), "drain", node.name)
    node.start()
    node.wait_ready()
    cluster.wait_settled()


def test_who_has_other_settings_waits_and_says_which(cluster: Cluster) -> None:
    node = cluster.directors[2]
    node.stop()
    node.own = {"times": {"deadtime": "1600ms", "initdead": "3300ms"}}
    node.start()
    node.wait_ready()
    differs = "differ from ours in times.deadtime, times.initdead"
    wait_until("it says so", lambda: differs in node.run("status"))
    others = cluster.directors[:2]
    wait_until("the others have all", lambda: sum(n.held() for n in others) == BLOCKS)
    for other in others:  # when all have stopped, whoever is there decides
        other.stop()
    wait_until("its settings count", lambda: differs not in node.run("status"))
    node.stop()
    node.own = {}
    for one in cluster.directors:
        one.start()
    for one in cluster.directors:
        one.wait_ready()
    cluster.wait_settled()


def test_a_second_director_of_a_name_waits(cluster: Cluster) -> None:
    """Two hosts called the same: the second takes no part, and says why."""
    node, other = cluster.directors[:2]
    other.stop()
    other.own = {"director": {"name": node.name}}
    other.start()
    other.wait_ready()
    told = f"another director called {node.name} is registered"
    wait_until("it says so", lambda: told in other.run("status"))
    assert other.held() == 0
    other.stop()
    other.own = {}
    other.start()
    other.wait_ready()
    cluster.wait_settled()


def test_there_is_no_way_back_by_itself(cluster: Cluster) -> None:
    node = cluster.directors[0]
    node.stop()
    node.own = HEARTBEAT
    node.start()
    with pytest.raises(NodeStoppedError, match="has gone by ZooKeeper"):
        node.wait_ready()
    node.own = {}
    node.start()
    node.wait_ready()
    cluster.wait_settled()


def test_a_running_cluster_moves_from_heartbeat_director_by_director() -> None:
    shape = clusters.plan(3, blocks=BLOCKS, zookeepers=3, times=CALM)
    with Cluster(f"saru-zkmove-{uuid.uuid4().hex[:6]}", shape) as moving:
        for node in moving.nodes.values():
            node.stop()
            node.own = HEARTBEAT
            (node.directory / "state/saru.zookeeper").unlink()
            node.start()
        moving.wait_settled()
        assert "quorum: majority" in moving.directors[0].run("status")
        ledger = Ledger(names(moving), prefix=f"{moving.name} ")
        with probing(moving, ledger, BLOCKS, RATE):
            wait_until("every block is answered", lambda: len(ledger.answered(0)) == BLOCKS)
            since = time.monotonic_ns()
            for node in moving.directors:
                node.stop()
                node.own = {}
                node.start()
                node.wait_ready()
            moving.wait_settled()
            after = time.monotonic_ns()
            wait_until("every block is answered", lambda: len(ledger.answered(after)) == BLOCKS)
        print(f"unanswered for {ledger.longest(since) / 1e9:.2f} s at most")
        assert ledger.twice() == []

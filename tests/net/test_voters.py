# SPDX-License-Identifier: GPL-2.0-or-later
"""Real daemons and real packets: few voters, and restarts without a break."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import NAMESPACES, Plan, Times
from deploy.lab.node import Node, wait_until
from saru.status import State
from tests.ledger import Ledger
from tests.net.faults import VIP
from tests.net.probes import names, probing
from tests.net.restart import Successor
from tests.net.stormed import RATE

BLOCKS = 256
# No lapse for a busy machine's sake, where blocks are to stay where they are.
CALM = Times(keepalive=300, deadtime=3000, initdead=6150, join_delay=0)
# A restart is three programs of Python here (rules, link, daemon), and this machine may be busy.
LONG = Times(keepalive=1000, deadtime=10_000, initdead=20_500, join_delay=0)
GAP = 2.0
"""Seconds for which a block may go unanswered in a rolling restart; a fifth of the lease.

Nothing moves in one, so nobody needs any of them; but where the machine is busy a probe may be
lost, and the next one of its block be late.
"""
# The start of a daemon fits into the lease, and its wait does not take too long.
LASTING = Times(keepalive=600, deadtime=6000, initdead=12_300, join_delay=0)


@contextmanager
def probed(shape: Plan) -> Iterator[tuple[Cluster, Ledger]]:
    """A settled cluster, with probes into every block all the time."""
    with Cluster(f"saru-voters-{uuid.uuid4().hex[:6]}", shape) as cluster:
        cluster.wait_settled()
        ledger = Ledger(names(cluster), prefix=f"{cluster.name} ")
        with probing(cluster, ledger, BLOCKS, RATE):
            yield cluster, ledger


def wait_answered(ledger: Ledger) -> None:
    """Every block is answered by somebody, from now on."""
    since = time.monotonic_ns()
    wait_until("every block is answered", lambda: len(ledger.answered(since)) == BLOCKS)


def changes(cluster: Cluster) -> list[str]:
    """What the daemons have told of blocks gained and lost."""
    lines = [line for node in cluster.nodes.values() for line in node.log().splitlines()]
    return [line for line in lines if "gained" in line or "lost" in line]


def restarted(node: Node, ledger: Ledger) -> None:
    """A pause, with the kernel left alone in between."""
    status = node.status()
    assert status is not None
    node.run("pause")
    wait_until("the daemon has ended", lambda: not node.running)
    wait_answered(ledger)
    assert not node.running
    node.start()
    node.wait_ready()
    after = node.status()
    assert after is not None
    assert after.session == status.session, node.log()


def test_a_rolling_restart_costs_no_block_its_holder(figures: Callable[[str], None]) -> None:
    with probed(clusters.plan(3, times=LONG, blocks=BLOCKS)) as (cluster, ledger):
        wait_answered(ledger)
        before, begun = changes(cluster), time.monotonic_ns()
        for node in cluster.nodes.values():
            restarted(node, ledger)
            assert "goes on after a pause" in node.log()
        wait_until("a master is heard by all", lambda: not cluster.unsettled())
        wait_answered(ledger)
        longest, took = ledger.longest(begun) / 1e9, (time.monotonic_ns() - begun) / 1e9
        figures(f"{took:.1f} s; a block went unanswered for {longest:.3f} s at worst")
        assert changes(cluster) == before
        assert not ledger.twice()
        assert longest <= GAP


def test_a_daemon_that_was_killed_leaves_its_table_to_its_deadline() -> None:
    """The next one neither empties it nor renews it; the others have the blocks after it."""
    with probed(clusters.plan(3, times=LASTING, blocks=BLOCKS)) as (cluster, ledger):
        walter, *others = cluster.nodes.values()

        def table() -> dict[str, object]:
            found = json.loads(walter.run("table", "get", "1", "--json"))["table"]
            return {key: found[key] for key in ("term", "serial", "held", "deadline_ns")}

        wait_answered(ledger)
        with Successor(walter) as successor:
            walter.kill()
            before = table()
            successor.begin()
        said = f"{walter.name}: the kernel's table of id 1 goes on for"
        wait_until("the next daemon has seen it", lambda: said in walter.log())
        assert table() == before
        wait_until("the others have all", lambda: sum(map(Node.held, others)) == BLOCKS)
        wait_answered(ledger)
        wait_until("it is ready", lambda: not walter.sees(walter.name, State.WAITING))
        cluster.wait_settled()
        wait_answered(ledger)
        assert not ledger.twice()


def test_two_directors_and_a_witness_are_safe_and_go_on_without_one_of_the_three() -> None:
    with probed(clusters.plan(2, witnesses=1, times=NAMESPACES, blocks=BLOCKS)) as (
        cluster,
        ledger,
    ):
        walter, wendy, witness = cluster.nodes.values()
        assert witness.witness
        assert witness.sees(witness.name, State.WITNESS)
        assert witness.held() == 0
        for alone, other in ((walter, wendy), (wendy, walter)):
            cluster.cut([[alone.name], [other.name, witness.name]])
            wait_until("the other has all", lambda: other.held() == BLOCKS)  # noqa: B023
            assert alone.held() == 0
            wait_answered(ledger)
            cluster.heal()
            cluster.wait_settled()
        cluster.pull(walter.name, VIP)
        wait_until("wendy has all, as no client reaches walter", lambda: wendy.held() == BLOCKS)
        wait_answered(ledger)
        status = walter.status()
        assert status is not None
        assert f"{VIP}: has no carrier: {walter.name} takes no blocks" in status.problems
        cluster.plug(walter.name, VIP)
        wait_until("walter has blocks again", walter.held)
        cluster.wait_settled()
        cluster.power_cut(witness.name)
        wait_until("the witness is missed", lambda: walter.sees(witness.name, State.SILENT))
        cluster.wait_settled()
        wait_answered(ledger)
        assert not ledger.twice()


def test_without_a_quorum_both_sides_of_a_cut_serve_and_say_what_that_means() -> None:
    with probed(clusters.plan(2, times=NAMESPACES, blocks=BLOCKS)) as (cluster, ledger):
        assert not ledger.twice()
        walter, wendy = cluster.nodes.values()
        for node in (walter, wendy):
            assert 'The quorum is "none"' in node.log()
            assert "in such a partition two of them accept the same block" in node.log()
        cluster.cut([[walter.name], [wendy.name]])
        for node, other in ((walter, wendy), (wendy, walter)):
            wait_until("it serves everything", lambda: node.held() == BLOCKS)  # noqa: B023
            status = node.status()
            assert status is not None
            said = " ".join(status.problems)
            assert 'quorum is "none": directors that are cut off from each other' in said
            assert f"{other.name} may be serving the same blocks as {node.name} now" in said
        wait_answered(ledger)
        wait_until("two accept the same block, as they said", ledger.twice)
        cluster.heal()
        cluster.wait_settled()
        # What was on its way when they settled is known by now.
        wait_answered(ledger)
        before = len(ledger.twice())
        wait_answered(ledger)
        assert len(ledger.twice()) == before
        for node in (walter, wendy):
            status = node.status()
            assert status is not None
            assert "may be serving" not in " ".join(status.problems)


def test_who_reaches_fewer_ping_nodes_gives_way_and_if_all_do_nothing_changes() -> None:
    ping = {"nodes": ["172.17.1.1"], "interval": "150ms", "deadping": "1500ms"}
    shape = clusters.plan(2, witnesses=1, times=CALM, blocks=BLOCKS, more={"ping": ping})
    with Cluster(f"saru-voters-{uuid.uuid4().hex[:6]}", shape) as cluster:
        cluster.wait_settled()
        walter, wendy, _ = cluster.nodes.values()

        def reaches(node: Node, count: int) -> bool:
            return all(
                {d.name: d.reached for d in status.directors}[node.name] == count
                for by in (walter, wendy)
                if (status := by.status())
            )

        for node in (walter, wendy):
            wait_until("both know of it", lambda: reaches(node, 1))  # noqa: B023
        cluster.cut([[walter.name], ["client"]])
        wait_until("the other has all", lambda: wendy.held() == BLOCKS)
        assert walter.held() == 0
        status = wendy.status()
        assert status is not None
        (seen,) = (d for d in status.directors if d.name == walter.name)
        assert State.DRAINED in seen.states
        assert seen.why == "gives way: it reaches fewer ping nodes than another director"
        assert seen.reached == 0
        assert f"{walter.name}: gives way (ping nodes reached: walter 0, wendy 1)" in walter.log()
        assert "lapsed" not in walter.log()

        cluster.heal()
        wait_until("he takes part again", walter.held)
        cluster.wait_settled()
        before = changes(cluster)
        cluster.cut([[walter.name, wendy.name], ["client"]])
        for node in (walter, wendy):
            wait_until("it is lost to both", lambda: reaches(node, 0))  # noqa: B023
        status = walter.status()
        assert status is not None
        assert "the ping node 172.17.1.1 has not answered for" in " ".join(status.problems)
        sent = beats_sent(walter)
        wait_until("time has passed", lambda: beats_sent(walter) > sent + 12)
        assert changes(cluster) == before


def beats_sent(node: Node) -> int:
    status = node.status()
    return status.counters.beats_sent if status else 0

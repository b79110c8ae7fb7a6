# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster of namespaces: its power switches, its wires, and what is left of it.

Its nodes are witnesses here; directors that share the VIP are the demonstration's business.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import configuration
from deploy.lab.cache import PROJECT, LabError
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import Plan
from deploy.lab.node import wait_until
from saru.status import State

WITNESSES = ("wendy", "wanda", "willem")
SHAPE = Plan(("walter",), configuration.NAMESPACES, WITNESSES, rules_mode="conntrack")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """walter is off: a majority of the voters is there without him."""
    made = Cluster(f"saru-test-{uuid.uuid4().hex[:8]}", SHAPE)
    made.up(boot=False)
    try:
        made.boot(*WITNESSES)
        yield made
    finally:
        made.down()
    assert leftovers(made.name) == []


def leftovers(name: str) -> list[Path]:
    return [*Path("/run/netns").glob(f"{name}*"), *Path("/run").glob(f"{name}*")]


def wait_one_master(cluster: Cluster) -> str:
    nodes = [cluster.node(name) for name in WITNESSES]

    def found() -> set[str | None]:
        return {status.master if (status := node.status()) else None for node in nodes}

    wait_until("all hear one master", lambda: len(found()) == 1 and None not in found())
    return cluster.master()


def test_a_power_cut_leaves_nothing_of_a_node_and_it_boots_again(cluster: Cluster) -> None:
    lost = cluster.node(wait_one_master(cluster))
    other = next(cluster.node(name) for name in WITNESSES if name != lost.name)
    pid, before = lost.pid, lost.status()
    cluster.power_cut(lost.name)
    assert not lost.on
    assert not lost.running
    assert not Path(f"/proc/{pid}").exists()
    wait_until("he is missed", lambda: other.sees(lost.name, State.SILENT))
    with pytest.raises(LabError, match="off already"):
        cluster.power_cut(lost.name)

    cluster.boot(lost.name)
    wait_one_master(cluster)
    after = lost.status()
    assert before is not None
    assert after is not None
    assert after.incarnation == before.incarnation + 1  # its disk outlives the power cut
    with pytest.raises(LabError, match="on already"):
        cluster.boot(lost.name)


def test_a_daemon_is_frozen_thawed_killed_and_stopped(cluster: Cluster) -> None:
    wendy, wanda = cluster.node("wendy"), cluster.node("wanda")
    wait_one_master(cluster)
    wendy.freeze()
    wait_until("wendy is missed", lambda: wanda.sees("wendy", State.SILENT))
    assert wendy.running
    wendy.thaw()
    wait_until("wendy is back", lambda: not wanda.sees("wendy", State.SILENT))
    wendy.kill()
    assert not wendy.running
    assert wendy.on
    wait_until("wendy is missed", lambda: wanda.sees("wendy", State.SILENT))
    wendy.start()
    wendy.wait_ready()
    assert wendy.stop() == 0
    wait_until("wendy has left", lambda: wanda.sees("wendy", State.LEFT))


def test_a_daemon_that_cannot_start_is_told_of(cluster: Cluster) -> None:
    wendy = cluster.node("wendy")
    wendy.stop()
    wendy.own = {"times": {"deadtime": "never"}}
    wendy.start()
    with pytest.raises(LabError, match=r"wendy: no daemon: .*times\.deadtime"):
        wendy.wait_ready()


def test_wires_are_cut_lossy_one_way_and_healed(cluster: Cluster) -> None:
    wendy, wanda = cluster.node("wendy"), cluster.node("wanda")
    wait_one_master(cluster)
    cluster.cut([["wendy"], ["wanda", "willem"]])
    wait_until("wendy is missed", lambda: wanda.sees("wendy", State.SILENT))
    wait_until("wanda is missed", lambda: wendy.sees("wanda", State.SILENT))
    cluster.heal()
    wait_until("wendy is back", lambda: not wanda.sees("wendy", State.SILENT))
    wait_until("wanda is back", lambda: not wendy.sees("wanda", State.SILENT))

    cluster.lose("wendy", "wanda")
    wait_until("wendy is missed", lambda: wanda.sees("wendy", State.SILENT))
    assert not wendy.sees("wanda", State.SILENT)
    cluster.lose("wendy", "wanda", 50)
    ping = ["ping", "-q", "-i", "0.005", "-W", "1", "-c", "100", "192.168.6.13"]
    told = subprocess.run(
        ["ip", "netns", "exec", wendy.namespace, *ping], capture_output=True, text=True, check=False
    )
    lost = re.search(r"([\d.]+)% packet loss", told.stdout)
    assert lost is not None, told
    assert 0 < float(lost[1]) < 100


def test_cables_are_pulled_and_plugged_in(cluster: Cluster) -> None:
    wanda = cluster.node("wanda")
    wait_one_master(cluster)
    cluster.pull("wendy", "eth1")
    cluster.pull("wendy", "eth2")
    wait_until("wendy is missed", lambda: wanda.sees("wendy", State.SILENT))
    cluster.plug("wendy", "eth2")
    wait_until("wendy is back", lambda: not wanda.sees("wendy", State.SILENT))


def test_what_somebody_killed_leaves_is_cleaned_up_by_its_name(tmp_path: Path) -> None:
    name = f"saru-test-{uuid.uuid4().hex[:8]}"
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from tests.net.test_cluster import SHAPE, WITNESSES, Cluster\n"
        f"cluster = Cluster({name!r}, SHAPE)\n"
        "cluster.up(boot=False)\n"
        "cluster.boot(*WITNESSES)\n"
        "cluster.node('wendy').freeze()\n"
        "print(*(cluster.node(name).pid for name in WITNESSES), flush=True)\n"
        "time.sleep(3600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        try:
            pids = owner.stdout.readline().split()
            assert len(pids) == len(WITNESSES)
            owner.send_signal(signal.SIGKILL)
            owner.wait()
        finally:
            Cluster(name, SHAPE).down()
    # Whoever adopts orphans may be slow to bury them.
    wait_until("no daemon is left", lambda: not any(alive(pid) for pid in pids))
    assert leftovers(name) == []


def alive(pid: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

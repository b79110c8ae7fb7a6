# SPDX-License-Identifier: GPL-2.0-or-later
"""Planned changes by the command line, on real directors with nftables' tables."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from deploy.lab import cluster as clusters
from deploy.lab.cache import PROJECT
from deploy.lab.cluster import Cluster
from deploy.lab.configuration import Times
from deploy.lab.node import Node, wait_until
from saru.status import State

CALM = Times(keepalive=200, deadtime=2000, initdead=4100, join_delay=300)
"""Nobody lapses on a busy host while an operator asks for something."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(f"saru-operator-{uuid.uuid4().hex[:6]}", clusters.plan(3, times=CALM)) as made:
        made.wait_settled()
        yield made


def said(node: Node, command: str) -> str:
    """What a command as the README has it prints on a director."""
    program, *words = command.split()
    assert program == "saru"
    return node.run(*words)


def refused(node: Node, *words: str) -> tuple[int, str]:
    """The exit status of a command that is refused, and why."""
    done = subprocess.run(node.saru(*words), cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout == ""
    return done.returncode, done.stderr


def went(line: str) -> dict[str, int]:
    """To whom a line says that how many blocks went."""
    return {name: int(count) for count, name in re.findall(r"(\d+) to (\w+)", line)}


def test_what_the_readme_says_of_planned_changes(cluster: Cluster) -> None:
    walter, wendy, wanda = cluster.directors
    blocks = cluster.plan.blocks
    mine = walter.held()

    lines = said(walter, "saru drain").splitlines()
    assert (walter.held(), wendy.held() + wanda.held()) == (0, blocks)
    assert set(went(lines[0])) == {"wanda", "wendy"}
    assert sum(went(lines[0]).values()) == mine
    assert lines[1:] == ["walter: weight 100, drained, until: saru undrain walter"]

    assert said(walter, "saru drain wendy").splitlines()[0].endswith(f": {blocks // 2} to wanda")
    assert wanda.held() == blocks
    exit_status, why = refused(walter, "drain", "wanda")
    assert exit_status == 1
    assert why.startswith("saru: no other director could take the blocks of wanda now")
    wait_until("wanda knows who is drained", lambda: wanda.sees("wendy", State.DRAINED))
    status = walter.run("status")
    assert "walter: drained by an operator at walter, until: saru undrain walter" in status
    assert "wendy: drained by an operator at walter, until: saru undrain wendy" in status

    # A drain outlasts the daemon.
    walter.stop()
    walter.start()
    walter.wait_ready()
    assert "is drained still (asked for at walter; saru undrain ends that)" in walter.log()
    wait_until("wendy is heard", lambda: walter.sees("wendy", State.DRAINED))
    assert said(walter, "saru undrain wendy") == "wendy: weight 100, not drained\n"
    wait_until("wendy holds its half", lambda: wendy.held() == blocks // 2)
    assert walter.held() == 0
    assert said(walter, "saru undrain") == "walter: weight 100, not drained\n"
    wait_until("all hold their share", lambda: min(n.held() for n in cluster.directors) > 300)

    assert said(walter, "saru weight wendy 50") == "wendy: weight 50, not drained\n"
    wait_until("wendy holds a fifth", lambda: abs(wendy.held() - blocks / 5) < 1)
    assert said(walter, "saru weight wendy 100") == "wendy: weight 100, not drained\n"
    wait_until("wendy holds a third", lambda: wendy.held() >= blocks // 3)

    said(walter, "saru leave")
    wait_until("its process is gone", lambda: not walter.running)
    assert wendy.held() + wanda.held() == blocks
    wait_until("it is known that walter left", lambda: wendy.sees("walter", State.LEFT))
    exit_status, why = refused(walter, "leave")
    assert exit_status == 1
    assert why.startswith("saru: no daemon answers at ")
    assert refused(wendy, "drain", "walter") == (
        1,
        "saru: walter has left: its daemon does not run\n",
    )


def test_what_cannot_be_asked_is_said_once(cluster: Cluster) -> None:
    wendy = cluster.nodes["wendy"]
    wait_until("wanda is heard", lambda: wendy.sees("wanda", State.DIRECTOR))
    assert refused(wendy, "weight", "wilma", "7") == (
        2,
        "saru: there is no director wilma; there are walter, wanda, wendy\n",
    )
    exit_status, why = refused(wendy, "weight", "wanda", "65536")
    assert exit_status == 2
    assert why.count("\n") == 1

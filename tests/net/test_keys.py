# SPDX-License-Identifier: GPL-2.0-or-later
"""A secret is changed on a running cluster: no beat is lost, and no step is taken too early.

Most daemons here are witnesses; of directors, no block loses its holder either.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from deploy.lab.node import Node, wait_until
from saru.status import Key
from tests.net.netns import eventually
from tests.net.test_daemon import NODES, Daemon, cluster
from tests.net.test_settings_change import probed
from tests.net.test_voters import CALM, changes

OLD, NEW = "1 sha256 ultramonkey\n", "2 sha256 ultragorilla\n"
BLOCKS = 32
"""So few that each of them is probed every 25 ms."""
AT_MOST_MS = 1000
"""For so long a busy machine may leave a block that has a holder without an answer."""


def key(daemon: Daemon | Node, number: int) -> Key | None:
    """What a daemon's status says of one of its keys."""
    status = daemon.status()
    return next((k for k in status.keys if k.number == number), None) if status else None


def reload(daemon: Daemon, content: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Give a daemon other keys, as the operator does."""
    path = daemon.config.parent / "authkeys"  # in the folder that all of them share
    path.write_text(content)
    command = daemon.command("reload", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def all_heard(daemons: Mapping[str, Daemon | Node], number: int) -> bool:
    """Whether everybody knows that everybody accepts a key."""
    found = [key(daemon, number) for daemon in daemons.values()]
    return all(k is not None and len(k.accepting) == len(daemons) for k in found)


def unused(daemon: Daemon | Node, number: int) -> bool:
    """Whether a daemon knows of nobody that signs with a key."""
    found = key(daemon, number)
    return found is not None and not found.signing


def unlike(daemons: Mapping[str, Daemon | Node]) -> dict[str, int]:
    """By daemon, how many datagrams it could not verify."""
    found = {}
    for name, daemon in daemons.items():
        status = daemon.status()
        assert status is not None
        found[name] = status.counters.forged
    return found


def test_a_secret_is_changed_in_three_steps_and_no_beat_is_lost(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        eventually("all accept key 1", lambda: all_heard(daemons, 1))
        first, *others = daemons.values()

        early = reload(first, f"auth 2\n{OLD}{NEW}")
        assert early.returncode == 1
        assert early.stderr == (
            "saru: the keys stay as they were: "
            "wendy does not accept key 2 yet; add it there first, and sign with it then; "
            "willem does not accept key 2 yet; add it there first, and sign with it then\n"
        )

        for daemon in daemons.values():
            done = reload(daemon, f"auth 1\n{OLD}{NEW}")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == f"{daemon.name}: signs with key 1, accepts 1, 2\n"
        eventually("all accept key 2", lambda: all_heard(daemons, 2))

        assert reload(first, f"auth 2\n{OLD}{NEW}").returncode == 0
        early = reload(first, f"auth 2\n{NEW}")
        assert early.returncode == 1
        assert "wendy still signs with key 1; sign with another one there first" in early.stderr
        (tmp_path / "authkeys").write_text(f"auth 2\n{OLD}{NEW}")
        for daemon in others:
            os.kill(daemon.process.pid, signal.SIGHUP)
        for daemon in daemons.values():
            eventually("nobody signs with key 1", partial(unused, daemon, 1))
            found = key(daemon, 2)
            assert found is not None
            assert found.signing == tuple(sorted(NODES))

        for daemon in daemons.values():
            assert reload(daemon, f"auth 2\n{NEW}").stdout.endswith("accepts 2\n")
        eventually("all accept key 2", lambda: all_heard(daemons, 2))
        assert unlike(daemons) == dict.fromkeys(NODES, 0)


def test_a_secret_is_changed_and_no_block_loses_its_holder() -> None:
    """The directors do each step one after the other, and serve with it half done meanwhile."""
    shape = clusters.plan(3, times=CALM, blocks=BLOCKS)
    with (
        Cluster(f"saru-keys-{uuid.uuid4().hex[:6]}", shape) as lab,
        probed(lab, BLOCKS) as ledger,
    ):
        file = lab.directory / "authkeys"  # of all of them: each reads it when it is told to
        first = file.read_text().partition("\n")[2]
        before, since = changes(lab), time.monotonic_ns()

        def step(content: str) -> None:
            file.write_text(content)
            for node in lab.directors:
                node.run("reload")
                begun = time.monotonic_ns()
                wait_until("all is answered", lambda: len(ledger.answered(begun)) == BLOCKS)  # noqa: B023

        step(f"auth 1\n{first}{NEW}")
        wait_until("all accept key 2", lambda: all_heard(lab.nodes, 2))
        step(f"auth 2\n{first}{NEW}")
        for node in lab.directors:
            wait_until("nobody signs with key 1", partial(unused, node, 1))
        step(f"auth 2\n{NEW}")
        wait_until("all go by key 2 alone", lambda: all_heard(lab.nodes, 2))
        assert not any(key(node, 1) for node in lab.directors)
        assert unlike(lab.nodes) == dict.fromkeys(lab.nodes, 0)
        assert changes(lab) == before
        longest = ledger.longest(since) / 1e6
    print(f"longest without an answer: {longest:.0f} ms")
    assert longest <= AT_MOST_MS


def test_a_faulty_file_changes_nothing_and_is_told(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        eventually("all accept key 1", lambda: all_heard(daemons, 1))
        wanda = daemons["wanda"]
        done = reload(wanda, "auth 3\n" + OLD)
        assert done.returncode == 2
        assert "authkeys:1: there is no key 3; write a line" in done.stderr
        os.kill(wanda.process.pid, signal.SIGHUP)
        eventually("it is in the log", lambda: "there is no key 3; write a line" in wanda.log())
        # The same number, another secret: refused, and if it must be, it is told.
        other = "auth 1\n1 sha256 gibbon\n"
        assert "does not accept key 1 yet" in reload(wanda, other).stderr
        assert reload(wanda, other, "--force").returncode == 0
        eventually("wendy cannot verify it", lambda: unlike(daemons)["wendy"])
        assert reload(wanda, f"auth 1\n{OLD}", "--force").returncode == 0
        eventually("all accept key 1", lambda: all_heard(daemons, 1))

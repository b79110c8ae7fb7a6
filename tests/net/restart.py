# SPDX-License-Identifier: GPL-2.0-or-later
"""Restarts of a node's daemon that are quicker than its lease.

A program needs longer to be loaded than the lease of a lab in namespaces lasts. So the next daemon
is loaded while the one before it runs still, and begins when it is let.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.lab.cache import PROJECT, LabError
from deploy.lab.cluster import Cluster
from deploy.lab.node import PATIENCE, PRIORITY, Node
from saru import config, control
from saru.state import pause as state
from tests.storm import Fault

LOADED = """
import sys
import saru.daemon.service, saru.dataplane.nftables, saru.rules.guard
from saru import cli
print("loaded", flush=True)
if sys.stdin.readline():
    sys.exit(cli.run(sys.argv[1:]))
"""


class Successor:
    """A node's next daemon, loaded, as a context: unless it has begun it ends with that."""

    def __init__(self, node: Node) -> None:
        self._node = node
        words = [
            *("ip", "netns", "exec", node.namespace, *PRIORITY, *node.around),
            *(sys.executable, "-c", LOADED),
            *("--config", str(node.config), "--debug"),
            *("--log_facility", str(node.directory / "saru.log")),
        ]
        with open(node.directory / "start.log", "ab") as log:
            self._process = subprocess.Popen(
                words,
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"loaded\n":
            raise LabError(f"{node.name}: no daemon could be loaded: {node.last_words()}")

    def begin(self) -> None:
        """Be the node's daemon from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.close()
        self._node.adopt(self._process)

    def __enter__(self) -> Successor:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
            self._process.wait()


@dataclass
class Restarts:
    """Those of one storm."""

    gaps: list[float] = field(default_factory=list)
    """Seconds from the end of one daemon until the next one answered, where that was to be at
    once."""

    def _succeeded(self, node: Node, end: Callable[[Node], object]) -> None:
        """Have the node's daemon end, and the next one begin."""
        with Successor(node) as successor:
            end(node)
            begun = time.monotonic()
            successor.begin()
        node.wait_ready()
        self.gaps.append(time.monotonic() - begun)

    def killed(self, _: Cluster, node: Node, chance: random.Random) -> Fault:
        """The daemon dies, and the next one finds the table that the kernel goes on by."""
        times = chance.choice((1, 1, 2, 3))

        def begin() -> None:
            for _ in range(times):
                self._succeeded(node, Node.kill)

        text = f"{node.name}'s daemon killed and started again at once, {times} times"
        return Fault(text, (node.name,), begin, lambda: None)

    def paused(self, _: Cluster, node: Node, chance: random.Random) -> Fault:
        """The daemon pauses, and the next one goes on where it stopped."""
        times = chance.choice((1, 1, 2, 3))

        def begin() -> None:
            for _ in range(times):
                self._succeeded(node, pause)

        text = f"{node.name}'s daemon paused and started again at once, {times} times"
        return Fault(text, (node.name,), begin, lambda: None)

    def suspended(self, _: Cluster, node: Node, __: random.Random) -> Fault:
        """The daemon pauses, and the next one comes when the lease has passed, as a rule."""

        def again() -> None:
            node.start()
            node.wait_ready()

        return Fault(f"{node.name}'s daemon paused", (node.name,), lambda: pause(node), again)

    def summary(self, cluster: Cluster) -> str:
        """What came of it, in words; while the cluster is up."""
        quick = sum(gap < cluster.plan.times.deadtime / 1000 for gap in self.gaps)
        logs = [node.log() for node in cluster.nodes.values()]
        went_on = sum(log.count("goes on after a pause") for log in logs)
        leased = sum(log.count("of its lease left)") for log in logs)
        return (
            f"{len(self.gaps)} restarts at once, {quick} of them within deadtime; after {went_on} "
            f"pauses it went on, after {leased} of them with some of its lease left"
        )


def end(node: Node, *program: str) -> str:
    """Have a node's daemon end as the unit does it for `systemctl restart`: it pauses, or leaves if
    that is refused. Returns what the refusal said; empty without one.

    `program` is what Python is told to run for `saru`, as it is installed now.
    """
    saru = [sys.executable, *(program or ("-m", "saru")), "--config", str(node.config), "pause"]
    words = ["ip", "netns", "exec", node.namespace, *saru]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        node.stop()
    else:
        node.wait_ended()
    return done.stderr


def pause(node: Node) -> None:
    """Have a node's daemon pause, as `saru pause` does, or leave if it cannot; it has ended."""
    asked = state.Asked.by(config.load(node.config)).words()
    control.ask(node.socket, type(None), "pause", timeout=PATIENCE, **asked)
    node.wait_ended()

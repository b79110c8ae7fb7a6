# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps of one director's wall clock, in a namespace that shares its host's.

Where nftables holds the blocks, a step matters to the tables that are in the kernel: their end by
the wall clock was computed before it. Here it is the daemon that reads another clock while it
computes, for as long as a step is to be felt, and the kernel that goes by the right one, as if the
clock had been set just after. So nothing else on the machine sees its clock change.
"""

from __future__ import annotations

import random
import struct
import subprocess
import time
from pathlib import Path

from deploy.lab.cluster import Cluster
from deploy.lab.node import Node
from tests.storm import Fault

SOURCE = Path(__file__).with_name("wall_clock.c")
STEPS = (0.05, 1.0, 3600.0)
"""Seconds."""
_OFFSET = struct.Struct("=q")


class WallClocks:
    """Those of a cluster whose nodes have not started yet; `directory` is for their files."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        library = directory / "wall_clock.so"
        build = ["cc", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
        subprocess.run([*build, "-o", library, SOURCE], check=True)
        self._keepalive = cluster.plan.times.keepalive / 1000
        self._files = {name: directory / f"{name}.offset" for name in cluster.nodes}
        self.steps = 0
        for name, node in cluster.nodes.items():
            self._set(name, 0.0)
            around = {"LD_PRELOAD": library, "SARU_WALL_CLOCK": self._files[name]}
            node.around = ("env", *(f"{key}={value}" for key, value in around.items()))

    def _set(self, name: str, ahead: float) -> None:
        """What the daemon reads is so many seconds ahead of what the kernel does."""
        with open(self._files[name], "r+b" if self._files[name].exists() else "wb") as file:
            file.write(_OFFSET.pack(round(ahead * 1e9)))

    def stepped(self, _: Cluster, node: Node, chance: random.Random) -> Fault:
        """The clock is set forward, and back later; or back, again and again.

        That is felt by all tables that are computed meanwhile, each as if the clock were set just
        after. A step forward lasts for a keepalive: those tables are dead until the next renewal.
        """
        by = chance.choice((1, -1)) * chance.choice(STEPS)

        def step(by: float) -> None:
            self.steps += 1
            self._set(node.name, -by)
            if by > 0:
                time.sleep(self._keepalive)
                self._set(node.name, 0.0)

        def end() -> None:
            if by > 0:
                step(-by)
                time.sleep(self._keepalive)
            self._set(node.name, 0.0)

        return Fault(f"{node.name}'s wall clock {by:+g} s", (node.name,), lambda: step(by), end)

    def __str__(self) -> str:
        return f"wall clocks were set {self.steps} times"

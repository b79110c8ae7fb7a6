# SPDX-License-Identifier: GPL-2.0-or-later
"""For how long a block that moves in a planned change has no holder.

usage: tests/bench/moves [--rounds N] [--json FILE]

Three real daemons in network namespaces, on the nftables data plane. In each round one director is
drained, comes back, weighs half, weighs as much as the others, stops and starts. A client asks once
a millisecond from a few of the blocks that will move; of each change the longest time is taken from
an answered question to the next answered one. A gap in which the client itself was kept from asking
for longer than 3 ms says nothing of the directors, and is left out and counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import uuid
from pathlib import Path
from typing import Any

from deploy.lab import cluster as clusters
from deploy.lab.cluster import Cluster
from deploy.lab.node import Node
from tests.net.gaps import go_first
from tests.net.moving import changes, longest_gap

WATCHED = 4
"""Blocks."""
LATE_MS = 3.0
"""So long may it be from one question to the next in a gap that counts."""


def measure(rounds: int) -> dict[str, Any]:
    """By change: the gaps in ms, and those in which the client was kept from asking."""
    found: dict[str, Any] = {}
    with Cluster(f"saru-moves-{uuid.uuid4().hex[:6]}", clusters.plan(3)) as cluster:
        cluster.wait_settled()
        for node in cluster.directors:
            for pid in answering(node):
                go_first(pid)
        for _ in range(rounds):
            for change in changes(cluster):
                kept = found.setdefault(change.name, {"gaps": [], "left_out": []})
                gap, between = longest_gap(cluster, change, WATCHED)
                kept["gaps" if between <= LATE_MS else "left_out"].append(gap)
    return found


def answering(node: Node) -> list[int]:
    """The processes that serve the VIP on a node."""
    said = subprocess.run(
        ["ip", "netns", "pids", node.namespace], check=True, capture_output=True, text=True
    )
    pids = [int(word) for word in said.stdout.split()]
    return [pid for pid in pids if b"responder" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def main() -> None:
    """Measure, print, and write the figures where they are asked for."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="of all changes (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    print(f"{'ms without a holder':20} {'median':>7} {'worst':>7} {'rounds':>7} {'left out':>9}")
    for change, what in found.items():
        gaps = what["gaps"] or [float("nan")]
        print(
            f"{change:20} {statistics.median(gaps):7.1f} {max(gaps):7.1f} "
            f"{len(what['gaps']):7} {len(what['left_out']):9}"
        )
    if arguments.json:
        facts = {"benchmark": "moves", "unit": "ms", "load": os.getloadavg(), "changes": found}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()

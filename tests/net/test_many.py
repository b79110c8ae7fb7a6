# SPDX-License-Identifier: GPL-2.0-or-later
"""One real daemon among 64 voters, with 65,536 blocks to hand out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saru import config, control
from saru.core.beat import Beat
from saru.errors import OutageError
from saru.status import Status
from saru.wire.codec import FRAME_MAX
from tests.net.netns import eventually, network
from tests.net.peers import Peers

VOTERS = 64
BLOCKS = 65536
CONFIG = """
[cluster]
nodes = {nodes}
witnesses = ["lb-00.example.net"]
[times]
keepalive = "300ms"
deadtime = "3s"
join_delay = "0s"
[[id]]
blocks = {blocks}
[director]
name = "lb-00.example.net"
[heartbeat]
interfaces = ["eth0"]
authkeys = "{folder}/authkeys"
[daemon]
run = "{folder}"
state = "{folder}"
"""


class Cluster:
    """The daemon's process, and what the others know of it."""

    def __init__(self, folder: Path, peers: Peers) -> None:
        self.socket = control.socket_path(folder, "saru")
        self.peers = peers

    def status(self) -> Status | None:
        try:
            return control.ask(self.socket, Status, "status")
        except OutageError:
            return None

    def beat(self) -> Beat:
        assert self.peers.beat is not None
        return self.peers.beat

    def held(self) -> bool:
        status = self.status()
        return status is not None and status.role == "master" and not status.divisions[0].unheld


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    nodes = [f"lb-{number:02}.example.net" for number in range(VOTERS)]
    (folder / "authkeys").write_text("auth 1\n1 sha256 ultramonkey\n2 sha256 ultragorilla\n")
    (folder / "authkeys").chmod(0o600)
    path = folder / "saru.conf"
    path.write_text(CONFIG.format(nodes=json.dumps(nodes), blocks=BLOCKS, folder=folder))
    with network("daemon", "others") as wires:
        others = wires.hosts["others"]
        peers = Peers(config.load(path), nodes[0])
        peers.takes = False
        saru = [sys.executable, "-m", "saru", "--config", str(path), "--log_facility"]
        words = ["ip", "netns", "exec", wires.hosts["daemon"].namespace, *saru, str(folder / "log")]
        process = subprocess.Popen(words, env=dict(os.environ))
        try:
            others.call(peers.start)
            yield Cluster(folder, peers)
            others.call(peers.stop)
        finally:
            process.kill()
            process.wait()


def test_beats_fit_a_frame_and_an_allocation_goes_in_parts_to_who_lacks_it(tmp_path: Path) -> None:
    with cluster(tmp_path) as made:
        peers = made.peers
        eventually("there is an allocation", lambda: peers.allocations)
        for _ in range(3):  # with every beat, for as long as somebody does not take it
            peers.allocations.clear()
            eventually("it comes again", lambda: peers.allocations)
        peers.takes = True
        eventually("every block is held", made.held)
        eventually("a beat names everybody", lambda: len(made.beat().heard) == VOTERS - 1)
        (offer,) = made.beat().offers
        allocation = peers.allocations[offer.version]
        assert allocation.digest() == offer.digest
        assert len(allocation.grants) == VOTERS - 1
        assert sum(grant.bitmap().bit_count() for grant in allocation.grants) == BLOCKS
        assert 0 < peers.largest["beat"] <= FRAME_MAX
        assert 0 < peers.largest["part"] <= FRAME_MAX
        status = made.status()
        assert status is not None
        assert status.quorum.voters == VOTERS
        assert sum(director.blocks[1] for director in status.directors) == BLOCKS

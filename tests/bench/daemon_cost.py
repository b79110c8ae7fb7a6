# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU and memory of one director's daemon among 3, 16 and 64 directors.

usage: tests/bench/daemon_cost [--directors N]... [--blocks B] [--seconds S] [--json FILE]

The daemon is a real one in a network namespace of its own; the other directors are simulated, in
the real wire format over a real wire, with a beat every 100 ms each. It is measured as master and
as one of the others, once it holds its blocks and nothing moves any more. CPU is user and system
time of the process; a beat's share of it is what it takes in all to receive one and send its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.lab.cache import PROJECT
from saru import config as configuration
from saru import control
from saru.errors import SaruError
from saru.status import Status
from tests.net.netns import Host, eventually, network
from tests.net.peers import Peers

KEEPALIVE_MS = 100
TICKS = os.sysconf("SC_CLK_TCK")
CONFIG = """
[cluster]
nodes = {nodes}
witnesses = {witnesses}
[times]
keepalive = "{keepalive}ms"
deadtime = "2s"
join_delay = "0s"
[[id]]
blocks = {blocks}
[director]
name = "director00"
dataplane = "nftables"
[heartbeat]
interfaces = ["eth0"]
authkeys = "{folder}/authkeys"
[[service]]
vip = "172.17.60.201"
ports = [80]
[log]
facility = "{folder}/log"
[daemon]
run = "{folder}/run"
state = "{folder}/run"
"""


class Process:
    """The daemon, as the kernel accounts for it."""

    def __init__(self, host: Host, path: Path) -> None:
        words = ["ip", "netns", "exec", host.namespace, sys.executable, "-m", "saru"]
        environment = dict(os.environ, PYTHONPATH=str(PROJECT))
        self._process = subprocess.Popen([*words, "--config", str(path)], env=environment)
        self._folder = Path(f"/proc/{self._process.pid}")

    def cpu(self) -> tuple[float, float]:
        """User and system time so far, in s."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def memory(self) -> dict[str, float]:
        """Resident memory in MB: now, and at most so far."""
        lines = (self._folder / "status").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines if line.startswith("Vm"))
        return {name: int(found[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def settled(status: Status | None, master: bool, witness: bool) -> bool:
    """Whether the daemon is what it shall be and everybody holds blocks."""
    if status is None or not status.lease_left_ms:
        return False
    division = status.divisions[0]
    at_rest = division.version is not None and not division.unheld
    return at_rest and (status.role == "master") == master and (witness or division.held > 0)


def case(
    directors: int, blocks: int, seconds: float, master: bool, witness: bool
) -> dict[str, Any]:
    """One cluster's figures."""
    nodes = [f"director{number:02}" for number in range(directors)]
    with tempfile.TemporaryDirectory() as name, network("director00", "others") as wires:
        folder, path = Path(name), Path(name) / "saru.conf"
        keys = folder / "authkeys"
        keys.touch(mode=0o600)
        keys.write_text("auth 1\n1 sha256 ultramonkey\n")
        witnesses = nodes[:1] if witness else []
        path.write_text(
            CONFIG.format(
                nodes=json.dumps(nodes),
                witnesses=json.dumps(witnesses),
                keepalive=KEEPALIVE_MS,
                blocks=blocks,
                folder=folder,
            )
        )
        others = wires.hosts["others"]
        peers = Peers(configuration.load(path), nodes[0], master=not master)
        daemon = Process(wires.hosts["director00"], path)
        others.call(peers.start)
        try:
            socket = control.socket_path(folder / "run", "saru")
            eventually("all is settled", lambda: settled(asked(socket), master, witness))
            return measured(daemon, peers, socket, seconds)
        finally:
            others.call(peers.stop)
            daemon.end()


def asked(socket: Path) -> Status | None:
    try:
        return control.ask(socket, Status, "status")
    except SaruError:
        return None


def measured(daemon: Process, peers: Peers, socket: Path, seconds: float) -> dict[str, Any]:
    """What the daemon takes in so many seconds."""
    time.sleep(1)  # the request for the status is over, and so is what it made
    before = (time.monotonic(), *daemon.cpu(), peers.sent, peers.received)
    time.sleep(seconds)
    after = (time.monotonic(), *daemon.cpu(), peers.sent, peers.received)
    wall, user, system, received, sent = (b - a for a, b in zip(before, after, strict=True))
    status = asked(socket)
    lapses = status.counters.lapses if status else -1
    return {
        "cpu_percent": 100 * (user + system) / wall,
        "user_percent": 100 * user / wall,
        "system_percent": 100 * system / wall,
        "beats_received_per_s": received / wall,
        "datagrams_sent_per_s": sent / wall,
        "cpu_us_per_beat": 1e6 * (user + system) / max(1, received),
        "rss_mb": daemon.memory()["VmRSS"],
        "rss_most_mb": daemon.memory()["VmHWM"],
        "largest_beat_bytes": peers.largest["beat"],
        "lapses": lapses,
    }


def main() -> None:
    """Measure, print, and write the figures where they are asked for."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directors", type=int, action="append", help="how many (3, 16, 64)")
    parser.add_argument("--blocks", type=int, default=1024, help="blocks of the one id (1024)")
    parser.add_argument("--seconds", type=float, default=10, help="measured for so long (10)")
    parser.add_argument("--witness", action="store_true", help="a witness: no tables to renew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    arguments = parser.parse_args()
    sizes = arguments.directors or [3, 16, 64]
    if min(sizes) < 3:
        parser.error("--directors: at least 3")
    print(f"{'directors':>9} {'role':8} {'CPU %':>6} {'us/beat':>8} {'RSS MB':>7} {'beat B':>7}")
    results = []
    for directors in sizes:
        for role in ("master", "follower"):
            figures = case(
                directors,
                arguments.blocks,
                arguments.seconds,
                role == "master",
                arguments.witness,
            )
            results.append({"directors": directors, "role": role, **figures})
            print(
                f"{directors:9} {role:8} {figures['cpu_percent']:6.1f} "
                f"{figures['cpu_us_per_beat']:8.0f} {figures['rss_mb']:7.1f} "
                f"{figures['largest_beat_bytes']:7}",
                flush=True,
            )
    if arguments.json:
        figures = {
            "benchmark": "daemon_cost",
            "keepalive_ms": KEEPALIVE_MS,
            "blocks": arguments.blocks,
            "witness": arguments.witness,
            "seconds": arguments.seconds,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cases": results,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Who fails over: keepalived (VRRPv3) and Saru, each on hosts of its own, made as alike as can be.

Two directors answer for one VIP. Both send a message every `interval` and give the other up after
three missed ones, and a part of an interval: keepalived's own rule (3 x advert_int and the skew of
the backup's priority, which is the default, 100: 0.61 x advert_int; RFC 9568, 6.1), and Saru's
`deadtime` of MISSED `keepalive`, which is 3.57 until the others count it as silent (L+). Saru has a
third voter, a witness, because two directors alone have no majority.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pyroute2 import IPRoute

from deploy.lab.cache import PROJECT
from saru import control
from saru.errors import OutageError
from saru.status import Status
from tests.bench.outage import HEARTBEAT, PORTS, SERVICE
from tests.net.netns import Network, eventually, network

DIRECTORS = ("adam", "berta")
WITNESS = "zeno"
CLIENT = "client"
BOTH = ("0", "1")
MISSED = 3.5
"""After the third message should have come, half an interval more: that is not the moment at which
the least delay makes a late message a missed one."""


class Contender(Protocol):
    """A pair of directors that serve `vip`, on the hosts of `wires`."""

    name: str
    vip: str
    wires: Network
    programs: Programs

    def forget(self, director: str) -> None:
        """Take from a director what does not outlast a power cut."""

    def start(self, director: str) -> None:
        """Start a director that is off."""

    def settled(self) -> bool:
        """Whether all is well: the VIP is served, and nobody waits for anything."""

    def master(self) -> str:
        """The director whose loss costs most."""

    def takeovers(self) -> int:
        """How often, up to now, somebody was given up or gave up."""


class Programs:
    """What runs on a host, its standard output in a file."""

    def __init__(self, wires: Network, folder: Path) -> None:
        self._wires = wires
        self._folder = folder
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}

    def words(self, host: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._wires.hosts[host].namespace, *words]

    def run(self, host: str, *words: str) -> None:
        """Run a program to its end; raises CalledProcessError."""
        subprocess.run(self.words(host, *words), check=True, cwd=PROJECT, capture_output=True)

    def start(self, host: str, *words: str) -> None:
        with open(self._folder / f"{host}.out", "ab") as output:
            started = subprocess.Popen(
                self.words(host, *words), stdout=output, stderr=output, cwd=PROJECT
            )
        self._running.setdefault(host, []).append(started)

    def pids(self, host: str) -> list[int]:
        """What runs there, children included."""
        space = self._wires.hosts[host].namespace
        said = subprocess.run(["ip", "netns", "pids", space], capture_output=True, check=True)
        return [int(pid) for pid in said.stdout.split() if int(pid) != os.getpid()]

    def ended(self, host: str) -> None:
        """Wait for all that has been killed there."""
        for one in self._running.pop(host, []):
            one.wait()

    def end(self) -> None:
        """Kill everything."""
        for host in list(self._running):
            for pid in self.pids(host):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.ended(host)


class Keepalived:
    """Two keepalived; the VIP moves with a gratuitous ARP."""

    name = "keepalived"
    vip = "10.0.0.100"

    def __init__(self, wires: Network, folder: Path, interval: float) -> None:
        self.wires = wires
        self.programs = Programs(wires, folder)
        self._folder = folder
        for director, priority in zip(DIRECTORS, (150, 100), strict=True):
            (folder / f"{director}.conf").write_text(
                "global_defs {\n  vrrp_version 3\n}\n"
                f"vrrp_instance vip {{\n  interface eth0\n  state BACKUP\n  virtual_router_id 51\n"
                f"  priority {priority}\n  advert_int {interval}\n"
                f"  virtual_ipaddress {{\n    {self.vip}/24\n  }}\n}}\n"
            )

    def forget(self, director: str) -> None:
        self.programs.run(director, "ip", "addr", "flush", "dev", "eth0", "to", self.vip)
        for path in self._folder.glob(f"{director}*.pid"):
            path.unlink()

    def start(self, director: str) -> None:
        folder = self._folder
        self.programs.start(
            director, "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp",
            "--use-file", str(folder / f"{director}.conf"),
            "--pid", str(folder / f"{director}.pid"),
            "--vrrp_pid", str(folder / f"{director}.vrrp.pid"),
        )  # fmt: skip

    def settled(self) -> bool:
        return [self._state(director) for director in DIRECTORS] == ["MASTER", "BACKUP"]

    def master(self) -> str:
        return DIRECTORS[0]

    def takeovers(self) -> int:
        return self._log(DIRECTORS[1]).count("Entering MASTER STATE")

    def _state(self, director: str) -> str:
        states = [
            line.split("Entering ")[1].split()[0]
            for line in self._log(director).splitlines()
            if "Entering " in line
        ]
        return states[-1] if states else ""

    def _log(self, director: str) -> str:
        path = self._folder / f"{director}.out"
        return path.read_text() if path.exists() else ""


class Saru:
    """Two directors and a witness; all of them have the VIP all the time."""

    name = "saru"
    vip = "10.0.1.100"

    def __init__(self, wires: Network, folder: Path, interval: float) -> None:
        self.wires = wires
        self.programs = Programs(wires, folder)
        self._folder = folder
        (folder / "authkeys").write_text("auth 1\n1 sha256 ultramonkey\n")
        (folder / "authkeys").chmod(0o600)
        nodes = ", ".join(f'"{name}"' for name in (*DIRECTORS, WITNESS))
        for name in (*DIRECTORS, WITNESS):
            (folder / f"{name}.conf").write_text(
                f'[cluster]\nnodes = [{nodes}]\nwitnesses = ["{WITNESS}"]\n'
                f"[times]\nkeepalive = {interval}\ndeadtime = {MISSED * interval}\njoin_delay = 0\n"
                f'[director]\nname = "{name}"\ndataplane = "nftables"\n'
                f"[[id]]\nid = 1\nblocks = {PORTS}\n"
                f'[heartbeat]\ninterfaces = ["eth0"]\nport = {HEARTBEAT}\n'
                f'authkeys = "{folder}/authkeys"\n'
                f'[daemon]\nrun = "{folder}/{name}"\nstate = "{folder}/{name}"\n'
                '[link]\ninterface = "eth1"\nmac = "00:50:56:14:03:40"\n'
                f'addresses = ["{self.vip}/24"]\n'
                f'[[service]]\nvip = "{self.vip}"\nprotocol = "udp"\nports = [{SERVICE}]\n'
            )
        self._saru(WITNESS)

    def forget(self, director: str) -> None:
        self.programs.run(director, "ip", "link", "set", "eth1", "down")
        self.programs.run(director, "ip", "addr", "flush", "dev", "eth1")
        self.programs.run(director, "nft", "flush", "ruleset")

    def start(self, director: str) -> None:
        for words in (("rules", "apply"), ("link", "up")):
            self.programs.run(director, *self._words(director), *words)
        self._saru(director)

    def _words(self, name: str) -> list[str]:
        return [sys.executable, "-m", "saru", "--config", str(self._folder / f"{name}.conf")]

    def _saru(self, name: str) -> None:
        self.programs.start(name, *self._words(name), "--log_facility", "-")

    def status(self, name: str) -> Status | None:
        """What a daemon says of itself; None while it does not answer."""
        try:
            socket = control.socket_path(self._folder / name, "saru")
            return control.ask(socket, Status, "status")
        except OutageError:
            return None

    def settled(self) -> bool:
        found = [self.status(name) for name in (*DIRECTORS, WITNESS)]
        return (
            all(
                status is not None and not status.problems and status.master == found[0].master
                for status in found
                if found[0] is not None
            )
            and None not in found
            and self._shared()
        )

    def _shared(self) -> bool:
        """Whether each director holds its half."""
        status = self.status(DIRECTORS[0])
        if status is None:
            return False
        held = {director.name: director.blocks for director in status.directors}
        return all(held.get(name) == {1: PORTS // 2} for name in DIRECTORS)

    def master(self) -> str:
        status = self.status(DIRECTORS[0])
        master = status.master if status else None
        return master if master in DIRECTORS else DIRECTORS[0]

    def takeovers(self) -> int:
        # Whoever is given up lapses, and so does whoever gives up; a witness has nothing to lose.
        return sum(self._answer(name).counters.lapses for name in DIRECTORS)

    def _answer(self, name: str) -> Status:
        """What a daemon says of itself, when it gets to it."""
        found: list[Status] = []

        def answers() -> bool:
            status = self.status(name)
            found.extend([status] if status else [])
            return bool(found)

        eventually(f"{name} answers", answers)
        return found[0]


class Switch:
    """The switch's side of a contender: the cables of its directors."""

    def __init__(self, wires: Network) -> None:
        self._route = IPRoute(netns=wires.switch)
        places = {name: place for place, name in enumerate(wires.hosts, 1)}
        self._places = places
        self._ports = {
            name: [self._route.link_lookup(ifname=f"p{number}-{place}")[0] for number in BOTH]
            for name, place in places.items()
        }

    def port(self, name: str) -> str:
        """The switch's port where a host's messages come in."""
        return f"p0-{self._places[name]}"

    def pull(self, name: str) -> None:
        """Pull a host's cables: it sees it, and nothing passes any more."""
        for port in self._ports[name]:
            self._route.link("set", index=port, state="down")

    def plug(self, name: str) -> None:
        """Plug them in again."""
        for port in self._ports[name]:
            self._route.link("set", index=port, state="up")

    def close(self) -> None:
        """Let go of the namespace."""
        self._route.close()


@contextlib.contextmanager
def contender(
    kind: type[Keepalived] | type[Saru], folder: Path, interval: float
) -> Iterator[Contender]:
    """A contender that has settled, with its service; gone at the end."""
    folder.mkdir(parents=True)
    with network(*DIRECTORS, WITNESS, CLIENT, switches=2) as wires:
        for name in DIRECTORS:
            # Two interfaces on one host: each answers ARP for its own addresses alone.
            for key in ("arp_ignore=1", "arp_announce=2", "rp_filter=0"):
                subprocess.run(
                    ["ip", "netns", "exec", wires.hosts[name].namespace, "sysctl", "-qw",
                     f"net.ipv4.conf.all.{key}"], check=True,
                )  # fmt: skip
        made = kind(wires, folder, interval)
        try:
            for name in DIRECTORS:
                service(made, name)
                made.start(name)
            eventually(f"{made.name} has settled", made.settled)
            yield made
        finally:
            made.programs.end()


def service(made: Contender, director: str) -> None:
    """Start the service that answers for the VIP on a director."""
    made.programs.start(director, sys.executable, "-m", "tests.bench.outage", made.vip)

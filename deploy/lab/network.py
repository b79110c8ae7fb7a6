# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's networks: namespaces, two learning switches, cables, and cuts between nodes.

No packet leaves them. Everything is found again by the names of the namespaces, which begin
with the lab's own: LAB for the switches, LAB-NODE for the client and the real servers.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.lab import topology
from deploy.lab.cache import LabError
from deploy.lab.topology import Host, Leg

NAMESPACES = Path("/run/netns")
END_SECONDS = 10.0


def _run(words: Sequence[str], text: str = "") -> str:
    done = subprocess.run(list(words), input=text, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout


def _ip(namespace: str, words: str) -> None:
    _run(["ip", "-n", namespace, *words.split()])


class Network:
    """The networks of the lab called `lab`."""

    def __init__(self, lab: str) -> None:
        self.lab = lab

    def namespace(self, node: str) -> str:
        """The namespace of the client or a real server."""
        return f"{self.lab}-{node}"

    def namespaces(self) -> list[str]:
        """The lab's namespaces that exist."""
        nodes = [self.namespace(host.name) for host in topology.hosts()]
        return [name for name in (*nodes, self.lab) if (NAMESPACES / name).exists()]

    def make(self, directors: Iterable[str]) -> None:
        """Make switches, cables, the client and the real servers."""
        self._add_namespace(self.lab)
        self._setting(self.lab, "net/bridge/bridge-nf-call-iptables", "0")
        self._setting(self.lab, "net/bridge/bridge-nf-call-ip6tables", "0")
        self._setting(self.lab, "net/bridge/bridge-nf-call-arptables", "0")
        self._setting(self.lab, "net/ipv6/conf/default/disable_ipv6", "1")
        for segment in topology.SEGMENTS:
            # Learning, flooding what it has not learnt, as switches do. Without a router that
            # asks for members, a snooping one would end up flooding multicast as well.
            _ip(self.lab, f"link add {segment} type bridge stp_state 0 mcast_snooping 0")
            _ip(self.lab, f"link set {segment} up")
        for name in directors:
            for leg in topology.director(name).legs():
                _ip(self.lab, f"tuntap add dev {leg.port} mode tap")
                self._plug(leg)
        for host in topology.hosts():
            self._make_host(host)

    def _make_host(self, host: Host) -> None:
        space = self.namespace(host.name)
        self._add_namespace(space)
        if host.real:
            # The VIP is on lo: answer ARP only for what the asked interface itself holds.
            self._setting(space, "net/ipv4/conf/all/arp_ignore", "1")
            self._setting(space, "net/ipv4/conf/all/arp_announce", "2")
            self._setting(space, "net/ipv4/conf/all/rp_filter", "0")
            self._setting(space, "net/ipv4/conf/default/rp_filter", "0")
            _ip(space, f"addr add {topology.VIP}/32 dev lo")
            _ip(space, f"addr add {topology.VIP6}/128 dev lo nodad")
        for leg in host.legs:
            cable = f"link add {leg.port} type veth peer name {leg.interface} netns {space}"
            _ip(self.lab, cable)
            self._plug(leg)
            for address in leg.addresses:
                nodad = " nodad" if ":" in address else ""
                _ip(space, f"addr add {address} dev {leg.interface}{nodad}")
            _ip(space, f"link set {leg.interface} up")

    def _plug(self, leg: Leg) -> None:
        _ip(self.lab, f"link set {leg.port} master {leg.segment}")
        _ip(self.lab, f"link set {leg.port} up")

    def _add_namespace(self, name: str) -> None:
        _run(["ip", "netns", "add", name])
        _ip(name, "link set lo up")

    def _setting(self, namespace: str, path: str, value: str) -> None:
        script = '[ ! -e "/proc/sys/$0" ] || echo "$1" > "/proc/sys/$0"'
        _run(["ip", "netns", "exec", namespace, "sh", "-c", script, path, value])

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Drop every frame between the nodes of each pair, both ways; forget earlier cuts."""
        barred = []
        for one, other in pairs:
            for a in topology.ports(one):
                for b in topology.ports(other):
                    barred += [f'"{a}" . "{b}"', f'"{b}" . "{a}"']
        elements = f"elements = {{ {', '.join(barred)} }};" if barred else ""
        _run(
            ["ip", "netns", "exec", self.lab, "nft", "-f", "-"],
            f"""
            table bridge lab
            delete table bridge lab
            table bridge lab {{
                set cut {{ type ifname . ifname; {elements} }}
                chain forward {{
                    type filter hook forward priority 0;
                    iifname . oifname @cut counter drop
                }}
            }}
            """,
        )

    def start(self, node: str, argv: Sequence[str], log: Path) -> None:
        """Start a program in a node's namespace; it lives until the network is removed."""
        words = ["ip", "netns", "exec", self.namespace(node), *argv]
        with open(log, "ab") as output:
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def remove(self) -> None:
        """End every process in the lab's namespaces, then remove them. Twice is no error."""
        names = self.namespaces()
        for pid in self._inhabitants(names):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + END_SECONDS
        while self._inhabitants(names):
            if time.monotonic() > until:
                raise LabError(f"processes in {', '.join(names)} do not end")
            time.sleep(0.05)
        for name in names:
            _run(["ip", "netns", "delete", name])

    def _inhabitants(self, names: Iterable[str]) -> list[int]:
        return [int(pid) for name in names for pid in _run(["ip", "netns", "pids", name]).split()]

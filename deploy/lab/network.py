# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's networks: namespaces, two learning switches, cables, and frames lost between nodes.

No packet leaves them. Everything is found again by the names of the namespaces, which begin
with the lab's own: LAB for the switches, LAB-NODE for the client, the real servers, and the
directors that are no guests.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deploy.lab import topology
from deploy.lab.cache import PROJECT, LabError
from deploy.lab.topology import Host, Leg

NAMESPACES = Path("/run/netns")
END_SECONDS = 60.0
ALL = 100
"""Percent: every frame."""


def _run(words: Sequence[str], text: str = "") -> str:
    done = subprocess.run(list(words), input=text, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout


def _ip(namespace: str, *lines: str) -> None:
    """Run `ip` in a namespace: one process for all lines, in their order."""
    _run(["ip", "-n", namespace, "-batch", "-"], "".join(f"{line}\n" for line in lines))


class Network:
    """The networks of the lab called `lab`."""

    def __init__(self, lab: str) -> None:
        self.lab = lab

    def namespace(self, node: str) -> str:
        """The namespace of a node that is no guest."""
        return f"{self.lab}-{node}"

    def namespaces(self) -> list[str]:
        """The lab's namespaces that exist."""
        hosts = (host.name for host in topology.hosts())
        nodes = (*topology.DIRECTORS, *hosts, *topology.ZOOKEEPERS)
        names = (*map(self.namespace, nodes), self.lab)
        return [name for name in names if (NAMESPACES / name).exists()]

    def make(self, guests: Iterable[str], hosts: Iterable[Host]) -> None:
        """Make switches, the cables of guests, and hosts with theirs."""
        self._add_namespace(self.lab)
        self._setting(self.lab, "net/bridge/bridge-nf-call-iptables", "0")
        self._setting(self.lab, "net/bridge/bridge-nf-call-ip6tables", "0")
        self._setting(self.lab, "net/bridge/bridge-nf-call-arptables", "0")
        self._setting(self.lab, "net/ipv6/conf/default/disable_ipv6", "1")
        for segment in topology.SEGMENTS:
            # Learning, flooding what it has not learnt, as switches do. Without a router that
            # asks for members, a snooping one would end up flooding multicast as well.
            _ip(
                self.lab,
                f"link add {segment} type bridge stp_state 0 mcast_snooping 0",
                f"link set {segment} up",
            )
        for name in guests:
            for leg in topology.director(name).legs():
                _ip(self.lab, f"tuntap add dev {leg.port} mode tap", *_plug(leg))
        for host in hosts:
            self._make_host(host)

    def limit_queue(self, port: str, frames: int) -> None:
        """Let no more frames wait at a port for a guest that does not take them; the rest is lost.

        Its card takes 256 more. As made, 1000 may wait.
        """
        _ip(self.lab, f"link set dev {port} txqueuelen {frames}")

    def _make_host(self, host: Host) -> None:
        space = self.namespace(host.name)
        self._add_namespace(space)
        if host.real:
            # The VIP is on lo: answer ARP only for what the asked interface itself holds.
            self._setting(space, "net/ipv4/conf/all/arp_ignore", "1")
            self._setting(space, "net/ipv4/conf/all/arp_announce", "2")
            self._setting(space, "net/ipv4/conf/all/rp_filter", "0")
            self._setting(space, "net/ipv4/conf/default/rp_filter", "0")
            _ip(
                space,
                f"addr add {topology.VIP}/32 dev lo",
                f"addr add {topology.VIP6}/128 dev lo nodad",
            )
        self._connect(space, host.legs)
        _ip(space, *(f"link set {leg.interface} up" for leg in host.legs))

    def add_director(self, name: str) -> None:
        """Make a director that is no guest: its cards, and on all but eth0 its own addresses.

        eth0 stays down, for `saru link up`.
        """
        space, node = self.namespace(name), topology.director(name)
        self._add_namespace(space)
        # Two interfaces are in the VIP's segment: each answers ARP for its own address alone.
        self._setting(space, "net/ipv4/conf/all/arp_ignore", "1")
        self._setting(space, "net/ipv4/conf/all/arp_announce", "2")
        # What serves the VIP starts before it is there, and stays when the guard takes it off.
        self._setting(space, "net/ipv4/ip_nonlocal_bind", "1")
        self._setting(space, "net/ipv6/ip_nonlocal_bind", "1")
        legs = node.legs()
        self._connect(space, legs, {leg: node.mac(card) for card, leg in enumerate(legs)})
        _ip(space, *(f"link set {leg.interface} up" for leg in legs if leg.addresses))

    def remove_director(self, name: str) -> None:
        """What a power cut leaves of a director that is no guest: nothing.

        Its cables go first, so that it says no last word; the VIP's after those of the beats, or it
        would still tell the others that no client reaches it.
        """
        ports = [leg.port for leg in reversed(topology.director(name).legs())]
        _ip(self.lab, *(f"link set {port} down" for port in ports))
        # Deleted by name: those of a namespace go some time after it, and boot makes them anew.
        _ip(self.lab, *(f"link delete {port}" for port in ports))
        self._remove([self.namespace(name)])

    def plug(self, leg: Leg, *, in_: bool) -> None:
        """Pull a leg's cable out of the switch, or plug it in: both ends lose their carrier."""
        _ip(self.lab, f"link set {leg.port} {'up' if in_ else 'down'}")

    def _connect(
        self, space: str, legs: Iterable[Leg], macs: Mapping[Leg, str] | None = None
    ) -> None:
        """A namespace's cables, with `macs` on its side (default: any), and its addresses."""
        for leg in legs:
            mac = f" address {macs[leg]}" if macs else ""
            cable = f"link add {leg.port} type veth peer name {leg.interface}{mac} netns {space}"
            _ip(self.lab, cable, *_plug(leg))
            _ip(
                space,
                *(
                    f"addr add {address} dev {leg.interface}{' nodad' * (':' in address)}"
                    for address in leg.addresses
                ),
            )

    def _add_namespace(self, name: str) -> None:
        _run(["ip", "netns", "add", name])
        _ip(name, "link set lo up")

    def _setting(self, namespace: str, path: str, value: str) -> None:
        script = '[ ! -e "/proc/sys/$0" ] || echo "$1" > "/proc/sys/$0"'
        _run(["ip", "netns", "exec", namespace, "sh", "-c", script, path, value])

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Drop every frame between the nodes of each pair, both ways; forget earlier losses."""
        found = list(pairs)
        self.lose({pair: ALL for one, other in found for pair in ((one, other), (other, one))})

    def lose(self, losses: Mapping[tuple[str, str], int]) -> None:
        """Drop so many percent of the frames from one node to another; forget earlier losses."""
        sets, rules = [], []
        for percent in sorted({percent for percent in losses.values() if percent > 0}):
            ports = [
                f'"{a}" . "{b}"'
                for (one, other), lost in losses.items()
                if lost == percent
                for a in topology.ports(one)
                for b in topology.ports(other)
            ]
            elements = ", ".join(ports)
            sets.append(
                f"set lost_{percent} {{ type ifname . ifname; elements = {{ {elements} }}; }}"
            )
            chance = "" if percent >= ALL else f"numgen random mod {ALL} < {percent} "
            rules.append(f"iifname . oifname @lost_{percent} {chance}counter drop")
        chain = ["type filter hook forward priority 0;", *rules]
        _run(
            ["ip", "netns", "exec", self.lab, "nft", "-f", "-"],
            "table bridge lab\ndelete table bridge lab\ntable bridge lab {\n"
            + "\n".join([*sets, "chain forward {", *chain, "}", "}"])
            + "\n",
        )

    def start(self, node: str, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a program in a node's namespace; it lives until the network is removed."""
        words = ["ip", "netns", "exec", self.namespace(node), *argv]
        with open(log, "ab") as output:
            return subprocess.Popen(
                words,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def remove(self) -> None:
        """End every process in the lab's namespaces, then remove them. Twice is no error."""
        self._remove(self.namespaces())

    def _remove(self, names: Sequence[str]) -> None:
        until = time.monotonic() + END_SECONDS
        while found := self._inhabitants(names):
            if time.monotonic() > until:
                raise LabError(f"processes in {', '.join(names)} do not end")
            for pid in found:  # one may have come in just now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for name in names:
            _run(["ip", "netns", "delete", name])

    def _inhabitants(self, names: Iterable[str]) -> list[int]:
        return [int(pid) for name in names for pid in _run(["ip", "netns", "pids", name]).split()]


def _plug(leg: Leg) -> tuple[str, str]:
    """Lines for `ip` among the switches: a leg's cable into its segment."""
    return f"link set {leg.port} master {leg.segment}", f"link set {leg.port} up"

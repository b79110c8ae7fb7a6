# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab writes into its directors: saru.conf, authkeys, IPVS's services, addresses."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.lab import topology

Settings = Mapping[str, Mapping[str, object]]
"""Values by section and key, as in saru.conf; the section of the only id is called `[id]`."""


@dataclass(frozen=True)
class Times:
    """[times], in milliseconds."""

    keepalive: int
    deadtime: int
    initdead: int
    join_delay: int


# Timers in emulated guests run tens of milliseconds late, and three guests share few processors.
GUESTS = Times(keepalive=250, deadtime=2000, initdead=4100, join_delay=5000)
NAMESPACES = Times(keepalive=100, deadtime=400, initdead=820, join_delay=300)


@dataclass(frozen=True)
class Plan:
    """What all directors of a lab are told alike. `more` goes over the rest."""

    directors: tuple[str, ...]
    times: Times
    witnesses: tuple[str, ...] = ()
    """Voters that hold no blocks, beside the directors."""
    link_mode: str = "unicast"
    rules_mode: str = "sync"
    blocks: int = 1024
    zookeepers: int = 0
    """So many ZooKeeper servers, 1 or 3: then they are the membership."""
    more: Settings = field(default_factory=dict)

    def nodes(self) -> tuple[str, ...]:
        """The voters."""
        return (*self.directors, *self.witnesses)


@dataclass(frozen=True)
class Places:
    """Where a node keeps its files. The defaults are those of a machine of its own."""

    authkeys: Path = Path("/etc/saru/authkeys")
    run: Path = Path("/run/saru")
    state: Path = Path("/var/lib/saru")


def config(plan: Plan, name: str, places: Places | None = None, own: Settings | None = None) -> str:
    """The saru.conf of the node `name`; `own` are settings of its own, over all others."""
    places = places or Places()
    sections: dict[str, dict[str, object]] = {
        "cluster": {"nodes": plan.nodes(), "witnesses": plan.witnesses},
        "times": {key: f"{value}ms" for key, value in vars(plan.times).items()},
        "director": {"name": name},
        "heartbeat": {"interfaces": ["eth1", "eth2"], "authkeys": str(places.authkeys)},
        "rules": {"mode": plan.rules_mode},
        "daemon": {"run": str(places.run), "state": str(places.state)},
        "[id]": {"id": 1, "blocks": plan.blocks},
    }
    if name not in plan.witnesses:
        sections["link"] = {
            "interface": "eth0",
            "mac": topology.SHARED_MAC,
            "mode": plan.link_mode,
            "addresses": [f"{topology.VIP}/16", f"{topology.VIP6}/64"],
        }
    if plan.zookeepers:
        sections["cluster"]["membership"] = "zookeeper"
        names = topology.ZOOKEEPERS[: plan.zookeepers]
        sections["zookeeper"] = {"hosts": [topology.zookeeper_address(n) for n in names]}
    for settings in (plan.more, own or {}):
        for section, values in settings.items():
            sections[section] = {**sections.get(section, {}), **values}
    parts = [_toml(f"[{section}]", values) for section, values in sections.items()]
    for vip in () if name in plan.witnesses else (topology.VIP, topology.VIP6):
        for protocol in ("tcp", "udp"):
            service = {"vip": vip, "protocol": protocol, "ports": [topology.PORT]}
            parts.append(_toml("[[service]]", service))
    return "\n".join(parts)


def _toml(heading: str, values: Mapping[str, object]) -> str:
    """A section. Texts, numbers, booleans and lists of them look in TOML as they do in JSON."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "".join(f"{line}\n" for line in (heading, *lines))


def new_authkeys() -> str:
    """A fresh secret for the lab's directors, in the form of Linux-HA's authkeys."""
    return f"auth 1\n1 sha256 {secrets.token_hex(32)}\n"


def services() -> str:
    """IPVS's services in direct-routing mode, for `ipvsadm --restore`."""
    lines = []
    families = ((topology.VIP, "192.168.6.{}"), (f"[{topology.VIP6}]", "[fd06::{}]"))
    for vip, real in families:
        for protocol in ("-t", "-u"):
            service = f"{protocol} {vip}:{topology.PORT}"
            lines.append(f"-A {service} -s rr")
            for name in topology.REAL_SERVERS:
                address = real.format(name.removeprefix("real"))
                lines.append(f"-a {service} -r {address}:{topology.PORT} -g -w 1")
    return "\n".join(lines) + "\n"


def own_addresses(name: str) -> list[str]:
    """Shell commands that give a director its own addresses and load what IPVS needs."""
    lines = [
        # Each of the two in the VIP's segment answers ARP for its own address alone.
        "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        "modprobe -a ip_vs ip_vs_rr",
    ]
    batch = []
    for leg in topology.director(name).legs():
        for address in leg.addresses:
            nodad = " nodad" if ":" in address else ""
            batch.append(f"addr add {address} dev {leg.interface}{nodad}")
        if leg.addresses:
            batch.append(f"link set {leg.interface} up")
    return [*lines, "ip -batch - <<'END'", *batch, "END"]

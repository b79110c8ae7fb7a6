# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab writes into its directors: saru.conf, authkeys, IPVS's services, addresses."""

import secrets
from collections.abc import Sequence

from deploy.lab import topology

# Timers in emulated guests run tens of milliseconds late, and three guests share few processors:
KEEPALIVE = "250ms"
DEADTIME = "2s"
DEADTIME_SECONDS = 2.0
INITDEAD = "4100ms"
JOIN_DELAY = "5s"


def config(directors: Sequence[str], name: str, link_mode: str) -> str:
    """The saru.conf of the director `name`."""
    nodes = ", ".join(f'"{node}"' for node in directors)
    text = f"""\
        [cluster]
        nodes = [{nodes}]

        [times]
        keepalive = "{KEEPALIVE}"
        deadtime = "{DEADTIME}"
        initdead = "{INITDEAD}"
        join_delay = "{JOIN_DELAY}"

        [director]
        name = "{name}"

        [heartbeat]
        interfaces = ["eth1", "eth2"]
        authkeys = "/etc/saru/authkeys"

        [link]
        interface = "eth0"
        mac = "{topology.SHARED_MAC}"
        mode = "{link_mode}"
        addresses = ["{topology.VIP}/16", "{topology.VIP6}/64"]
        """
    for vip in (topology.VIP, topology.VIP6):
        for protocol in ("tcp", "udp"):
            text += f"""
        [[service]]
        vip = "{vip}"
        protocol = "{protocol}"
        ports = [{topology.PORT}]
        """
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


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
        # Two interfaces are in the VIP's segment: each answers ARP for its own address alone.
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration's prober and its count, on directors that are known to be right or wrong.

           client                 each "director" forwards, with a packet filter of its own that
             | eth0               says which source ports it accepts; all share one MAC
    =========+==========  vip
      |eth0       |eth0
     walter  ...  wanda
      |eth1       |eth1
    =========+==========  server (the capture listens here)
             | eth0
           real, with the VIP on lo and an answer for every connection
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Connections, Prober, source_port
from deploy.demonstration.record import Phase, Record, Report
from tests.net.netns import Host, eventually, ip

VIP, PORT, BLOCKS = "172.17.60.201", 80, 64
SHARED = "00:50:56:14:03:40"
NAMES = ("walter", "wendy", "wanda")
FIRST_THIRD, SECOND_THIRD, LAST_THIRD = "0-21503", "21504-43007", "43008-65535"


@dataclass
class Bench:
    """The namespaces, and the MAC from which each director forwards."""

    hosts: dict[str, Host]
    switch: str
    macs: dict[str, str]

    def accept(self, name: str, ports: str) -> None:
        """Replace what a director accepts."""
        text = f"""
            table inet judge
            delete table inet judge
            table inet judge {{ chain forward {{
                type filter hook forward priority 0; policy drop;
                meta l4proto {{ tcp, udp }} th sport {{ {ports} }} accept
            }} }}
        """
        subprocess.run(
            ["ip", "netns", "exec", self.hosts[name].namespace, "nft", "-f", "-"],
            input=text, text=True, check=True,
        )  # fmt: skip

    def plug(self, name: str, interface: str, bridge: str, *, mac: str = "") -> None:
        host, port = self.hosts[name], f"{name}-{bridge[0]}"
        ip(
            *("link", "add", port, "netns", self.switch, "type", "veth"),
            *("peer", "name", interface, "netns", host.namespace),
        )
        ip("link", "set", port, "master", bridge, "up", namespace=self.switch)
        if mac:
            host.ip("link", "set", interface, "address", mac, "arp", "off")
        host.ip("link", "set", interface, "up")


def setting(host: Host, path: str, value: str) -> None:
    words = ["ip", "netns", "exec", host.namespace, "sh", "-c", 'echo "$1" >"/proc/sys/$0"']
    subprocess.run([*words, path, value], check=True)


@pytest.fixture()
def bench(namespace: str) -> Iterator[Bench]:
    made = Bench({name: Host(name) for name in ("client", "real", *NAMES)}, namespace, {})
    started = []
    try:
        for host in made.hosts.values():
            host.start()
            started.append(host)
            setting(host, "net/ipv6/conf/all/disable_ipv6", "1")
        for bridge in ("vip", "server"):
            ip("link", "add", bridge, "type", "bridge", namespace=namespace)
            ip("link", "set", bridge, "up", namespace=namespace)
        connect(made)
        yield made
    finally:
        for host in started:
            host.stop()


def connect(made: Bench) -> None:
    """Plug everybody in; the client's packets reach every director, the real server's the client."""
    client, real = made.hosts["client"], made.hosts["real"]
    made.plug("client", "eth0", "vip")
    client.ip("addr", "add", "172.17.1.1/16", "dev", "eth0")
    client.ip("neigh", "add", VIP, "lladdr", SHARED, "dev", "eth0")
    made.plug("real", "eth0", "server")
    made.plug("real", "eth1", "v-answers")
    real.ip("addr", "add", f"{VIP}/32", "dev", "lo")
    real.ip("addr", "add", "192.168.6.4/24", "dev", "eth0")
    real.ip("addr", "add", "172.17.1.4/16", "dev", "eth1")
    for name in NAMES:
        host = made.hosts[name]
        made.plug(name, "eth0", "vip", mac=SHARED)
        made.plug(name, "eth1", "server")
        number = 11 + NAMES.index(name)
        host.ip("addr", "add", f"192.168.6.{number}/24", "dev", "eth1")
        host.ip("route", "add", VIP, "via", "192.168.6.4")
        setting(host, "net/ipv4/ip_forward", "1")
        setting(host, "net/ipv4/conf/all/rp_filter", "0")
        made.macs[mac(host)] = name
        made.accept(name, "0")

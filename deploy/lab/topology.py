# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is in the lab, and where.

                    client 172.17.1.1
                       |
    ===================+============+===========+========  vip: a learning switch
      |eth0  |eth2       |eth0 ...    |eth1       |eth1    172.17.0.0/16, fd17::/64
     +---------+        +-----        |           |
     | walter  |        | wendy     real4       real5      VIP 172.17.60.201, fd17::60:201
     +---------+        +-----        |           |        shared MAC 00:50:56:14:03:40
         |eth1             |eth1      |eth0       |eth0
    =====+=================+==========+===========+======  server: a switch
                                                           192.168.6.0/24, fd06::/64

A director's eth0 carries the shared MAC and the VIP, and nothing else. Its own addresses have
MACs of their own: on eth1, from which it forwards to the real servers (so the source MAC on
the server segment says which director did), and on eth2 in the VIP's segment. Beats travel on
eth1 and eth2. The real servers hold the VIP on lo, where no ARP answers for it, and answer the
client directly over their leg in its segment.

Directors are guests, or namespaces that serve the VIP themselves, without real servers; everybody
else is a network namespace; both switches are in one more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.lab.cache import LabError
from deploy.lab.qemu import Nic

DIRECTORS = ("walter", "wendy", "wanda", "willem", "winona", "wolfgang", "wilma", "wade")
CLIENT = "client"
REAL_SERVERS = ("real4", "real5")
ZOOKEEPERS = ("zk1", "zk2", "zk3")
"""In the servers' segment, where there are any."""

MEMBERSHIPS = ("heartbeat", "zookeeper")

VIP = "172.17.60.201"
VIP6 = "fd17::60:201"
SHARED_MAC = "00:50:56:14:03:40"
PORT = 80

VIP_SEGMENT = "vip"
SERVER_SEGMENT = "server"
SEGMENTS = (VIP_SEGMENT, SERVER_SEGMENT)


class UnknownNodeError(LabError):
    """The lab has no node of that name."""


@dataclass(frozen=True)
class Leg:
    """A node's interface in a segment: what it is called on either side, and its addresses."""

    interface: str
    port: str
    segment: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Director:
    """A director: it has three cards. `number` is 1 to 8, and the end of its addresses."""

    name: str
    number: int

    @property
    def own(self) -> str:
        """Its own address in the servers' segment, where beats go as well."""
        return f"192.168.6.{10 + self.number}"

    def legs(self) -> tuple[Leg, ...]:
        """eth0 with the VIP (which the lab leaves alone), eth1 to the servers, eth2 its own."""
        server = (f"{self.own}/24", f"fd06::{10 + self.number}/64")
        # Beats are multicast: the own address in the VIP's segment needs no route of its own,
        # which would compete with that of eth0.
        own = (f"172.17.0.{10 + self.number}/32",)
        return (
            Leg("eth0", f"{self.name}0", VIP_SEGMENT),
            Leg("eth1", f"{self.name}1", SERVER_SEGMENT, server),
            Leg("eth2", f"{self.name}2", VIP_SEGMENT, own),
        )

    def mac(self, card: int) -> str:
        """The MAC of the card eth0, eth1 or eth2 as it comes from the factory."""
        return f"00:50:56:4f:3{card}:{self.number:02x}"

    def nics(self) -> list[Nic]:
        """Its cards, for its guest."""
        return [Nic(leg.port, self.mac(card)) for card, leg in enumerate(self.legs())]


@dataclass(frozen=True)
class Host:
    """The client, a real server, or a ZooKeeper server: a namespace."""

    name: str
    real: bool
    legs: tuple[Leg, ...]


def director(name: str) -> Director:
    """The director `name`."""
    if name not in DIRECTORS:
        raise LabError(f"no director {name}")
    return Director(name, DIRECTORS.index(name) + 1)


def client() -> Host:
    """The client."""
    leg = Leg("eth0", "client0", VIP_SEGMENT, ("172.17.1.1/16", "fd17::1:1/64"))
    return Host(CLIENT, False, (leg,))


def zookeeper(name: str) -> Host:
    """The ZooKeeper server `name`."""
    address = f"{zookeeper_address(name)}/24"
    return Host(name, False, (Leg("eth0", f"{name}-0", SERVER_SEGMENT, (address,)),))


def zookeeper_address(name: str) -> str:
    """Where the ZooKeeper server `name` is asked."""
    return f"192.168.6.{31 + ZOOKEEPERS.index(name)}"


def hosts() -> list[Host]:
    """The client and the real servers."""
    found = [client()]
    for name in REAL_SERVERS:
        number = name.removeprefix("real")
        server = (f"192.168.6.{number}/24", f"fd06::{number}/64")
        answers = (f"172.17.1.{number}/16", f"fd17::1:{number}/64")
        found.append(
            Host(
                name,
                True,
                (
                    Leg("eth0", f"{name}0", SERVER_SEGMENT, server),
                    Leg("eth1", f"{name}1", VIP_SEGMENT, answers),
                ),
            )
        )
    return found


def real_address(name: str) -> str:
    """A real server's address in the servers' segment."""
    return "192.168.6." + name.removeprefix("real")


def resolve(name: str, directors: Sequence[str]) -> str:
    """The node that is meant by `name`, which may be a real server's address."""
    by_address = {real_address(real): real for real in REAL_SERVERS}
    name = by_address.get(name, name)
    known = (*directors, CLIENT, *REAL_SERVERS)
    if name not in known:
        raise UnknownNodeError(f"no node '{name}' in this lab: there are {', '.join(known)}")
    return name


def ports(name: str) -> list[str]:
    """The switches' ports of a node."""
    if name in ZOOKEEPERS:
        return [leg.port for leg in zookeeper(name).legs]
    legs = [leg for host in hosts() if host.name == name for leg in host.legs]
    return [leg.port for leg in legs or director(name).legs()]

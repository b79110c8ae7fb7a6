# SPDX-License-Identifier: GPL-2.0-or-later
"""What a configuration consists of, once it is read and checked. Times are ns in here."""

from __future__ import annotations

import enum
import hashlib
from pathlib import Path

import msgspec

from saru.core.settings import Division, Membership, Quorum, Settings
from saru.errors import ConfigError


class DataplaneKind(enum.StrEnum):
    """What keeps the kernel's tables; which one AUTO stands for, `saru.dataplane.choice` says."""

    AUTO = "auto"
    MODULE = "module"
    NFTABLES = "nftables"


class HeartbeatMode(enum.StrEnum):
    """How a beat reaches the others."""

    MULTICAST = "multicast"
    UNICAST = "unicast"


class RulesMode(enum.StrEnum):
    """What is judged: every packet (connection sync), or new connections (connection tracking)."""

    SYNC = "sync"
    CONNTRACK = "conntrack"


class LinkMode(enum.StrEnum):
    """How every director comes to receive every packet."""

    UNICAST = "unicast"
    MULTICAST = "multicast"
    HUB = "hub"


class Protocol(enum.StrEnum):
    """The protocols that have ports."""

    TCP = "tcp"
    UDP = "udp"
    UDPLITE = "udplite"
    SCTP = "sctp"
    DCCP = "dccp"


class Cluster(msgspec.Struct, frozen=True):
    """[cluster]: who takes part. `nodes` empty: whoever is heard."""

    name: str
    membership: Membership
    nodes: tuple[str, ...]
    witnesses: tuple[str, ...]
    quorum: Quorum


class Times(msgspec.Struct, frozen=True):
    """[times], in ns."""

    keepalive: int
    warntime: int
    deadtime: int
    initdead: int
    join_delay: int


class Director(msgspec.Struct, frozen=True):
    """[director]: this host. `weight` is 0 to 65535."""

    name: str
    weight: int
    dataplane: DataplaneKind = DataplaneKind.AUTO


class Heartbeat(msgspec.Struct, frozen=True):
    """[heartbeat]: the roads of the beats.

    `interfaces` empty: the membership chooses. `authkeys` None: no file is named and
    /etc/saru/authkeys does not exist; the beats carry a signature, but anyone can make one.
    """

    interfaces: tuple[str, ...]
    mode: HeartbeatMode
    group: str
    port: int
    ttl: int
    peers: tuple[str, ...]
    authkeys: Path | None


class Tls(msgspec.Struct, frozen=True):
    """How a connection to ZooKeeper is encrypted. All are files of PEM.

    `ca` None: the host's authorities. `certificate` and `key`: what this director shows, if any.
    `check_hostname`: the server's certificate must be for the host that `hosts` names.
    """

    ca: Path | None
    certificate: Path | None
    key: Path | None
    check_hostname: bool


class Zookeeper(msgspec.Struct, frozen=True):
    """[zookeeper]. `hosts` are HOST:PORT, none without `membership = "zookeeper"`.

    `root` is the znode that the clusters' are under. `digest` names a file with USER:PASSWORD;
    None: znodes are open to everybody. `tls` None: in the clear.
    """

    hosts: tuple[str, ...]
    session_timeout: int
    root: str
    failsafe: bool
    digest: Path | None
    tls: Tls | None


class Service(msgspec.Struct, frozen=True):
    """[[service]]: what end users connect to. `ports` empty: all of them."""

    vip: str
    protocol: Protocol
    ports: tuple[int, ...]
    id: int


class Rules(msgspec.Struct, frozen=True):
    """[rules]. `real_servers`: their networks, under LVS-NAT only."""

    mode: RulesMode
    real_servers: tuple[str, ...]


class Link(msgspec.Struct, frozen=True):
    """[link]: the interface with the shared MAC. `addresses` carry a prefix length each."""

    interface: str
    mac: str
    mode: LinkMode
    addresses: tuple[str, ...]


class Ping(msgspec.Struct, frozen=True):
    """[ping]: hosts beyond the cluster. One that is silent for `deadping` is not reached, in ns."""

    nodes: tuple[str, ...]
    interval: int
    deadping: int

    def mark(self) -> bytes:
        """4 bytes that stand for these nodes, in whatever order they were written."""
        return hashlib.sha256(" ".join(sorted(self.nodes)).encode()).digest()[:4]


class Log(msgspec.Struct, frozen=True):
    """[log]. `facility`: "-" (terminal), a syslog facility, or a path."""

    facility: str
    debug: bool


class Daemon(msgspec.Struct, frozen=True):
    """[daemon]: `run` for the socket and the lock, `state` for what outlives a reboot.

    `realtime`: go before the host's ordinary programs, if that is permitted.
    """

    run: Path
    state: Path
    realtime: bool


class Config(msgspec.Struct, frozen=True):
    """The whole configuration. `path` is None for the defaults; `warnings` are for the user."""

    path: Path | None
    cluster: Cluster
    times: Times
    ids: tuple[Division, ...]
    director: Director
    heartbeat: Heartbeat
    ping: Ping
    services: tuple[Service, ...]
    rules: Rules
    link: Link | None
    log: Log
    daemon: Daemon
    zookeeper: Zookeeper
    warnings: tuple[str, ...] = ()

    @property
    def witness(self) -> bool:
        """Whether this node is a voter that holds no blocks."""
        return self.director.name in self.cluster.witnesses

    @property
    def by_zookeeper(self) -> bool:
        """Whether ZooKeeper is the membership."""
        return self.cluster.membership is Membership.ZOOKEEPER

    def must_be_witness(self) -> None:
        """Raises ConfigError if this node can hold blocks."""
        if not self.witness:
            place = f"{self.path}: " if self.path else ""
            raise ConfigError(
                [
                    f'{place}cluster.witnesses: this node, "{self.director.name}", is not among '
                    "them, and --witness is for those who are; name it there, in the file of every "
                    "node, or start it without --witness"
                ]
            )

    def settings(self) -> Settings:
        """The part of it that the core runs on."""
        return Settings(
            nodes=tuple(sorted(self.cluster.nodes)),
            witnesses=tuple(sorted(self.cluster.witnesses)),
            quorum=self.cluster.quorum,
            keepalive=self.times.keepalive,
            deadtime=self.times.deadtime,
            initdead=self.times.initdead,
            divisions=tuple(sorted(self.ids, key=lambda division: division.id)),
            join_delay=self.times.join_delay,
            warntime=self.times.warntime,
            ping_settle=self.ping.deadping,
            membership=self.cluster.membership,
            failsafe=self.zookeeper.failsafe and self.by_zookeeper,
        )

    def caveats(self) -> list[str]:
        """What this configuration does not guarantee, in sentences for the user."""
        voters = len(self.cluster.nodes)
        said = []
        if self.path is None:
            said.append("There is no /etc/saru/saru.conf: this runs on the defaults.")
        if self.by_zookeeper:
            if self.zookeeper.digest is None:
                said.append(
                    "There is no zookeeper.digest: the cluster's znodes are open to everybody who "
                    "reaches the servers, and who changes them can have blocks accepted twice."
                )
            return said if not self.zookeeper.failsafe else [*said, *self._unsigned()]
        if not voters:
            said.append(
                "cluster.nodes names no voters: whoever is heard takes part, and nobody is missed."
            )
        if self.cluster.quorum is Quorum.NONE:
            said.append(
                'The quorum is "none": directors that cannot hear each other all serve, and in '
                "such a partition two of them accept the same block. Three voters in "
                'cluster.nodes (one may be a witness) and quorum "majority" prevent that.'
            )
        return [*said, *self._unsigned()]

    def _unsigned(self) -> list[str]:
        if self.heartbeat.authkeys is not None:
            return []
        return [
            "There is no authkeys file: beats are not authenticated, and anyone who can send "
            "to this host's UDP port can take its blocks away. Write one secret into "
            "/etc/saru/authkeys, mode 600, on every director."
        ]

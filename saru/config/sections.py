# SPDX-License-Identifier: GPL-2.0-or-later
"""The sections of the configuration, each by a function: its keys, their values, their defaults."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from saru.config import reading
from saru.config.duration import HOUR, MS, SECOND
from saru.config.duration import text as written
from saru.config.quotation import shown
from saru.config.reading import Section
from saru.config.tree import (
    Cluster,
    Daemon,
    DataplaneKind,
    Director,
    Heartbeat,
    HeartbeatMode,
    Link,
    LinkMode,
    Log,
    Ping,
    Protocol,
    Rules,
    RulesMode,
    Service,
    Times,
)
from saru.core.settings import Division, Membership, Quorum
from saru.core.term import PLACE_MAX

DEFAULT_AUTHKEYS = Path("/etc/saru/authkeys")
# Linux-HA's, as the classic ha.cf has them; the other times follow from these.
DEFAULT_KEEPALIVE = 2 * SECOND
DEFAULT_JOIN_DELAY = 30 * SECOND
NO_NAMES: tuple[str, ...] = ()
NO_PORTS: tuple[int, ...] = ()
NODES_MAX = PLACE_MAX  # a term has 8 bits for the candidate's place
ID_MAX = 65535
IDS_MAX = 255
BLOCKS_MAX = 65536
WEIGHT_MAX = 65535
FACILITIES = (
    *("auth", "authpriv", "cron", "daemon", "kern", "lpr", "mail", "news", "syslog", "user"),
    *("uucp", *(f"local{number}" for number in range(8))),
)


def director(section: Section, host: str) -> Director:
    if "name" not in section.given:
        section.given = {**section.given, "name": host}
    return Director(
        name=section.take("name", reading.name, host),
        weight=section.take("weight", reading.integer(0, WEIGHT_MAX), 100),
        dataplane=section.take("dataplane", reading.choice(DataplaneKind), DataplaneKind.AUTO),
    )


def cluster(section: Section, director: Director, warnings: list[str]) -> Cluster:
    nodes = section.take("nodes", reading.listed(reading.name), NO_NAMES)
    witnesses = section.take("witnesses", reading.listed(reading.name), NO_NAMES)
    default = Quorum.MAJORITY if len(nodes) >= 3 else Quorum.NONE
    quorum = section.take("quorum", reading.choice(Quorum), default)
    cluster = Cluster(
        name=section.take("name", reading.name, "saru"),
        membership=section.take("membership", reading.choice(Membership), Membership.HEARTBEAT),
        nodes=nodes,
        witnesses=witnesses,
        quorum=quorum,
    )
    if not section.fine("nodes"):
        return cluster
    if len(nodes) > NODES_MAX:
        section.fault("nodes", f"{len(nodes)} nodes are too many; name at most {NODES_MAX}")
    if nodes and director.name not in nodes:
        section.fault(
            "nodes",
            f'this director, "{director.name}", is not among them; '
            "add it, or set director.name to one of them",
        )
    for stranger in sorted(set(witnesses) - set(nodes)):
        section.fault("witnesses", f'"{stranger}" is not in cluster.nodes; add it there')
    if nodes and set(nodes) == set(witnesses):
        section.fault("witnesses", "all nodes are witnesses; leave one that can hold blocks")
    if not nodes and quorum is Quorum.MAJORITY:
        section.fault("quorum", '"majority" of no voters; name them in cluster.nodes')
    if cluster.membership is Membership.ZOOKEEPER:
        return cluster  # whose servers are the quorum
    if len(nodes) == 2 and quorum is Quorum.MAJORITY:
        warnings.append(
            'cluster.quorum: a "majority" of two voters is both: when one is lost, the other '
            "stops; add a third node (it may be a witness)"
        )
    return cluster


def times(section: Section) -> Times:
    span = reading.time(10 * MS, 24 * HOUR)
    # Whichever of the two is given, the other follows, so that one line makes a cluster faster.
    keepalive = section.take("keepalive", span, 0)
    deadtime = section.take("deadtime", span, 5 * (keepalive or DEFAULT_KEEPALIVE))
    keepalive = keepalive or deadtime // 5
    warntime = section.take("warntime", span, deadtime // 2)
    # 2.04 deadtimes are short for 2 L+; the exact figure is 0.02 % more and is what counts.
    wait = 2 * -(-deadtime * 101 // 99)
    initdead = section.take("initdead", reading.time(10 * MS, 72 * HOUR), wait)
    join_delay = section.take("join_delay", reading.time(0, 24 * HOUR), DEFAULT_JOIN_DELAY)
    # All of these are read before the first fault is noted, so that each rule has its say.
    paced = section.fine("keepalive", "deadtime")
    waited = section.fine("deadtime", "initdead")
    warned = "warntime" in section.given and section.fine("keepalive", "deadtime", "warntime")
    if paced and deadtime < 3 * keepalive:
        section.fault(
            "deadtime",
            f"{written(deadtime)} is less than 3 x keepalive ({written(keepalive)}): two lost "
            f"beats would look like death; write {written(3 * keepalive)} or more",
        )
    if waited and 100 * initdead < 204 * deadtime:
        section.fault(
            "initdead",
            f"{written(initdead)} is less than 2.04 x deadtime ({written(deadtime)}): leases of "
            f"before a restart could still run; write {written(-(-204 * deadtime // 100))} or more",
        )
    if warned and not keepalive <= warntime <= deadtime:
        section.fault(
            "warntime",
            f"{written(warntime)} is not between keepalive ({written(keepalive)}) and deadtime "
            f"({written(deadtime)}); write a time between them, or leave it out",
        )
    return Times(
        keepalive=keepalive,
        warntime=warntime,
        deadtime=deadtime,
        initdead=max(initdead, wait),
        join_delay=join_delay,
    )


def _blocks(value: object) -> int:
    blocks = reading.integer(2, BLOCKS_MAX)(value)
    if blocks & (blocks - 1):
        below = 1 << (blocks.bit_length() - 1)
        raise ValueError(f"{blocks} is no power of two; write {below} or {2 * below}")
    return blocks


def ids(sections: list[Section]) -> tuple[Division, ...]:
    ids: dict[int, Division] = {}
    for section in sections:
        number = section.take("id", reading.integer(1, ID_MAX), 1)
        division = Division(
            id=number,
            blocks=section.take("blocks", _blocks, 1024),
            seed=section.take("seed", reading.integer(0, 2**32 - 1), 0),
        )
        if number in ids and section.fine("id"):
            section.fault("id", f"{number} comes twice; give each [[id]] a number of its own")
        ids.setdefault(number, division)
    if len(sections) > IDS_MAX:
        section.fault("id", f"{len(sections)} ids are too many for a beat; keep {IDS_MAX}")
    return tuple(ids.values()) or (Division(1, 1024, 0),)


def heartbeat(section: Section) -> Heartbeat:
    mode = section.take("mode", reading.choice(HeartbeatMode), HeartbeatMode.MULTICAST)
    peers = section.take("peers", reading.listed(reading.address), NO_NAMES)
    default = DEFAULT_AUTHKEYS if DEFAULT_AUTHKEYS.exists() else None
    authkeys = section.take("authkeys", reading.path, DEFAULT_AUTHKEYS)
    if section.fine("mode", "peers"):
        if mode is HeartbeatMode.UNICAST and not peers:
            section.fault("peers", 'mode "unicast" has nobody to send to; name the others here')
        if mode is HeartbeatMode.MULTICAST and peers:
            section.fault("peers", 'are of no use to mode "multicast"; write mode = "unicast"')
    return Heartbeat(
        interfaces=section.take("interfaces", reading.listed(reading.interface), NO_NAMES),
        mode=mode,
        group=section.take("group", reading.group, "225.0.0.7"),
        port=section.take("port", reading.integer(1, 65535), 694),
        ttl=section.take("ttl", reading.integer(1, 255), 1),
        peers=peers,
        authkeys=authkeys if "authkeys" in section.given else default,
    )


def ping(section: Section, times: Times) -> Ping:
    nodes = section.take("nodes", reading.listed(reading.address), NO_NAMES)
    deadping = section.take("deadping", reading.time(30 * MS, 24 * HOUR), times.deadtime)
    interval = section.take("interval", reading.time(10 * MS, HOUR), max(deadping // 5, 10 * MS))
    if section.fine("deadping", "interval") and deadping < 3 * interval:
        section.fault(
            "deadping",
            f"{written(deadping)} is less than 3 x interval ({written(interval)}): two lost "
            f"answers would look like death; write {written(3 * interval)} or more",
        )
    return Ping(nodes=nodes, interval=interval, deadping=deadping)


def services(sections: list[Section], ids: tuple[Division, ...]) -> tuple[Service, ...]:
    services = []
    seen: set[tuple[str, Protocol, int]] = set()
    for section in sections:
        service = Service(
            vip=section.need("vip", reading.shared_address, "", "write the VIP"),
            protocol=section.take("protocol", _protocol, Protocol.TCP),
            ports=section.take("ports", reading.listed(reading.integer(1, 65535)), NO_PORTS),
            id=section.take("id", reading.integer(1, ID_MAX), ids[0].id),
        )
        if section.fine("id") and service.id not in {division.id for division in ids}:
            section.fault(
                "id", f"there is no id {service.id}; add an [[id]] with id = {service.id}"
            )
        if service.vip and section.fine("vip", "protocol", "ports"):
            mine = {(service.vip, service.protocol, port) for port in service.ports or (0,)}
            if mine & seen:
                section.fault(
                    "ports", "an earlier [[service]] has the same VIP, protocol and port; drop one"
                )
            seen |= mine
        services.append(service)
    return tuple(services)


def _protocol(value: object) -> Protocol:
    if value in ("icmp", "icmpv6", "ipv6-icmp"):
        raise ValueError(f'"{value}" has no ports; drop it: ICMP to a VIP is always looked after')
    return reading.choice(Protocol)(value)


def rules(section: Section) -> Rules:
    return Rules(
        mode=section.take("mode", reading.choice(RulesMode), RulesMode.SYNC),
        real_servers=section.take("real_servers", reading.listed(reading.network), NO_NAMES),
    )


def link(
    section: Section, services: tuple[Service, ...], warnings: list[str], *, given: bool
) -> Link | None:
    vips = dict.fromkeys(service.vip for service in services if service.vip)
    link = Link(
        interface=section.take("interface", reading.interface, ""),
        mac=section.take("mac", reading.mac, ""),
        mode=section.take("mode", reading.choice(LinkMode), LinkMode.UNICAST),
        addresses=section.take(
            "addresses",
            reading.listed(reading.interface_address),
            tuple(str(ipaddress.ip_interface(vip)) for vip in vips),
        ),
    )
    if not given:
        return None
    if "interface" not in section.given:
        section.fault("interface", "is missing; name the interface that the VIP lives on")
    if "mac" not in section.given:
        section.fault("mac", "is missing; write one that all directors share: 00:50:56:14:03:40")
    elif section.fine("mac", "mode"):
        several = bool(int(link.mac[:2], 16) & 1)
        if link.mode is LinkMode.MULTICAST and not several:
            section.fault(
                "mac",
                f'{link.mac} is no multicast MAC, as mode "multicast" needs; '
                "write one such as 01:00:5e:14:03:40",
            )
        elif link.mode is not LinkMode.MULTICAST and several:
            section.fault(
                "mac",
                f"{link.mac} is a multicast MAC (its first byte is odd); "
                'write a unicast one, or mode = "multicast"',
            )
        elif not int(link.mac.replace(":", ""), 16):
            section.fault("mac", "is all zeros; write one such as 00:50:56:14:03:40")
    put = {str(ipaddress.ip_interface(address).ip) for address in link.addresses}
    for vip in vips:
        if vip not in put:
            warnings.append(
                f"link.addresses: the VIP {vip} of a service is not among them, so nothing puts it "
                f"on {link.interface or 'the interface'}; add it, unless something else does that"
            )
    return link


def log(section: Section) -> Log:
    return Log(
        facility=section.take("facility", _facility, "daemon"),
        debug=section.take("debug", reading.boolean, False),
    )


def _facility(value: object) -> str:
    written_ = reading.text(value)
    if written_.startswith("/"):
        return str(reading.path(written_))
    if written_ != "-" and written_ not in FACILITIES:
        raise ValueError(
            f'{shown(written_)} is no place to log to; write "-" (the terminal), a syslog facility '
            'such as "daemon" or "local0", or a path that begins with /'
        )
    return written_


def daemon(section: Section) -> Daemon:
    return Daemon(
        run=section.take("run", reading.path, Path("/run/saru")),
        state=section.take("state", reading.path, Path("/var/lib/saru")),
        realtime=section.take("realtime", reading.boolean, True),
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading [zookeeper], and whether [cluster] goes with it."""

from __future__ import annotations

import re
from pathlib import Path

from saru.config import reading
from saru.config.duration import HOUR, MS
from saru.config.duration import text as written
from saru.config.quotation import shown
from saru.config.reading import Section
from saru.config.tree import Cluster, Times, Tls, Zookeeper
from saru.core.settings import Membership, Quorum

DEFAULT_PORT = 2181
DEFAULT_ROOT = "/saru"
SESSION_MIN = 100 * MS
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_ROOT = re.compile(r"(/[A-Za-z0-9._-]+)+", re.ASCII)
NO_HOSTS: tuple[str, ...] = ()
NO_FILE: Path | None = None


def zookeeper(section: Section, times: Times) -> Zookeeper:
    """What the section says."""
    return Zookeeper(
        hosts=section.take("hosts", reading.listed(host), NO_HOSTS),
        session_timeout=section.take(
            "session_timeout", reading.time(SESSION_MIN, HOUR), max(times.deadtime, SESSION_MIN)
        ),
        root=section.take("root", root, DEFAULT_ROOT),
        failsafe=section.take("failsafe", reading.boolean, False),
        digest=section.take("digest", reading.path, NO_FILE),
        tls=_tls(section),
    )


def _tls(section: Section) -> Tls | None:
    wanted = section.take("tls", reading.boolean, False)
    tls = Tls(
        ca=section.take("ca", reading.path, NO_FILE),
        certificate=section.take("certificate", reading.path, NO_FILE),
        key=section.take("key", reading.path, NO_FILE),
        check_hostname=section.take("check_hostname", reading.boolean, True),
    )
    if not wanted and section.fine("tls"):
        for key in ("ca", "certificate", "key", "check_hostname"):
            if key in section.given:
                section.fault(key, "is of no use without TLS; write tls = true, or leave it out")
    elif (tls.certificate is None) != (tls.key is None) and section.fine("certificate", "key"):
        lacking, other = ("key", "certificate") if tls.key is None else ("certificate", "key")
        section.fault(lacking, f"is missing; name the file that belongs to zookeeper.{other}")
    return tls if wanted else None


def fits(section: Section, found: Zookeeper, cluster: Cluster, times: Times, name: str) -> None:
    """Note what of [cluster] and [zookeeper] does not go together, on the node `name`.

    `nodes`, `witnesses` and `quorum` may stay: they are the heartbeat cluster that this one may
    have been, whose directors must not be counted out before they have moved.
    """
    if cluster.membership is not Membership.ZOOKEEPER:
        return
    if not found.hosts and section.fine("hosts"):
        section.fault("hosts", 'is missing; write hosts = ["zk1:2181", "zk2:2181", "zk3:2181"]')
    if found.failsafe and times.deadtime < 4 * times.keepalive and section.fine("failsafe"):
        section.fault(
            "failsafe",
            f"needs a deadtime of 4 x keepalive or more, {written(4 * times.keepalive)}; it is "
            f"{written(times.deadtime)}: write that, or leave failsafe out",
        )
    if cluster.nodes and name not in cluster.witnesses:
        _can_move(section, cluster)
    if name in cluster.witnesses:
        section.errors.append(
            f'cluster.membership: this node, "{name}", is a witness, and has no part under '
            '"zookeeper", whose servers are the quorum; run no daemon here'
        )


def _can_move(section: Section, cluster: Cluster) -> None:
    """Whether enough of the nodes of a heartbeat cluster can come here to leave it no quorum."""
    n = len(cluster.nodes)
    needed = n // 2 + 1 if cluster.quorum is Quorum.MAJORITY else 1
    directors = n - len(set(cluster.witnesses) & set(cluster.nodes))
    if directors <= n - needed:
        section.errors.append(
            f"cluster.witnesses: with {n - directors} of {n} nodes as witnesses, who have no part "
            'under membership "zookeeper", too few could say that they go by heartbeats no more; '
            "take witnesses out first, while it goes by heartbeats"
        )


def host(value: object) -> str:
    """HOST:PORT of a server, or HOST, for port 2181; an IPv6 address stands in brackets."""
    text = value if isinstance(value, str) else ""
    name, _, port = text.rpartition(":") if re.search(r":\d+$", text) else (text, "", "")
    port = port or str(DEFAULT_PORT)
    bracketed = name.startswith("[") and name.endswith("]")
    try:
        if bracketed:
            reading.address(name[1:-1])
        elif not _HOST.fullmatch(name):
            raise ValueError
        if not 1 <= int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise ValueError(
            f'{shown(value)} is no server; write its name or address and port, "zk1:2181" '
            'or "[fd00::1]:2181"'
        ) from None
    return f"{name}:{port}"


def root(value: object) -> str:
    """The path of a znode."""
    parts = value.split("/")[1:] if isinstance(value, str) and _ROOT.fullmatch(value) else [""]
    if {"", ".", ".."} & set(parts) or parts[0] == "zookeeper":  # that one is the servers' own
        raise ValueError(
            f'{shown(value)} is no znode for this; write a path such as "{DEFAULT_ROOT}", '
            "of letters, digits, '.', '-' and '_'"
        )
    return str(value)


def caveats(found: Zookeeper, cluster: Cluster, times: Times) -> list[str]:
    """Warnings about settings that can be meant, but hardly are."""
    if cluster.membership is not Membership.ZOOKEEPER:
        return []
    if found.session_timeout < 2 * times.keepalive:
        return [
            f"zookeeper.session_timeout: {written(found.session_timeout)} is less than 2 x "
            f"keepalive ({written(times.keepalive)}): sessions would expire for nothing"
        ]
    return []

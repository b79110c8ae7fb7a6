# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of the generic netlink family SARU, as kmod/uapi/xt_saru.h defines them."""

from __future__ import annotations

import struct
from typing import Any

from pyroute2.netlink import genlmsg, nla

from saru.core.term import Term, Version
from saru.dataplane import Event, EventKind, Table, TableState

FAMILY = "SARU"
VERSION = 1
EVENTS = "events"

SET, RENEW, GET, DELETE, EVENT = 1, 2, 3, 4, 5

EVENT_KINDS = {
    1: EventKind.SET,
    2: EventKind.DELETED,
    3: EventKind.EXPIRED,
    4: EventKind.UNUSED,
}


class sarumsg(genlmsg):  # type: ignore[misc]  # noqa: N801  pyroute2's own way of naming
    """One message of the family; the order of the attributes is their number."""

    prefix = "SARU_A_"
    nla_map = (
        ("SARU_A_UNSPEC", "none"),
        ("SARU_A_PAD", "none"),
        ("SARU_A_ID", "uint16"),
        ("SARU_A_BLOCKS", "uint32"),
        ("SARU_A_SEED", "uint32"),
        ("SARU_A_TERM", "uint64"),
        ("SARU_A_SERIAL", "uint64"),
        ("SARU_A_DEADLINE", "uint64"),
        ("SARU_A_LEASE_MAX", "uint64"),
        ("SARU_A_BITMAP", "cdata"),
        ("SARU_A_HELD", "uint32"),
        ("SARU_A_ACCEPTED", "uint64"),
        ("SARU_A_REJECTED", "uint64"),
        ("SARU_A_EXPIRED", "uint64"),
        ("SARU_A_NO_KEY", "uint64"),
        ("SARU_A_USERS", "uint32"),
        ("SARU_A_PACKETS", "run"),
        ("SARU_A_EVENT", "uint8"),
    )

    class run(nla):  # type: ignore[misc]  # noqa: N801
        """A run of per-block packet counters."""

        prefix = "SARU_PACKETS_"
        nla_map = (
            ("SARU_PACKETS_UNSPEC", "none"),
            ("SARU_PACKETS_FIRST", "uint32"),
            ("SARU_PACKETS_COUNTS", "cdata"),
        )


def encode(family: int, command: int, flags: int, attributes: list[tuple[str, Any]]) -> bytearray:
    """A request, complete but for its sequence number (the 4 bytes at 8)."""
    message = sarumsg()
    message["cmd"] = command
    message["version"] = VERSION
    message["header"] = {"type": family, "flags": flags}
    message["attrs"] = attributes
    message.encode()
    return bytearray(message.data)


def set_attributes(table: Table) -> list[tuple[str, Any]]:
    """The attributes of a SET."""
    return [
        ("SARU_A_ID", table.id),
        ("SARU_A_BLOCKS", table.blocks),
        ("SARU_A_SEED", table.seed),
        ("SARU_A_TERM", table.version.term.packed()),
        ("SARU_A_SERIAL", table.version.serial),
        ("SARU_A_DEADLINE", table.deadline),
        ("SARU_A_LEASE_MAX", table.lease_max),
        ("SARU_A_BITMAP", table.held.to_bytes((table.blocks + 7) // 8, "little")),
    ]


def renew_attributes(id_: int, version: Version, deadline: int) -> list[tuple[str, Any]]:
    """The attributes of a RENEW. The deadline comes last: the message's last 8 bytes."""
    return [
        ("SARU_A_ID", id_),
        ("SARU_A_TERM", version.term.packed()),
        ("SARU_A_SERIAL", version.serial),
        ("SARU_A_DEADLINE", deadline),
    ]


def state(message: Any) -> TableState:
    """What an answer to GET says of an id."""
    value = dict(message["attrs"]).__getitem__
    return TableState(
        id=value("SARU_A_ID"),
        table=_table(message),
        users=value("SARU_A_USERS"),
        accepted=value("SARU_A_ACCEPTED"),
        rejected=value("SARU_A_REJECTED"),
        expired=value("SARU_A_EXPIRED"),
        no_key=value("SARU_A_NO_KEY"),
        packets=_packets(message),
    )


def _table(message: Any) -> Table | None:
    version = _version(message)
    if version is None:
        return None
    value = dict(message["attrs"]).__getitem__
    return Table(
        id=value("SARU_A_ID"),
        blocks=value("SARU_A_BLOCKS"),
        seed=value("SARU_A_SEED"),
        version=version,
        deadline=value("SARU_A_DEADLINE"),
        lease_max=value("SARU_A_LEASE_MAX"),
        held=int.from_bytes(value("SARU_A_BITMAP"), "little"),
    )


def _version(message: Any) -> Version | None:
    """The table's version; None if there is no table."""
    term = message.get_attr("SARU_A_TERM")
    return None if term is None else Version(Term.unpacked(term), message.get_attr("SARU_A_SERIAL"))


def _packets(message: Any) -> tuple[int, ...] | None:
    runs = message.get_attrs("SARU_A_PACKETS")
    if not runs:
        return None
    counts = [0] * message.get_attr("SARU_A_BLOCKS")
    for run in runs:
        raw = run.get_attr("SARU_PACKETS_COUNTS")
        first = run.get_attr("SARU_PACKETS_FIRST")
        numbers = struct.unpack(f"={len(raw) // 8}Q", raw)
        counts[first : first + len(numbers)] = numbers
    return tuple(counts)


def event(message: Any) -> Event | None:
    """The event that a notification tells of; None for kinds that a later kernel side invents."""
    kind = EVENT_KINDS.get(message.get_attr("SARU_A_EVENT"))
    if kind is None:
        return None
    users = message.get_attr("SARU_A_USERS", 0)
    return Event(kind, message.get_attr("SARU_A_ID"), users, _version(message))

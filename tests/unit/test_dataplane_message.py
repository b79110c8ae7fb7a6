# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to the kernel byte by byte, and answers as the kernel writes them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from saru.core.term import Term, Version
from saru.dataplane import Event, EventKind, Table, TableState, message

HEADER = Path(__file__).parents[2] / "kmod" / "uapi" / "xt_saru.h"
FAMILY = 0x23
VERSION = Version(Term(7, 2, 5), 9)
PACKED = 7 << 32 | 2 << 24 | 5


def attribute(kind: int, payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(padding)


def message_bytes(command: int, flags: int, *attributes: bytes) -> bytes:
    body = struct.pack("=BBH", command, 1, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), FAMILY, flags, 0, 0) + body


def numbers(enum: str) -> dict[str, int]:
    """The enumerators of an enum in the header that kernel and user space share."""
    code = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    body = re.search(rf"enum {enum} {{(.*?)}};", code, re.DOTALL)
    assert body is not None
    names = re.findall(r"^\s*(\w+),", body[1], re.MULTILINE)
    return {name: number for number, name in enumerate(names)}


def test_attributes_have_the_numbers_of_the_header() -> None:
    ours = [name for name, _ in message.sarumsg.nla_map]
    theirs = numbers("saru_attr")
    theirs.pop("__SARU_A_MAX", None)
    assert ours == list(theirs)
    runs = numbers("saru_packets_attr")
    runs.pop("__SARU_PACKETS_MAX", None)
    assert [name for name, _ in message.sarumsg.run.nla_map] == list(runs)


def test_commands_and_events_have_the_numbers_of_the_header() -> None:
    commands = numbers("saru_cmd")
    assert tuple(
        commands[f"SARU_CMD_{name}"] for name in ("SET", "RENEW", "GET", "DEL", "EVENT")
    ) == (message.SET, message.RENEW, message.GET, message.DELETE, message.EVENT)
    events = numbers("saru_event")
    assert {f"SARU_EVENT_{kind.name}": n for n, kind in message.EVENT_KINDS.items()} == {
        name: n for name, n in events.items() if n
    }


def test_set() -> None:
    table = Table(
        id=1, blocks=16, seed=3, version=VERSION, deadline=10**12, lease_max=10**9, held=0x8001
    )
    assert message.encode(FAMILY, message.SET, 5, message.set_attributes(table)) == message_bytes(
        1,
        5,
        attribute(2, struct.pack("=H", 1)),
        attribute(3, struct.pack("=I", 16)),
        attribute(4, struct.pack("=I", 3)),
        attribute(5, struct.pack("=Q", PACKED)),
        attribute(6, struct.pack("=Q", 9)),
        attribute(7, struct.pack("=Q", 10**12)),
        attribute(8, struct.pack("=Q", 10**9)),
        attribute(9, b"\x01\x80"),
    )


def test_two_blocks_take_one_byte_and_65536_take_8192() -> None:
    for blocks, size in ((2, 1), (8, 1), (16, 2), (65536, 8192)):
        table = Table(id=1, blocks=blocks, seed=0, version=VERSION, deadline=1, lease_max=1, held=1)
        assert len(dict(message.set_attributes(table))["SARU_A_BITMAP"]) == size


def test_a_renewal_ends_with_its_deadline_so_that_it_can_be_patched() -> None:
    request = message.encode(FAMILY, message.RENEW, 5, message.renew_attributes(1, VERSION, 12345))
    assert request == message_bytes(
        2,
        5,
        attribute(2, struct.pack("=H", 1)),
        attribute(5, struct.pack("=Q", PACKED)),
        attribute(6, struct.pack("=Q", 9)),
        attribute(7, struct.pack("=Q", 12345)),
    )
    assert struct.unpack_from("=Q", request, len(request) - 8) == (12345,)


def answer(*attributes: bytes) -> message.sarumsg:
    decoded = message.sarumsg(message_bytes(3, 0, *attributes))
    decoded.decode()
    return decoded


def test_a_table_with_its_counters_in_two_runs() -> None:
    runs = [
        attribute(
            16 | 0x8000,
            attribute(1, struct.pack("=I", first)) + attribute(2, struct.pack("=8Q", *counts)),
        )
        for first, counts in ((0, range(8)), (8, range(100, 108)))
    ]
    state = message.state(
        answer(
            attribute(2, struct.pack("=H", 7)),
            attribute(3, struct.pack("=I", 16)),
            attribute(4, struct.pack("=I", 3)),
            attribute(1, b""),  # padding, as the kernel puts it before 64-bit numbers
            attribute(5, struct.pack("=Q", PACKED)),
            attribute(6, struct.pack("=Q", 9)),
            attribute(7, struct.pack("=Q", 10**12)),
            attribute(8, struct.pack("=Q", 10**9)),
            attribute(9, b"\x01\x80"),
            attribute(10, struct.pack("=I", 2)),
            *(attribute(kind, struct.pack("=Q", kind)) for kind in (11, 12, 13, 14)),
            attribute(15, struct.pack("=I", 5)),
            *runs,
        )
    )
    assert state == TableState(
        id=7,
        table=Table(
            id=7,
            blocks=16,
            seed=3,
            version=VERSION,
            deadline=10**12,
            lease_max=10**9,
            held=0x8001,
        ),
        accepted=11,
        rejected=12,
        expired=13,
        no_key=14,
        users=5,
        packets=(*range(8), *range(100, 108)),
    )


def test_an_id_that_only_rules_name_has_no_table() -> None:
    state = message.state(
        answer(
            attribute(2, struct.pack("=H", 7)),
            attribute(15, struct.pack("=I", 5)),
            *(attribute(kind, struct.pack("=Q", kind)) for kind in (11, 12, 13, 14)),
        )
    )
    assert state == TableState(id=7, users=5, accepted=11, rejected=12, expired=13, no_key=14)


def test_events() -> None:
    named = attribute(2, struct.pack("=H", 9)), attribute(15, struct.pack("=I", 5))
    for number, kind in message.EVENT_KINDS.items():
        told = answer(*named, attribute(17, bytes([number])))
        assert message.event(told) == Event(kind, 9, users=5)
    versioned = attribute(5, struct.pack("=Q", PACKED)), attribute(6, struct.pack("=Q", 9))
    told = answer(*named, attribute(17, b"\x01"), *versioned)
    assert message.event(told) == Event(EventKind.SET, 9, users=5, version=VERSION)
    unknown = answer(attribute(2, struct.pack("=H", 9)), attribute(17, b"\xff"))
    assert message.event(unknown) is None
    assert EventKind.LOST not in message.EVENT_KINDS.values()

# SPDX-License-Identifier: GPL-2.0-or-later
"""nftables judges each packet that the module's match is shown as that does, where it can.

All rows of a family are judged by one set of rules. A frame tells its row by its source MAC, by
which it goes to the row's own chain and id; whether it matched is noted there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from saru import nft
from saru.core.blocks import Map, Sense
from saru.core.settings import Division
from saru.dataplane import fields, layout
from saru.rules.nft_model import DEFRAGMENTATION
from tests.net.nft_table import table_of
from tests.net.wire import MAC, MULTICAST_MAC, Wire
from tests.vm.packet_table import Expected, Row, rows, seen

SEED = 0x5EED
PRIORITY = -300  # behind defragmentation, before everything else
ICMP = {4: "icmp", 6: "ipv6-icmp"}

JOINED = "a fragment has ports once it is joined to the others, and none if something prevents that"
SHUT = "nftables does not look behind an authentication header"
NO_WAY = "nftables finds no way behind the headers of a packet within another"
ON_AND_ON = "nftables steps over any number of extension headers"
NO_MATTER = "nftables judges by addresses whatever follows; the kernel drops it next"
DIFFERENT: dict[tuple[int, str], tuple[bool, str]] = {
    (6, "a first fragment alone"): (False, JOINED),
    (6, "behind an atomic fragment's header"): (False, JOINED),
    (6, "behind a authentication header"): (False, SHUT),
    (6, "behind all of them"): (False, SHUT),
    (6, "error about a packet with an extension header"): (False, NO_WAY),
    (6, "behind 9 headers"): (True, ON_AND_ON),
    (6, "an extension header cut short, by address"): (True, NO_MATTER),
}
"""By family and description: whether nftables finds a block where the module's match does not, or
the other way round, and why. `! --id` has no counterpart: a rule behind says what is done with the
rest, and a header cut short belongs to that rest."""
EITHER = {"an extension header cut short, by address"}
"""Judged by newer kernels (seen: 6.18) and not by older ones (6.1): all drop it next."""


@dataclass(frozen=True)
class Case:
    """A row, the blocks that are held, and whether the rule is to match."""

    row: Row
    division: Division
    held: frozenset[int]
    matches: bool

    @property
    def mac(self) -> bytes:
        return bytes([2, 0]) + self.division.id.to_bytes(4, "big")

    def __str__(self) -> str:
        held = "all" if len(self.held) == self.division.blocks else len(self.held)
        return f"{self.row.description} ({self.row.rule()}), {held} blocks held"


def expected(version: int, row: Row) -> Expected:
    different = DIFFERENT.get((version, row.description))
    if different is None or different[0] == (row.expected.fields is not None):
        return row.expected
    return seen(version) if different[0] else Expected(None)


def cases(version: int, blocks: int) -> Iterator[Case]:
    """Each row with its block held and with all others held, or with all held if it has none."""
    every = frozenset(range(blocks))
    number = 0
    for row in rows(version):
        found = expected(version, row).fields
        if found is None:
            wanted = [(every, False)]
        else:
            mine = {found.block(blocks, SEED, Sense.parse(row.sense), mapping(row))}
            wanted = [(frozenset(mine), True), (every - mine, False)]
        for held, matches in wanted:
            number += 1
            yield Case(row, Division(number, blocks, SEED), held, matches)


def mapping(row: Row) -> Map:
    return Map[row.map.upper()] if row.map else Map.AUTO


def commands(version: int, case: Case) -> Iterator[str]:
    """The row's table in the kernel, and a chain that notes its packets if they match."""
    row, division = case.row, case.division
    sense, number = Sense.parse(row.sense), division.id
    error = layout.judgement(division, sense, version, mapping(row), about=True)
    plain = layout.judgement(division, sense, version, mapping(row))
    note = "add @matched { ether saddr }"
    errors = fields.ERRORS[version]
    others = errors.replace("type <", "type >=").replace("type {", "type != {")
    table = f"{layout.FAMILY} {layout.TABLE}"
    yield table_of(division, case.held)
    yield f"add chain {table} judged_{number}\n"
    yield f"add rule {table} judged_{number} {errors} {error} {note}\n"
    yield f"add rule {table} judged_{number} {others} {plain} {note}\n"
    yield f"add rule {table} judged_{number} meta l4proto != {ICMP[version]} {plain} {note}\n"
    protocol = f"meta l4proto {row.protocol.replace('icmpv6', 'ipv6-icmp')}" if row.protocol else ""
    yield f"add chain {table} row_{number}\n"
    yield f"add rule {table} row_{number} {protocol} goto judged_{number}\n"


def ruleset(version: int, wanted: list[Case]) -> str:
    table = f"{layout.FAMILY} {layout.TABLE}"
    untracked = ", ".join(case.mac.hex(":") for case in wanted if case.row.untracked)
    ways = ", ".join(f"{case.mac.hex(':')} : goto row_{case.division.id}" for case in wanted)
    return "".join(
        [
            f"add table {table}\n",
            f"add set {table} matched {{ type ether_addr; size 65535; flags dynamic; }}\n",
            *(command for case in wanted for command in commands(version, case)),
            f"add chain {table} early {{ type filter hook prerouting priority -450; }}\n",
            f"add rule {table} early ether saddr {{ {untracked} }} notrack\n" if untracked else "",
            DEFRAGMENTATION.text(),
            f"add chain {table} judge {{ type filter hook prerouting priority {PRIORITY}; }}\n",
            f"add rule {table} judge ether saddr vmap {{ {ways} }}\n",
        ]
    )


def matched() -> set[str]:
    listed = nft.listing(f"list set {layout.FAMILY} {layout.TABLE} matched")
    (found,) = (each["set"] for each in listed if "set" in each)
    return set(found.get("elem", []))


def check(version: int, wanted: list[Case], *, linear: int | None = None, then: str = "") -> None:
    """Judge all of it. `then` are commands for nft that come after the rules."""
    with Wire() as wire:
        nft.run(ruleset(version, wanted) + then)
        for case in wanted:
            for packet in case.row.packets:
                mac = MULTICAST_MAC if case.row.multicast else MAC
                wire.send(packet, case.mac, mac, linear)
        found = matched()
    wrong = [
        f"{case}: {'missed' if case.matches else 'matched'}"
        for case in wanted
        if (case.mac.hex(":") in found) != case.matches and case.row.description not in EITHER
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("version", [4, 6])
def test_packets(version: int) -> None:
    """Each row of the table."""
    check(version, list(cases(version, 64)))


@pytest.mark.parametrize("version", [4, 6])
def test_packets_in_pieces(version: int) -> None:
    """The same with nothing but the IP header in one piece."""
    header = 20 if version == 4 else 40
    wanted = [
        case
        for case in cases(version, 64)
        if all(len(packet) > header for packet in case.row.packets)
    ]
    check(version, wanted, linear=header)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("state", ["no table", "no lease", "its time is up", "another division"])
def test_without_a_table_in_force_nothing_matches(version: int, state: str) -> None:
    """Whatever is held."""
    wanted = [
        dataclasses.replace(case, held=frozenset(range(64)), matches=False)
        for case in cases(version, 64)
        if case.matches
    ]
    table, then = f"{layout.FAMILY} {layout.TABLE}", ""
    for case in wanted:
        number = case.division.id
        lease, until = layout.lease_set(number), layout.until_set(number)
        if state == "no table":
            then += f"flush set {table} {layout.held_set(number)}\n"
        elif state == "its time is up":
            then += f"flush set {table} {until}\nadd element {table} {until} {{ 0-1000000000 }}\n"
        else:
            then += f"flush set {table} {lease}\n"
        if state == "another division":
            key = layout.division_key(64, SEED + 1)
            then += f"add element {table} {lease} {{ {key} timeout 1h }}\n"
    check(version, wanted, then=then)


@pytest.mark.parametrize("blocks", [2, 1024, 65536])
def test_block_numbers(blocks: int) -> None:
    """Few blocks and many, at the ends of the port range, by range and by hash."""
    some = ("rule for tcp", "TCP by src-port", "TCP by dst-port", "TCP by src-addr", "port 0")
    wanted = [
        case
        for case in cases(4, blocks)
        if case.row.description in (*some, "protocol 17", "TCP by src-port, hash")
        if len(case.held) <= 1024
    ]
    assert len(wanted) >= 8
    check(4, wanted)


def test_what_differs_is_in_the_table() -> None:
    """No exception is stated that nobody needs."""
    there = {
        (version, row.description): row.expected.fields is not None
        for version in (4, 6)
        for row in rows(version)
    }
    for key, (found, _) in DIFFERENT.items():
        assert there[key] != found

# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the data plane `nftables` keeps things, as text."""

from __future__ import annotations

import pytest

from saru.core.blocks import BLOCKS_MAX, Map, Sense
from saru.core.settings import Division
from saru.dataplane import fields, layout
from saru.errors import SaruError

DIVISION = Division(1, 1024, 7)
TIMES = "@nh,0,32 & 0x19bf7b3 | 0x19bf7b3 @lease_1 meta time @until_1"


@pytest.mark.parametrize(
    ("sense", "mapping", "version", "last"),
    [
        ("src-port", Map.AUTO, 4, "@th,0,32 >> 22 @held_1"),
        ("dst-port", Map.RANGE, 6, "@th,16,32 >> 22 @held_1"),
        ("src-port", Map.HASH, 4, "jhash th sport mod 1024 seed 0x7 @held_1"),
        (
            "src-addr,src-port",
            Map.AUTO,
            6,
            "jhash ip6 saddr . th sport mod 1024 seed 0x7 @held_1",
        ),
    ],
)
def test_ports_are_asked_of_protocols_that_have_them(
    sense: str, mapping: Map, version: int, last: str
) -> None:
    said = layout.judgement(DIVISION, Sense.parse(sense), version, mapping)
    assert said == f"{fields.own(version).with_ports} {TIMES} {last}"


@pytest.mark.parametrize(
    ("sense", "mapping", "version", "last"),
    [
        ("src-addr", Map.AUTO, 4, "jhash ip saddr mod 1024 seed 0x7 @held_1"),
        (
            "src-addr,dst-addr",
            Map.HASH,
            6,
            "jhash ip6 saddr . ip6 daddr mod 1024 seed 0x7 @held_1",
        ),
        (
            "dst-addr",
            Map.RANGE,
            4,
            "@nh,128,32 >> 22 @held_1",
        ),
    ],
)
def test_addresses_are_of_the_family(sense: str, mapping: Map, version: int, last: str) -> None:
    said = layout.judgement(DIVISION, Sense.parse(sense), version, mapping)
    assert said == f"@nh,0,8 & 0xf0 == {version << 4:#x} {TIMES} {last}"


def test_an_error_is_judged_by_the_packet_it_is_about_turned_around() -> None:
    said = layout.judgement(DIVISION, Sense.parse("src-port"), 4, about=True)
    assert said.endswith(f"{TIMES} @th,240,32 >> 22 @held_1")
    both = Sense.parse("src-addr,dst-port")
    said = layout.judgement(DIVISION, both, 6, about=True)
    assert said.endswith(f"{TIMES} jhash @th,256,128 . @th,384,16 mod 1024 seed 0x7 @held_1")


@pytest.mark.parametrize(
    ("sense", "version"), [("src-addr", 6), ("src-addr,src-port", 4), ("src-port,dst-port", 6)]
)
def test_a_range_of_what_has_none_is_refused(sense: str, version: int) -> None:
    with pytest.raises(SaruError, match=f"^sense {sense}: the map range takes one port or"):
        layout.judgement(DIVISION, Sense.parse(sense), version, Map.RANGE)


def test_divisions_have_keys_of_their_own() -> None:
    keys = {
        layout.division_key(1 << bits, seed) for bits in range(1, 17) for seed in (0, 1, 2**32 - 1)
    }
    assert len(keys) == 16 * 3
    assert 0 not in keys


@pytest.mark.parametrize(("blocks", "lower"), [(2, 31), (BLOCKS_MAX, 16)])
def test_a_block_is_the_upper_bits_of_a_field(blocks: int, lower: int) -> None:
    said = layout.judgement(Division(1, blocks, 0), Sense.SRC_PORT, 4)
    assert said.endswith(f" @th,0,32 >> {lower} @held_1")

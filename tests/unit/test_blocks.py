# SPDX-License-Identifier: GPL-2.0-or-later
"""Packet to block, and bitmaps."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru.core import blocks as saru_blocks
from saru.core.blocks import Map, Packet, Sense

UAPI = Path(__file__).parents[2] / "kmod" / "uapi" / "xt_saru.h"
WORD = (1 << 32) - 1

block_counts = st.sampled_from([1 << bits for bits in range(1, 17)])
seeds = st.integers(0, WORD)


def unrolled_jhash(key: bytes, seed: int) -> int:
    """lookup3 as its author tabulates it: every line of the two mixers written out."""
    words = {name: (0xDEADBEEF + len(key) + seed) & WORD for name in "abc"}

    def rotate(name: str, by: int) -> int:
        return (words[name] << by | words[name] >> (32 - by)) & WORD

    while len(key) > 12:
        for place, name in enumerate("abc"):
            words[name] += int.from_bytes(key[4 * place : 4 * place + 4], "little")
            words[name] &= WORD
        key = key[12:]
        for left, right, by, other in (
            ("a", "c", 4, "b"),
            ("b", "a", 6, "c"),
            ("c", "b", 8, "a"),
            ("a", "c", 16, "b"),
            ("b", "a", 19, "c"),
            ("c", "b", 4, "a"),
        ):
            words[left] = (words[left] - words[right]) & WORD
            words[left] ^= rotate(right, by)
            words[right] = (words[right] + words[other]) & WORD
    if not key:
        return words["c"]
    for place, byte in enumerate(key):
        name = "abc"[place // 4]
        words[name] = (words[name] + (byte << 8 * (place % 4))) & WORD
    for left, right, by in (
        ("c", "b", 14),
        ("a", "c", 11),
        ("b", "a", 25),
        ("c", "b", 16),
        ("a", "c", 4),
        ("b", "a", 14),
        ("c", "b", 24),
    ):
        words[left] ^= words[right]
        words[left] = (words[left] - rotate(right, by)) & WORD
    return words["c"]


@pytest.mark.parametrize(
    ("key", "seed", "expected"),
    [
        # The values that lookup3's own self-test prints.
        (b"", 0, 0xDEADBEEF),
        (b"", 0xDEADBEEF, 0xBD5B7DDE),
        (b"Four score and seven years ago", 0, 0x17770551),
        (b"Four score and seven years ago", 1, 0xCD628161),
    ],
)
def test_jhash_published_values(key: bytes, seed: int, expected: int) -> None:
    assert saru_blocks.jhash(key, seed) == expected


@given(st.binary(max_size=64), seeds)
def test_jhash_equals_the_unrolled_one(key: bytes, seed: int) -> None:
    assert saru_blocks.jhash(key, seed) == unrolled_jhash(key, seed)


PACKET_4 = Packet(ip_address("192.0.2.1"), ip_address("172.17.60.201"), 0x1234, 80)
PACKET_6 = Packet(ip_address("2001:db8::1"), ip_address("2001:db8::2"), 0xFEDC, 443)
SRC_4, DST_4 = bytes([192, 0, 2, 1]), bytes([172, 17, 60, 201])
SRC_6, DST_6 = PACKET_6.src_addr.packed, PACKET_6.dst_addr.packed


@pytest.mark.parametrize(
    ("packet", "sense", "key"),
    [
        (PACKET_4, "src-port", b"\x12\x34"),
        (PACKET_4, "dst-port", b"\x00\x50"),
        (PACKET_4, "src-addr", SRC_4),
        (PACKET_6, "dst-addr", DST_6),
        (PACKET_4, "src-addr,src-port", SRC_4 + b"\x12\x34\0\0"),
        (PACKET_4, "src-port,src-addr", SRC_4 + b"\x12\x34\0\0"),
        (PACKET_4, "dst-port,src-port", b"\x12\x34\0\0\x00\x50\0\0"),
        (
            PACKET_4,
            "src-addr,dst-addr,src-port,dst-port",
            SRC_4 + DST_4 + b"\x12\x34\0\0\x00\x50\0\0",
        ),
        (
            PACKET_6,
            "src-addr,dst-addr,src-port,dst-port",
            SRC_6 + DST_6 + b"\xfe\xdc\0\0\x01\xbb\0\0",
        ),
    ],
)
def test_hash_key(packet: Packet, sense: str, key: bytes) -> None:
    for blocks in (2, 1024, 65536):
        for seed in (0, 7, WORD):
            expected = unrolled_jhash(key, seed) * blocks >> 32
            assert packet.block(blocks, seed, Sense.parse(sense), Map.HASH) == expected


@pytest.mark.parametrize(
    ("value", "width", "blocks", "expected"),
    [
        (0, 16, 1024, 0),
        (63, 16, 1024, 0),
        (64, 16, 1024, 1),
        (49152, 16, 1024, 768),
        (65535, 16, 1024, 1023),
        (65535, 16, 65536, 65535),
        (32767, 16, 2, 0),
        (32768, 16, 2, 1),
        (0xC0000201, 32, 1024, 0x300),
        (WORD, 32, 65536, 65535),
    ],
)
def test_range_block(value: int, width: int, blocks: int, expected: int) -> None:
    assert saru_blocks.range_block(value, width, blocks) == expected


@given(block_counts, seeds, st.sampled_from(["src-port", "dst-port"]))
def test_auto_is_range_for_one_port(blocks: int, seed: int, sense: str) -> None:
    parsed = Sense.parse(sense)
    port = PACKET_4.src_port if sense == "src-port" else PACKET_4.dst_port
    assert PACKET_4.block(blocks, seed, parsed) == port // (65536 // blocks)


@pytest.mark.parametrize("sense", ["src-addr", "dst-addr", "src-port,dst-port"])
def test_auto_is_hash_for_the_rest(sense: str) -> None:
    parsed = Sense.parse(sense)
    for seed in range(20):
        auto = PACKET_6.block(1024, seed, parsed)
        assert auto == PACKET_6.block(1024, seed, parsed, Map.HASH)


def test_range_takes_an_ipv4_address() -> None:
    assert PACKET_4.block(256, 0, Sense.SRC_ADDR, Map.RANGE) == 192


@pytest.mark.parametrize(
    ("packet", "sense"), [(PACKET_6, "src-addr"), (PACKET_4, "src-port,dst-port")]
)
def test_range_refused(packet: Packet, sense: str) -> None:
    with pytest.raises(ValueError, match=f"sense {sense}: range takes one port or one IPv4"):
        packet.block(1024, 0, Sense.parse(sense), Map.RANGE)


@pytest.mark.parametrize("blocks", [-2, 0, 1, 3, 1000, 131072])
def test_blocks_refused(blocks: int) -> None:
    with pytest.raises(ValueError, match="power of two from 2 to 65536"):
        saru_blocks.range_block(0, 16, blocks)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="no field"):
        saru_blocks.hash_block([], 1024, 0)
    with pytest.raises(ValueError, match="65536 is not a number of 16 bits"):
        saru_blocks.range_block(65536, 16, 1024)


def test_sense_words_both_ways() -> None:
    for bits in range(1, 16):
        sense = Sense(bits)
        assert Sense.parse(str(sense)) == sense
    assert str(Sense(15)) == "src-addr,dst-addr,src-port,dst-port"
    assert str(Sense.parse("dst-port,src-addr")) == "src-addr,dst-port"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "unknown field ''"),
        ("source-port", "unknown field 'source-port'"),
        ("src-port,src-port", "field 'src-port' stands there twice"),
    ],
)
def test_sense_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Sense.parse(text)


def test_values_are_the_kernel_interface_s() -> None:
    header = UAPI.read_text()
    senses = dict(re.findall(r"SARU_SENSE_(\w+)\s*= 1 << (\d)", header))
    assert {name: 1 << int(bit) for name, bit in senses.items()} == {
        sense.name: sense.value for sense in Sense
    }
    body = re.search(r"enum saru_map \{(.*?)\}", header, re.S)
    assert body
    assert re.findall(r"SARU_MAP_(\w+)", body[1]) == [
        member.name for member in sorted(Map, key=lambda member: member.value)
    ]
    for name in ("MIN", "MAX"):
        limit = re.search(rf"#define SARU_BLOCKS_{name}\s+(\d+)", header)
        assert limit
        assert int(limit[1]) == getattr(saru_blocks, f"BLOCKS_{name}")


@given(block_counts, st.data())
def test_bitmap_round_trips(blocks: int, data: st.DataObject) -> None:
    members = data.draw(st.sets(st.integers(0, blocks - 1), max_size=40))
    bitmap = saru_blocks.bitmap_of(members)
    assert bitmap.bit_count() == len(members)
    assert saru_blocks.bitmap_blocks(bitmap) == sorted(members)
    raw = saru_blocks.bitmap_to_bytes(bitmap, blocks)
    assert len(raw) == max(1, blocks // 8)
    for block in range(0, blocks, max(1, blocks // 64)):
        assert raw[block // 8] >> block % 8 & 1 == (block in members)
    assert saru_blocks.bitmap_from_bytes(raw, blocks) == bitmap


@pytest.mark.parametrize(("bitmap", "blocks"), [(1 << 8, 8), (4, 2), (-1, 8)])
def test_bitmap_to_bytes_refuses(bitmap: int, blocks: int) -> None:
    with pytest.raises(ValueError, match=f"beyond the last of {blocks}"):
        saru_blocks.bitmap_to_bytes(bitmap, blocks)


def test_bitmap_from_bytes_refuses() -> None:
    with pytest.raises(ValueError, match="16 blocks cannot have 3 bytes"):
        saru_blocks.bitmap_from_bytes(bytes(3), 16)
    with pytest.raises(ValueError, match="beyond the last of 4"):
        saru_blocks.bitmap_from_bytes(b"\x10", 4)


@given(block_counts.filter(lambda blocks: blocks <= 256), st.integers(0, 255), st.data())
def test_owners_round_trip(blocks: int, count: int, data: st.DataObject) -> None:
    owners = bytes(data.draw(st.lists(st.integers(0, count), min_size=blocks, max_size=blocks)))
    bitmaps = saru_blocks.bitmaps_of(owners, count)
    assert bitmaps == [
        saru_blocks.bitmap_of(block for block in range(blocks) if owners[block] == owner)
        for owner in range(1, count + 1)
    ]
    assert saru_blocks.owners_of(bitmaps, blocks) == owners


def test_owners_refuses() -> None:
    with pytest.raises(ValueError, match="block 1 is in two bitmaps"):
        saru_blocks.owners_of([2, 3], 8)
    with pytest.raises(ValueError, match="beyond the last of 8"):
        saru_blocks.owners_of([256], 8)
    with pytest.raises(ValueError, match="256 bitmaps"):
        saru_blocks.owners_of([0] * 256, 8)

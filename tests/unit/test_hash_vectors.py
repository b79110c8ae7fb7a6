# SPDX-License-Identifier: GPL-2.0-or-later
"""C and Python put every packet into the same block, and so does nftables' jhash.

The C side is `kmod/key.h` and `kmod/hash.h` as the module compiles them, with `jhash.h` from
the kernel's own headers; only a socket buffer is ours (`kernel_shim/`).
"""

import json
import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from deploy.lab import kernels
from saru.core.blocks import Map, Packet, Sense
from tests import packets as p

ROOT = Path(__file__).parents[2]
SHIM = Path(__file__).with_name("kernel_shim")
PACKETS = 10_000
SENSES = [Sense(bits) for bits in range(1, 16)]
RECORD = struct.Struct("=IIIIIBBBB")
VIP: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("172.17.60.201"),
    6: IPv6Address("2001:db8:60::201"),
}
ROUTER = {4: "10.11.12.13", 6: "2001:db8:ee::13"}


@dataclass(frozen=True)
class Vector:
    """A packet as bytes, what it says, and the division that it falls into."""

    data: bytes
    fields: Packet
    blocks: int
    seed: int


@pytest.fixture(scope="module")
def c_side(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `blocks.c`, compiled with the sanitizers."""
    directory = tmp_path_factory.mktemp("blocks")
    headers = kernels.fetch("6.1").headers
    common = headers.with_name(headers.name.rpartition("-")[0] + "-common")
    (directory / "linux").mkdir()
    (directory / "linux/jhash.h").symlink_to(common / "include/linux/jhash.h")
    program = directory / "blocks"
    subprocess.run(
        [
            *("cc", "-O1", "-g", "-Wall", "-Werror", "-Wno-unused-function"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            *(f"-I{SHIM}", f"-I{directory}", f"-I{ROOT / 'kmod'}"),
            *("-o", program, SHIM / "blocks.c"),
        ],
        check=True,
    )
    return program


def client_address(random_: random.Random, version: int) -> IPv4Address | IPv6Address:
    if version == 4:
        return IPv4Address(random_.getrandbits(32))
    return IPv6Address(random_.getrandbits(128))


def dressed(random_: random.Random, version: int, fields: Packet) -> bytes:
    """The packet in one of the forms it can come in: plain, with options, or within an error."""
    source, destination = str(fields.src_addr), str(fields.dst_addr)
    protocol = random_.choice(p.WITH_PORTS)
    body = p.ports(fields.src_port, fields.dst_port, random_.choice((0, 4, 16)))
    form = random_.randrange(4)
    if form == 0:
        if version == 4:
            options = b"\1" * random_.choice((4, 8, 40))
            return p.ip(source, destination, protocol, body, options=options)
        headers = p.extension(protocol, random_.randrange(3))
        return p.ip(source, destination, p.DSTOPTS, headers + body)
    if form == 1:
        body = p.ports(fields.dst_port, fields.src_port, 4)
        about = p.ip(destination, source, protocol, body)
        kind, icmp = (p.UNREACHABLE, p.ICMP) if version == 4 else (2, p.ICMPV6)
        return p.ip(ROUTER[version], destination, icmp, p.icmp_error(kind, about))
    return p.ip(source, destination, protocol, body)


def vectors(version: int, sense: Sense) -> Iterator[Vector]:
    random_ = random.Random(f"{version} {sense}")
    for _ in range(PACKETS):
        fields = Packet(
            client_address(random_, version),
            VIP[version],
            random_.randrange(65536),
            random_.randrange(65536),
        )
        yield Vector(
            dressed(random_, version, fields),
            fields,
            1 << random_.randint(1, 16),
            random_.choice((0, random_.getrandbits(32))),
        )


def blocks_by_c(
    program: Path, wanted: list[Vector], version: int, sense: Sense, map_: Map, shortly: bool
) -> list[int]:
    header = 20 if version == 4 else 40
    records = b"".join(
        RECORD.pack(
            *(vector.blocks, vector.seed, len(vector.data), len(vector.data), header),
            *(sense.value, map_.value, version == 6, shortly),
        )
        + vector.data
        for vector in wanted
    )
    done = subprocess.run([program], input=records, stdout=subprocess.PIPE, check=True)
    return [block for (block,) in struct.iter_unpack("=i", done.stdout)]


def maps(version: int, sense: Sense) -> list[Map]:
    """All maps that a rule of this sense can have."""
    lone = len(Packet(VIP[version], VIP[version], 0, 0).fields(sense)) == 1
    port = sense in (Sense.SRC_PORT, Sense.DST_PORT)
    return [Map.AUTO, Map.HASH] + ([Map.RANGE] if lone and (port or version == 4) else [])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("sense", SENSES, ids=str)
def test_c_and_python_agree(c_side: Path, version: int, sense: Sense) -> None:
    wanted = list(vectors(version, sense))
    for map_ in maps(version, sense):
        ours = [v.fields.block(v.blocks, v.seed, sense, map_) for v in wanted]
        assert blocks_by_c(c_side, wanted, version, sense, map_, False) == ours


@pytest.mark.parametrize("version", [4, 6])
def test_the_short_way_agrees(c_side: Path, version: int) -> None:
    """Where the headers are plain, looking at the ports alone gives the same block."""
    header = 20 if version == 4 else 40
    plain = [
        vector
        for vector in vectors(version, Sense.SRC_PORT)
        if vector.data[header : header + 2] == vector.fields.src_port.to_bytes(2, "big")
    ]
    assert len(plain) > PACKETS / 3
    ours = [v.fields.block(v.blocks, v.seed, Sense.SRC_PORT) for v in plain]
    assert blocks_by_c(c_side, plain, version, Sense.SRC_PORT, Map.AUTO, True) == ours


@pytest.mark.parametrize("version", [4, 6])
def test_any_bytes_are_harmless(c_side: Path, version: int) -> None:
    """Cut and garbled packets give a block or a reason; the sanitizers see every access."""
    random_ = random.Random(version)
    garbled = []
    for vector in vectors(version, Sense(15)):
        data = bytearray(vector.data[: random_.randrange(len(vector.data) + 1)])
        for _ in range(random_.randrange(3)):
            if data:
                data[random_.randrange(len(data))] = random_.randrange(256)
        garbled.append(Vector(bytes(data), vector.fields, vector.blocks, vector.seed))
    found = blocks_by_c(c_side, garbled, version, Sense(15), Map.HASH, False)
    assert len(found) == len(garbled)
    assert all(block < vector.blocks for block, vector in zip(found, garbled, strict=True))
    assert {block for block in found if block < 0} == {-61, -74}


SAMPLES = 400
BLOCKS, SEED = 65536, 0x5EED0001
NFT_FIELDS = {
    Sense.SRC_ADDR: "{ip} saddr",
    Sense.DST_ADDR: "{ip} daddr",
    Sense.SRC_PORT: "udp sport",
    Sense.DST_PORT: "udp dport",
}
SENDER = """
import json, socket, sys
for source, destination, source_port, destination_port in json.load(sys.stdin):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND: any address of a local route
        sender.bind((source, source_port))
        sender.sendto(b"", (destination, destination_port))
"""


def nft_ruleset(version: int) -> str:
    """Each packet that is sent is noted with its fields and, for each sense, its block."""
    family, kind = ("ip", "ipv4_addr") if version == 4 else ("ip6", "ipv6_addr")
    sets, rules = [], []
    every = [text.format(ip=family) for text in NFT_FIELDS.values()]
    for sense in SENSES:
        fields = [text.format(ip=family) for member, text in NFT_FIELDS.items() if member in sense]
        sets.append(
            f"set seen{sense.value} {{ type {kind} . {kind} . inet_service . inet_service . mark;"
            f" size 65535; flags dynamic; }}"
        )
        rules.append(f"meta mark set jhash {' . '.join(fields)} mod {BLOCKS} seed {SEED}")
        rules.append(f"add @seen{sense.value} {{ {' . '.join(every)} . meta mark }}")
    chain = "type filter hook output priority 0; meta l4proto != udp accept;"
    lines = "\n".join([*sets, f"chain judged {{ {chain}", *rules, "}"])
    return f"table {family} judged {{\n{lines}\n}}\n"


@pytest.mark.parametrize("version", [4, 6])
def test_nftables_agrees(version: int) -> None:
    """nftables' jhash on this machine's own kernel, in a network namespace of its own."""
    random_ = random.Random(version)
    name = f"saru-vectors-{version}"
    family = "ip" if version == 4 else "ip6"

    def local() -> str:
        if version == 4:
            return str(IPv4Address(0x7F000000 | random_.randint(1, 0xFFFFFE)))
        return str(IPv6Address(0x20010DB8 << 96 | random_.getrandbits(96)))

    sent = [
        (local(), local(), random_.randint(1024, 65535), random_.randint(1, 65535))
        for _ in range(SAMPLES)
    ]
    run = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*run, "ip", "link", "set", "lo", "up"], check=True)
        if version == 6:
            local_route = ["ip", "-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"]
            subprocess.run([*run, *local_route], check=True)
        subprocess.run([*run, "nft", "-f", "-"], input=nft_ruleset(version), text=True, check=True)
        subprocess.run(
            [*run, "python3", "-c", SENDER], input=json.dumps(sent), text=True, check=True
        )
        for sense in SENSES:
            command = ["nft", "-j", "list", "set", family, "judged", f"seen{sense.value}"]
            listed = subprocess.run([*run, *command], capture_output=True, text=True, check=True)
            found = {
                tuple(element["concat"][:4]): element["concat"][4]
                for element in json.loads(listed.stdout)["nftables"][1]["set"]["elem"]
            }
            kind = IPv4Address if version == 4 else IPv6Address
            ours = {
                packet: Packet(kind(packet[0]), kind(packet[1]), *packet[2:]).block(
                    BLOCKS, SEED, sense, Map.HASH
                )
                for packet in sent
            }
            assert found == ours, str(sense)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)

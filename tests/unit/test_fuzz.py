# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes in by the roads and the socket may be anything: it is counted, and changes nothing.

Seeded, so that a failure comes again; a million false beats, which takes seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from saru.config.authkeys import Keys
from saru.control import Control
from saru.core.beat import Allocation, Heard
from saru.core.coordinator import Coordinator
from saru.core.settings import Division
from saru.core.share import Order
from saru.core.term import Session, Term, Version
from saru.wire import parts
from saru.wire.codec import BEAT, DATAGRAM_MAX, ORDER, PART, Codec
from tests.unit.cores import BLOCKS, Link
from tests.unit.datagrams import random_allocation
from tests.unit.test_operator import Cluster

FALSE_BEATS = 1_000_000
KEYS = Keys(signing=1, secrets={1: b"ultramonkey", 2: b"ultragorilla"})
STRANGE = Keys(signing=1, secrets={1: b"ultragibbon"})
MISSING = Keys(signing=9, secrets={9: b"ultragibbon"})
DIVISIONS = (Division(1, BLOCKS, 0), Division(9, 65536, 0))


class Receiver:
    """Node a of a settled cluster, with what the daemon has before it."""

    def __init__(self) -> None:
        self.link = Link("abc").settled()
        self.core = self.link["a"].core
        self.codec = codec("a")

    def take(self, datagram: bytes) -> None:
        message = self.codec.decode(datagram)
        if message is None or isinstance(message, Order):
            return
        if isinstance(message, Allocation):
            self.core.receive_allocation(message, self.link["a"].clock())
        else:
            self.core.receive(message, self.link["a"].clock())

    def state(self) -> str:
        """A digest of all that the core knows, and of whom the codec knows what."""
        known = (self.core, self.codec._senders, self.codec._sequence)
        return hashlib.sha256(pickle.dumps(known)).hexdigest()


def codec(node: str, keys: Keys = KEYS, cluster: str = "saru") -> Codec:
    return Codec(node, 1, keys, DIVISIONS, cluster)


def sent(link: Link, keys: Keys = KEYS, cluster: str = "saru") -> list[bytes]:
    """What b and c send: beats, one of 64 voters among them, an order, an allocation in parts."""
    datagrams = []
    for name in "bc":
        sender = codec(name, keys, cluster)
        (beat,) = [m for _, who, m in link.sent[-20:] if who == name and not is_allocation(m)][-1:]
        assert not isinstance(beat, Allocation)
        datagrams += sender.encode(beat)
        heard = tuple(Heard(f"node{n}", Session(n, 300), n**5, True) for n in range(1, 64))
        datagrams += sender.encode(msgspec.structs.replace(beat, heard=heard, seq=beat.seq + 1))
        datagrams += sender.encode(Order("a", 1, 7, name, drained=True))
        datagrams += sender.encode(random_allocation(7, 64, 65536, 9))
    return datagrams


def is_allocation(message: object) -> bool:
    return isinstance(message, Allocation)


# --- false beats --------------------------------------------------------------------------------

Forger = Callable[[random.Random, bytes], bytes]


def replayed(_: random.Random, good: bytes) -> bytes:
    return good


def touched(chance: random.Random, good: bytes) -> bytes:
    bits = chance.getrandbits(40)
    place = (bits >> 8) % len(good)
    return b"%b%c%b" % (good[:place], good[place] ^ (bits % 255 + 1), good[place + 1 :])


def truncated(chance: random.Random, good: bytes) -> bytes:
    return good[: chance.getrandbits(20) % len(good)]


def longer(chance: random.Random, good: bytes) -> bytes:
    return good + bytes(1 + chance.getrandbits(6))


def oversized(chance: random.Random, good: bytes) -> bytes:
    return good + bytes(DATAGRAM_MAX - len(good) - chance.getrandbits(10))


def spliced(chance: random.Random, good: bytes) -> bytes:
    place = 1 + chance.getrandbits(20) % (len(good) - 1)
    return good[place:] + good[:place]


def noise(chance: random.Random, good: bytes) -> bytes:
    return chance.randbytes(len(good) % 256)


def noise_with_a_header(chance: random.Random, good: bytes) -> bytes:
    return good[: 38 + chance.getrandbits(3)] + chance.randbytes(100)


# And one in 4096 is oversized: the signature of 64 KiB costs as much as that of twenty beats.
FORGERS: tuple[Forger, ...] = (
    replayed,
    touched,
    truncated,
    longer,
    spliced,
    noise,
    noise_with_a_header,
    replayed,
)


def test_a_million_false_beats_change_nothing() -> None:
    receiver = Receiver()
    good = sent(receiver.link)
    for datagram in good:
        receiver.take(datagram)
    accepted = receiver.codec.counters["accepted"]
    assert accepted == len(good)
    foreign = [
        *sent(receiver.link, STRANGE),
        *sent(receiver.link, MISSING),
        *sent(receiver.link, cluster="other"),
    ]
    before = receiver.state()
    chance = random.Random(1)
    pool = good + foreign
    for number in range(FALSE_BEATS):
        forge = FORGERS[number & 7] if number & 4095 else oversized
        receiver.take(forge(chance, pool[chance.getrandbits(16) % len(pool)]))
    counters = receiver.codec.counters
    assert receiver.state() == before
    refused = {name: count for name, count in counters.items() if name not in ("accepted", "sent")}
    assert sum(refused.values()) == FALSE_BEATS
    assert counters["accepted"] == accepted
    expected = ("bad_magic", "bad_version", "foreign", "malformed", "unknown_key", "forged")
    assert min(refused[name] for name in (*expected, "duplicate")) > 100, refused


# --- false contents, truly signed -----------------------------------------------------------------


def body_of(datagram: bytes) -> bytes:
    return datagram[33:-32]


@pytest.mark.parametrize("seed", range(2))
def test_signed_nonsense_neither_breaks_nor_moves_anything(seed: int) -> None:
    """A holder of the key may lie, but what it says is judged before it is believed."""
    receiver = Receiver()
    sender = codec("b")
    chance = random.Random(seed)
    bodies: dict[int, list[bytes]] = {}
    for datagram in sent(receiver.link):
        bodies.setdefault(datagram[5], []).append(body_of(datagram))
    assert set(bodies) == {BEAT, PART, ORDER}
    for kind, known in bodies.items():
        for _ in range(20_000):
            body = touched(chance, known[chance.getrandbits(8) % len(known)])
            if chance.getrandbits(2) == 0:
                body = touched(chance, body)
            receiver.take(sender._sign(kind, body))
    counters = receiver.codec.counters
    assert counters["malformed"] > 20_000
    told = ("malformed", "differing", "accepted")
    assert sum(counters[each] for each in told) == 60_000
    assert set(receiver.link.hosts) == {"a", *receiver.core.peers}


SEAL = parts.seal(b"")


def test_parts_in_any_order_and_of_any_making_come_to_nothing_false() -> None:
    chance = random.Random(3)
    blocks = {9: 65536}
    allocations = [random_allocation(seed, 64, 65536, 9) for seed in range(3)]
    pieces = [piece for each in allocations for piece in parts.split(each, blocks, SEAL)]
    assemblies = parts.Assemblies()
    whole = refused = 0
    for _ in range(50_000):
        part = pieces[chance.getrandbits(16) % len(pieces)]
        what = chance.getrandbits(8)
        if what == 0:
            part = msgspec.structs.replace(part, piece=touched(chance, part.piece))
        elif what == 1:
            part = msgspec.structs.replace(part, index=chance.getrandbits(5))
        elif what == 2:
            part = msgspec.structs.replace(part, count=1 + chance.getrandbits(5))
        elif what == 3:
            version = Version(Term(1, 1, 1), chance.getrandbits(3))
            part = msgspec.structs.replace(part, version=version)
        try:
            body = msgspec.msgpack.encode(part)
            found = assemblies.add(parts.decode(body, blocks, SEAL), blocks)
        except ValueError:
            refused += 1
            continue
        assert assemblies.unfinished <= parts.ASSEMBLIES_MAX
        if found is not None:
            whole += 1
            assert found in allocations
    assert refused > 100
    assert whole > 100


# --- the control socket ---------------------------------------------------------------------------

REQUESTS = (
    {"ask": "share", "arguments": {"node": "b", "drained": True, "wait": True, "limit": 1}},
    {"ask": "share", "arguments": {"node": "c", "weight": 70}},
    {"ask": "share", "arguments": {"drained": False, "force": True}},
    {"ask": "share", "arguments": {"node": "wallter", "weight": 65536}},
    {"ask": "status"},
)


def mutated(chance: random.Random, line: bytes) -> bytes:
    for _ in range(1 + chance.getrandbits(2)):
        what = chance.getrandbits(2)
        if what == 0 and line:
            line = touched(chance, line)
        elif what == 1 and line:
            line = truncated(chance, line)
        elif what == 2:
            place = chance.getrandbits(10) % (len(line) + 1)
            token = chance.choice((b"-1", b"1e999", b"null", b"{}", b"[]", b'""', b"9" * 30, b","))
            line = line[:place] + token + line[place:]
        else:
            line = line.replace(chance.choice((b"true", b"1", b'"b"', b":")), b"null")
    return line.replace(b"\n", b" ")


def test_whatever_the_control_socket_is_told_it_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(tmp_path)
    control = Control(tmp_path / "saru.sock", {"share": cluster.sites["a"].operator.share})
    chance = random.Random(4)

    async def tell(line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "saru.sock")
        writer.write(line + b"\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def fuzz() -> list[bytes]:
        await control.start()
        answers = []
        for number in range(4000):
            line = json.dumps(REQUESTS[number % len(REQUESTS)]).encode()
            answers.append(await tell(mutated(chance, line)))
        answers.append(await tell(json.dumps(REQUESTS[1]).encode()))
        await control.stop()
        return answers

    *answers, last = [msgspec.json.decode(answer) for answer in asyncio.run(fuzz())]
    assert "answer" in last
    assert last["answer"]["weight"] == 70
    assert sum("error" in answer for answer in answers) > 1000
    assert "failed" not in caplog.text


def test_the_state_is_all_that_the_core_knows() -> None:
    receiver = Receiver()
    before = receiver.state()
    assert receiver.state() == before
    receiver.take(sent(receiver.link)[0])
    assert receiver.state() != before
    assert isinstance(receiver.core, Coordinator)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Beats over real sockets, in namespaces joined by bridges."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import pytest

from saru import config
from saru.config.authkeys import Keys
from saru.core.beat import Allocation, Beat, Grant, Heard, Message
from saru.core.settings import Division
from saru.core.share import Order
from saru.core.term import Session, Term, Version
from saru.errors import OutageError
from saru.membership.heartbeat import HeartbeatMembership
from saru.wire.codec import Codec
from tests.net.netns import Host, Network, eventually, network
from tests.unit.statements import a_beat

KEYS = Keys(signing=1, secrets={1: b"ultramonkey"})
DIVISIONS = (Division(1, 65536, 0),)
NAMES = ("walter", "wendy", "wanda")


class Director:
    """The membership of one host, and what it told."""

    def __init__(self, host: Host, heartbeat: dict[str, object], keys: Keys = KEYS) -> None:
        self.host = host
        self.name = host.name
        self.messages: list[tuple[Message | Order, int]] = []
        self.notes: list[str] = []
        self.seq = 0
        times: dict[str, object] = {"keepalive": "100ms", "deadtime": "1s"}
        given = {"heartbeat": heartbeat, "times": times}
        self.codec = Codec(self.name, 1, keys, DIVISIONS)
        self.membership = HeartbeatMembership(
            config.load(host=self.name, given=given),
            self.codec,
            lambda message, received: self.messages.append((message, received)),
            self.notes.append,
        )

    def start(self) -> None:
        self.host.run(self.membership.start())

    def stop(self) -> None:
        self.host.run(self.membership.stop())

    def send(self) -> Beat:
        """Send a beat; what was sent."""
        self.seq += 1
        beat = a_beat(self.name, seq=self.seq, settings=bytes(28))
        self.host.call(lambda: self.membership.send(beat))
        return beat

    def heard(self, beat: Message) -> bool:
        return any(message == beat for message, _ in list(self.messages))

    def counters(self) -> dict[str, int]:
        return self.host.call(self.membership.counters)

    def noted(self, words: str) -> bool:
        return any(words in note for note in list(self.notes))


@contextmanager
def directors(net: Network, **heartbeat: object) -> Iterator[list[Director]]:
    """A membership on every host. `peers` is filled in under mode unicast."""
    with ExitStack() as stack:
        made = []
        for place, host in enumerate(net.hosts.values(), 1):
            mine = dict(heartbeat)
            if isinstance(mine.get("peers"), str):
                others = (other for other in range(1, len(net.hosts) + 1) if other != place)
                mine["peers"] = [str(heartbeat["peers"]).format(other) for other in others]
            director = Director(host, mine)
            director.start()
            stack.callback(director.stop)
            made.append(director)
        yield made


def open_roads(director: Director) -> list[int]:
    counters = director.counters()
    return [counters[f"{road}.open"] for road in ("eth0", "eth1")]


def everyone_hears_everyone(made: list[Director]) -> None:
    for sender in made:
        others = [each for each in made if each is not sender]

        # The first beats may be lost: a bridge's port takes a moment to forward.
        def heard(sender: Director = sender, others: list[Director] = others) -> bool:
            beat = sender.send()
            time.sleep(0.02)
            return all(each.heard(beat) for each in others)

        eventually(f"{sender.name} is heard", heard)


@pytest.mark.parametrize("group", ["225.0.0.7", "ff02::5a:7", "ff15::5a:7"])
def test_multicast_reaches_everyone(group: str) -> None:
    with network(*NAMES) as net, directors(net, interfaces=["eth0"], group=group) as made:
        everyone_hears_everyone(made)
        for each in made:
            assert each.counters()["own"] == 0
            assert each.counters()["forged"] == 0
            assert each.notes == [f"eth0: beats go to {group} port 694"]


@pytest.mark.parametrize("interfaces", [[], ["eth0"]])
@pytest.mark.parametrize("peers", ["10.0.0.{}", "fd00:0::{}"])
def test_unicast_reaches_every_peer(interfaces: list[str], peers: str) -> None:
    with (
        network(*NAMES) as net,
        directors(net, interfaces=interfaces, mode="unicast", peers=peers) as made,
    ):
        everyone_hears_everyone(made)


def test_time_of_receipt_is_read_after_the_sending() -> None:
    with network("walter", "wendy") as net, directors(net, interfaces=["eth0"]) as made:
        everyone_hears_everyone(made)
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        beat = made[0].send()
        eventually("the beat arrives", lambda: made[1].heard(beat))
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        (received,) = (at for message, at in made[1].messages if message == beat)
        assert before < received < after


def test_by_default_every_interface_that_is_up_is_used() -> None:
    with network("walter", "wendy", switches=2) as net, directors(net) as made:
        everyone_hears_everyone(made)
        for each in made:
            assert sorted(each.notes) == [
                "eth0: beats go to 225.0.0.7 port 694",
                "eth1: beats go to 225.0.0.7 port 694",
            ]


def test_two_roads_bring_one_message() -> None:
    with (
        network("walter", "wendy", switches=2) as net,
        directors(net, interfaces=["eth0", "eth1"]) as (walter, wendy),
    ):
        everyone_hears_everyone([walter, wendy])
        eventually("both roads work", lambda: walter.send() and wendy.counters()["eth1.received"])
        before = wendy.counters()["duplicate"]
        beat = walter.send()
        eventually("the copy is counted", lambda: wendy.counters()["duplicate"] > before)
        assert [message for message, _ in wendy.messages].count(beat) == 1
        for number in (0, 1):
            net.cut("walter", number, off=True)
            everyone_hears_everyone([walter, wendy])
            net.cut("walter", number, off=False)
            eventually("both are open", lambda: min(open_roads(walter)))


def test_a_large_allocation_arrives_whole() -> None:
    rng = random.Random(1)
    bitmaps = [bytearray(8192) for _ in NAMES]
    for block in range(65536):
        bitmaps[rng.randrange(3)][block // 8] |= 1 << block % 8
    grants = tuple(
        Grant(name, Session(1, 1), bytes(bitmap))
        for name, bitmap in zip(sorted(NAMES), bitmaps, strict=True)
    )
    sent = Allocation(1, Version(Term(1, 0, 1), 1), grants)
    with network(*NAMES) as net, directors(net, interfaces=["eth0"]) as made:
        everyone_hears_everyone(made)
        made[0].host.call(lambda: made[0].membership.send(sent))
        assert made[0].counters()["eth0.sent"] > 10
        eventually("all have it", lambda: all(each.heard(sent) for each in made[1:]))


def test_an_interface_goes_down_and_comes_back() -> None:
    with network("walter", "wendy") as net, directors(net, interfaces=["eth0"]) as made:
        walter = made[0]
        everyone_hears_everyone(made)
        walter.host.ip("link", "set", "eth0", "down")
        eventually("walter says so", lambda: walter.noted("eth0: is down; beats cannot go there"))
        assert walter.membership.troubles() == ("eth0: is down",)
        walter.send()
        counters = walter.counters()
        assert counters["eth0.unsent"] >= 1
        assert counters["eth0.open"] == 0
        walter.host.ip("link", "set", "eth0", "up")
        eventually("walter says so", lambda: walter.noted("eth0: is back"))
        everyone_hears_everyone(made)


def test_an_interface_goes_away_and_another_comes_in_its_place() -> None:
    with network("walter", "wendy") as net, directors(net, interfaces=["eth0"]) as made:
        walter, _ = made
        everyone_hears_everyone(made)
        net.pull("walter", 0)
        eventually("walter says so", lambda: walter.noted("eth0: "))
        walter.send()
        eventually("the road is closed", lambda: not walter.membership.roads["eth0"].is_open)
        net.plug("walter", 0)
        eventually("walter says so", lambda: walter.noted("eth0: is back"))
        everyone_hears_everyone(made)


def test_a_missing_interface_is_waited_for() -> None:
    with network("walter", "wendy") as net:
        net.pull("walter", 0)
        with directors(net, interfaces=["eth0"]) as made:
            assert made[0].notes == [
                "eth0: cannot be used: No such device; beats cannot go there, trying on"
            ]
            made[0].send()
            net.plug("walter", 0)
            everyone_hears_everyone(made)


def test_without_interfaces_one_that_comes_later_is_used() -> None:
    with network("walter", "wendy") as net:
        net.pull("walter", 0)
        with directors(net) as made:
            assert made[0].notes == ["no interface is up that beats could use; waiting for one"]
            net.plug("walter", 0)
            everyone_hears_everyone(made)
            net.pull("walter", 0)
            eventually("it is forgotten", lambda: not made[0].membership.roads)


def test_a_wrong_secret_is_counted_and_told() -> None:
    with network("walter", "wendy") as net, ExitStack() as stack:
        walter = Director(net.hosts["walter"], {"interfaces": ["eth0"]})
        other = Keys(signing=1, secrets={1: b"other"})
        wendy = Director(net.hosts["wendy"], {"interfaces": ["eth0"]}, other)
        for each in (walter, wendy):
            each.start()
            stack.callback(each.stop)
        eventually("a beat arrives", lambda: walter.send() and wendy.counters()["forged"])
        assert wendy.messages == []
        assert wendy.noted(
            "10.0.0.1: a datagram dropped, the signature is wrong; do the authkeys files agree?"
        )
        eventually("ten arrive", lambda: walter.send() and wendy.counters()["forged"] >= 10)
        assert len([note for note in wendy.notes if "dropped" in note]) == 2


def test_a_flood_of_noise_is_counted_and_beats_still_come() -> None:
    with network("walter", "wendy") as net, directors(net, interfaces=["eth0"]) as made:
        everyone_hears_everyone(made)

        def flood() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
                noise.setsockopt(
                    socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.1")
                )
                for _ in range(20_000):
                    noise.sendto(b"SARU" + bytes(60), ("225.0.0.7", 694))

        made[0].host.call(flood)
        everyone_hears_everyone(made)
        assert made[1].counters()["bad_version"] > 1000


def test_a_taken_port_is_an_outage() -> None:
    with network("walter") as net:
        host = net.hosts["walter"]
        director = Director(host, {"mode": "unicast", "peers": ["10.0.0.2"]})
        other = host.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with other:
            other.bind(("", 694))
            with pytest.raises(OutageError, match="UDP port 694 is in use by another program"):
                director.start()
        director.stop()


def test_after_stop_nothing_is_sent_or_received() -> None:
    with network("walter", "wendy") as net, directors(net, interfaces=["eth0"]) as made:
        everyone_hears_everyone(made)
        walter, wendy = made
        walter.stop()
        before = len(wendy.messages)
        walter.send()
        last = wendy.send()
        assert len(wendy.messages) == before
        assert not walter.heard(last)


def test_a_beat_too_long_for_a_frame_arrives() -> None:
    with network("walter", "wendy") as net, directors(net, interfaces=["eth0"]) as made:
        everyone_hears_everyone(made)
        walter, wendy = made
        plain = walter.send()
        long = msgspec.structs.replace(
            plain, seq=plain.seq + 1, settings=bytes(range(256)), heard=()
        )
        many = tuple(
            msgspec.convert([f"{place:x}{place * 7919:060x}", [place, 1], place, True], type=Heard)
            for place in range(1, 500)
        )
        long = msgspec.structs.replace(long, heard=many)
        walter.host.call(lambda: walter.membership.send(long))
        assert walter.counters()["fragmented"] == 1
        eventually("it arrives", lambda: wendy.heard(long))

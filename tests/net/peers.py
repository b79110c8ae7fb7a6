# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated directors: they speak the real wire format, over a real socket, to one real daemon.

They are what a daemon sees in a cluster that is well: every `keepalive` each sends a beat in which
it vouches for all the others, is in the daemon's term, and holds what the newest allocation says.
All of them live behind one socket in one namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from saru.config import Config, authkeys
from saru.core.allocation import plan
from saru.core.beat import Allocation, Beat, Grant, Heard, Offer, Report, Role
from saru.core.share import Order, Share
from saru.core.term import Session, Term, Version
from saru.membership.road import Road
from saru.wire.codec import DATAGRAM_MAX, Codec
from saru.wire.voters import Voters

SESSION = Session(1, 1)


class Peers:
    """All nodes of `config` but `daemon`. Use it on the event loop of their namespace.

    With `master`, the first of them is the master, and makes one allocation.
    """

    def __init__(self, config: Config, daemon: str, *, master: bool = False) -> None:
        self.config = config
        self.settings = config.settings()
        self.daemon = daemon
        self.names = [name for name in self.settings.nodes if name != daemon]
        keys = authkeys.load(config.heartbeat.authkeys)
        self._marks = authkeys.marks(keys)
        voters = Voters.of(self.settings)
        self.codecs = {
            name: Codec(name, 1, keys, self.settings.divisions, config.cluster.name, voters)
            for name in self.names
        }
        self.beat: Beat | None = None  # the daemon's newest
        self.allocations: dict[Version, Allocation] = {}  # that came in full
        self.largest = {"beat": 0, "part": 0}  # bytes of a datagram of the daemon's
        self.received = 0  # datagrams of the daemon's
        self.sent = 0  # beats to it
        self.takes = True  # whether they take what they are given
        self._term = Term(1, self.settings.nodes.index(self.names[0]), 1) if master else None
        self._made: dict[int, Allocation] = {}
        self._seq = 0
        self._digest = self.settings.digest()
        self._road = Road(config.heartbeat.interfaces[0], config.heartbeat)
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to speak and to listen."""
        loop = asyncio.get_running_loop()
        self._road.open()
        for each in self._road.sockets:
            loop.add_reader(each, self._receive, each.recv)
        self._sending = loop.create_task(self._send())

    def stop(self) -> None:
        """Fall silent."""
        loop = asyncio.get_running_loop()
        if self._sending is not None:
            self._sending.cancel()
        for each in self._road.sockets:
            loop.remove_reader(each)
        self._road.close()

    # --- listening ------------------------------------------------------------------------------

    def _receive(self, receive: Callable[[int], bytes]) -> None:
        datagram = receive(DATAGRAM_MAX)
        kind = "part" if datagram[5] == 2 else "beat"
        self.largest[kind] = max(self.largest[kind], len(datagram))
        self.received += 1
        message = self.codecs[self.names[0]].decode(datagram)
        if isinstance(message, Beat):
            self.beat = message
        elif isinstance(message, Allocation):
            self.allocations[message.version] = message

    # --- speaking -------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Every peer in its turn, evenly over each `keepalive`."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._seq += 1
            self._allocate()
            everybody = tuple(Heard(name, SESSION, self._seq, True) for name in self.names)
            for place, name in enumerate(self.names):
                heard = everybody[:place] + everybody[place + 1 :]
                due += self.settings.keepalive / 1e9 / len(self.names)
                await asyncio.sleep(max(0.0, due - loop.time()))
                self._road.send(self.codecs[name].encode(self._beat(name, heard)))
                self.sent += 1

    def _beat(self, name: str, heard: tuple[Heard, ...]) -> Beat:
        first = name == self.names[0]
        term = self._term or (self.beat.term if self.beat else None)
        master = first and self._term is not None
        if self.beat is not None:
            heard = (Heard(self.daemon, self.beat.session, self.beat.seq, True), *heard)
        hears = self._term is not None or (self.beat is not None and self.beat.role is Role.MASTER)
        return Beat(
            node=name,
            session=SESSION,
            seq=self._seq,
            settings=self._digest,
            term=term,
            role=Role.MASTER if master else Role.FOLLOWER,
            hears=hears,
            waited=True,
            joined=True,
            able=True,
            left=False,
            weight=100,
            lease_left=self.settings.lease if term else 0,
            heard=heard,
            asks=(),
            promises=(),
            reports=tuple(Report(d.id, self._taken(d.id), None) for d in self.settings.divisions),
            offers=tuple(Offer(a.id, a.version, a.digest()) for a in self._made.values()),
            wants=(),
            share=Share(100),
            keys=self._marks,
        )

    def _taken(self, number: int) -> Version | None:
        if self._made:
            return self._made[number].version
        versions = [v for v, a in self.allocations.items() if a.id == number]
        return max(versions) if versions and self.takes else None

    def _allocate(self) -> None:
        """As master: once the daemon has a lease in our term, everybody gets a share."""
        beat = self.beat
        if self._term is None or self._made or beat is None:
            return
        if beat.term != self._term or not beat.lease_left:
            return
        sessions = dict.fromkeys(self.names, SESSION) | {self.daemon: beat.session}
        able = [name for name in sorted(sessions) if name not in self.settings.witnesses]
        weights = dict.fromkeys(able, 100)
        for division in self.settings.divisions:
            size = -(-division.blocks // 8)
            held = plan(division.blocks, {}, weights, list(weights))
            grants = tuple(
                Grant(name, sessions[name], held[name].to_bytes(size, "little")) for name in weights
            )
            made = Allocation(division.id, Version(self._term, 1), grants)
            self._made[division.id] = made
            self._road.send(self.codecs[self.names[0]].encode(made))

    def order(self, order: Order) -> None:
        """Send the daemon an order from the first of them."""
        self._road.send(self.codecs[self.names[0]].encode(order))

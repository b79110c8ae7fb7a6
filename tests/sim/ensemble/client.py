# SPDX-License-Identifier: GPL-2.0-or-later
"""A director's connection to the modelled ZooKeeper: what kazoo does for the daemon."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from tests.sim.ensemble.zookeeper import Ensemble, Op, Reply, Request, Server
from tests.sim.network import MS

Done = Callable[[Reply], None]
WRITES = {"create", "set", "delete", "check"}
RETRY = 20 * MS


class Owner(Protocol):
    """Whose connection it is. Nothing happens to it while it is paused."""

    def later(self, delay: int, what: Callable[[], None]) -> None:
        """Do something in a while, if the daemon still runs."""

    def awake(self, what: Callable[[], None]) -> None:
        """Do something now, or when the pause is over."""

    def found(self) -> None:
        """There is a connection."""

    def lost(self, expired: bool) -> None:
        """There is none any more; or the session has ended."""


class Client:
    """One session after the other, on one server after the other."""

    def __init__(self, ensemble: Ensemble, owner: Owner, dice: random.Random) -> None:
        self.ensemble = ensemble
        self.session: int | None = None
        self.server: Server | None = None
        self.unreachable: set[int] = set()
        self.late = (0, 0)  # so much later do requests arrive, and answers, at most
        self._owner = owner
        self._dice = dice
        self._turn = 0  # grows with every connection: what belongs to another one is void
        self._seen = 0  # how much of the log has been seen
        self._queue: list[tuple[tuple[Op, ...], Done, Callable[[], None] | None]] = []
        self._arrival = 0
        self._answered = 0
        self._held_back = False  # an answer is under way that does not get through
        self._connect()

    # --- connection -----------------------------------------------------------------------------

    def _soon(self, what: Callable[[], None]) -> None:
        """On this connection, a trip later, in order."""
        turn = self._turn
        delay = int(self._dice.expovariate(1 / MS)) + self._dice.randrange(self.late[1] + 1)
        self._arrival = max(self._arrival, self.now + delay)

        def then() -> None:
            if turn == self._turn:
                what()

        self._owner.later(self._arrival - self.now, then)

    @property
    def now(self) -> int:
        """The true time."""
        return self.ensemble.now()

    def _connect(self) -> None:
        """Try one server; again in a while if that comes to nothing."""
        turn = self._turn

        def tries() -> None:
            if turn != self._turn or self.server is not None:
                return
            self._owner.later(RETRY, lambda: self._owner.awake(tries))
            server = self._dice.choice(self.ensemble.servers)
            if server.number in self.unreachable or not self.ensemble.serves(server):
                return
            if not self.ensemble.led(server) or server.applied < self._seen:
                return
            if self.session is None:
                self.session = self.ensemble.open()
            elif not self.ensemble.alive(self.session):
                self.session = None
                self._owner.awake(lambda: self._owner.lost(expired=True))
                return
            self.ensemble.touch(self.session)
            self._attach(server)

        self._owner.later(int(self._dice.expovariate(1 / MS)) + 1, lambda: self._owner.awake(tries))

    def _attach(self, server: Server) -> None:
        self._turn += 1
        self.server, self._held_back = server, False
        self._answered = self.now
        self._arrival = self.now
        server.clients.add(self)
        self._owner.found()
        self._ping()

    def hung_up(self, server: Server) -> None:
        """The server has closed the connection, or is gone: that comes after what it has said."""
        turn = self._turn
        server.clients.discard(self)

        def arrives() -> None:
            if turn != self._turn:
                return
            if server.number in self.unreachable or self._held_back:
                self.ensemble.at(self.now + RETRY, arrives)
            else:
                self._soon(lambda: self._owner.awake(lambda: self._break(server)))

        arrives()

    def close(self) -> None:
        """End without a word: the daemon is dead."""
        self._turn += 1
        if self.server is not None:
            self.server.clients.discard(self)
        self.server = None

    def farewell(self) -> None:
        """End the session."""
        if self.session is not None and self.server is not None:
            self.ensemble.expire(self.session)
        self.close()

    def _break(self, server: Server) -> None:
        if self.server is not server:
            return
        server.clients.discard(self)
        self.server = None
        self._turn += 1
        self._queue.clear()
        self._owner.lost(expired=False)
        self._connect()

    def _reached(self) -> bool:
        server = self.server
        return (
            server is not None
            and server.number not in self.unreachable
            and self.ensemble.serves(server)
        )

    def _ping(self) -> None:
        """Pings keep the session alive; the server tells its leader of them a little later."""
        turn, server = self._turn, self.server
        timeout = self.ensemble.timeout

        def pings() -> None:
            if turn != self._turn or server is None:
                return
            if self.now > self._answered + timeout * 2 // 3:
                self._break(server)
                return
            if self._reached():
                self._answered = self.now
                session = self.session
                if session is not None:
                    self.ensemble.at(
                        self.now + self._dice.randrange(100 * MS), lambda: tells(session)
                    )
            self._owner.later(timeout // 4, lambda: self._owner.awake(pings))

        def tells(session: int) -> None:
            if server is not None and self.ensemble.led(server):
                self.ensemble.touch(session)

        self._owner.later(0, lambda: self._owner.awake(pings))

    # --- requests -------------------------------------------------------------------------------

    def ask(self, done: Done, *ops: Op, watch: Callable[[], None] | None = None) -> None:
        """One transaction, or one read; nothing comes of it if the connection breaks."""
        if self.server is None:
            return
        self._queue.append((ops, done, watch))
        if len(self._queue) == 1:
            self._send()

    def _send(self) -> None:
        ops, _, watch = self._queue[0]
        turn, server, session = self._turn, self.server, self.session
        assert server is not None
        assert session is not None

        def at_server() -> None:
            if not self.ensemble.serves(server) or server.number in self.unreachable:
                if turn == self._turn:  # it is sent again, as long as there is the connection
                    self.ensemble.at(self.now + RETRY, at_server)
                return
            if ops[0].kind not in WRITES:
                if turn != self._turn:
                    return
                if watch is not None:
                    self._watch(server, ops[0], watch)
                self._answer(self.ensemble.read(server, ops[0]), server.applied)
                return

            def done(place: int, reply: Reply) -> None:
                def applied() -> None:
                    if turn == self._turn:
                        self._answer(reply, place)

                self.ensemble.when_applied(server, place, applied)

            self.ensemble.write(server, Request(session, ops, done))

        # What is under way to the server gets there, whatever becomes of the daemon.
        delay = int(self._dice.expovariate(1 / MS)) + self._dice.randrange(self.late[0] + 1)
        self.ensemble.at(self.now + delay, at_server)

    def _answer(self, reply: Reply, place: int) -> None:
        if not self._reached():
            turn, self._held_back = self._turn, True

            def again() -> None:
                if turn == self._turn:
                    self._answer(reply, place)

            self.ensemble.at(self.now + RETRY, again)
            return
        self._held_back = False

        def arrives() -> None:
            if not self._queue:
                return
            self._answered = self.now
            self._seen = max(self._seen, place)
            _, done, _ = self._queue.pop(0)
            if self._queue:
                self._send()
            done(reply)

        self._soon(lambda: self._owner.awake(arrives))

    def _watch(self, server: Server, op: Op, watch: Callable[[], None]) -> None:
        turn = self._turn
        key = op.path + ("/" if op.kind == "children" else "")

        def fires() -> None:
            if turn != self._turn:
                return
            if self._reached():
                self._soon(lambda: self._owner.awake(watch))
            else:
                self.ensemble.at(self.now + RETRY, fires)

        server.watch(key, self, fires)

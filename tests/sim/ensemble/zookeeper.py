# SPDX-License-Identifier: GPL-2.0-or-later
"""A model of ZooKeeper: what it promises, and no more than that.

Writes go through the leader, one after the other; each has a zxid. The others learn of them late,
answer reads and pings of their clients by themselves, tell the leader late who is alive, and go on
answering for a while when they are cut off from it. What a leader could not get to a quorum may be
done by the next one, or not; so may what a client has asked for on a connection that is broken.
Times are in us of true time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.sim.network import MS

TICK = 50 * MS
SYNC = 300 * MS  # for so long a server goes on without its leader
ELECTION = 150 * MS
MANY = 10**6

DIRECTORIES = ("directors", "reports", "election", "allocations", "moved")


class Znode(NamedTuple):
    """A node of the tree, and what its stat says."""

    data: object
    czxid: int
    version: int
    owner: int
    pzxid: int


class Op(NamedTuple):
    """One request: `create`, `set`, `delete`, `check`, `get` (None: no such node), `children`.

    A `create` of a path that ends in "-" gets the leader's running number after it.
    """

    kind: str
    path: str
    data: object = None
    version: int = -1
    ephemeral: bool = False


class Reply(NamedTuple):
    """`error` is "", "no node", "exists", "bad version"; `value` a znode or a list of children."""

    error: str
    value: Any = None


class Request(NamedTuple):
    """What a session asks to be written, in one transaction, and who wants to know."""

    session: int
    ops: tuple[Op, ...]
    done: Callable[[int, Reply], None]


Watch = Callable[[], None]


class Server:
    """One server: its copy of the tree, and the clients that hang on it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tree = {name: Znode(None, 0, 0, 0, 0) for name in (*DIRECTORIES, "master")}
        self.applied = 0  # how much of the log
        self.up = True
        self.led_at = 0  # when it last was in contact with the leader
        self.arrival = 0  # when the newest transaction under way to it arrives
        self.lag = 0
        self.epoch = 1  # of the leader that it follows
        self.watches: dict[str, dict[object, Watch]] = {}
        self.clients: set[Any] = set()

    def watch(self, key: str, whose: object, watch: Watch) -> None:
        """Tell of the next change of a node (`path`) or of its children (`path/`), once each."""
        self.watches.setdefault(key, {})[whose] = watch


class Ensemble:
    """All servers. `at` schedules, `now` is the true time."""

    def __init__(
        self,
        seed: int,
        servers: int,
        timeout: int,
        now: Callable[[], int],
        at: Callable[[int, Callable[[], object]], None],
    ) -> None:
        self.dice = random.Random(f"zookeeper {seed}")
        self.timeout = timeout
        self.servers = [Server(n) for n in range(servers)]
        self.leader: Server | None = self.servers[0]
        self.cut: set[frozenset[int]] = set()  # pairs of servers that do not hear each other
        self.delay = MS
        self.now = now
        self.at = at
        self._epoch = 1
        self._log: list[dict[str, Znode | None]] = []
        self._zxids: list[int] = []
        self._counter = self._sequence = 0
        self._sessions: dict[int, int] = {}  # and when the leader last heard of each
        self._next = 0
        self._pending: list[Request] = []
        self._waiting: dict[int, list[tuple[Server, Callable[[], None]]]] = {}
        self._leaderless = 0
        at(TICK, self._tick)

    # --- who hears whom -------------------------------------------------------------------------

    def linked(self, one: Server, other: Server) -> bool:
        """Whether two servers hear each other."""
        pair = frozenset((one.number, other.number))
        return one.up and other.up and pair not in self.cut

    def _side(self, server: Server) -> list[Server]:
        return [s for s in self.servers if s is server or self.linked(s, server)]

    def _quorum(self, server: Server) -> bool:
        return server.up and 2 * len(self._side(server)) > len(self.servers)

    def led(self, server: Server) -> bool:
        """Whether a server is in contact with a leader that has a quorum."""
        leader = self.leader
        if leader is None or not self._quorum(leader):
            return False
        return server is leader or self.linked(server, leader)

    def serves(self, server: Server) -> bool:
        """Whether a server answers clients: it does so for a while without a leader, too."""
        return server.up and self.now() < server.led_at + SYNC

    # --- time -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.now()
        self.at(now + TICK, self._tick)
        for server in self.servers:
            if self.led(server):
                server.led_at = now
                self._bring(server)
            # Who follows another leader has nothing to do with what it was asked before.
            anew = self.led(server) and server.epoch != self._epoch
            if anew:
                server.epoch = self._epoch
            for client in tuple(server.clients):
                ended = self.led(server) and not self.alive(client.session)
                if anew or ended or not self.serves(server):
                    client.hung_up(server)
        if self.leader is not None and (
            not self.leader.up or (not self._quorum(self.leader) and not self.serves(self.leader))
        ):
            self.leader, self._leaderless = None, now
        if self.leader is None:
            if now >= self._leaderless + ELECTION:
                self._elect()
            return
        if self._quorum(self.leader):
            pending, self._pending = self._pending, []
            for request in pending:
                self._write(request)
            for session, heard in tuple(self._sessions.items()):
                if now > heard + self.timeout:
                    self.expire(session)

    def _elect(self) -> None:
        able = [server for server in self.servers if self._quorum(server)]
        if not able:
            return
        self.leader = leader = max(able, key=lambda s: (s.applied, s.number))
        self._epoch += 1
        self._counter = 0
        leader.arrival = 0
        while leader.applied < len(self._log):
            self._apply(leader)
        leader.led_at = self.now()
        self._sessions = dict.fromkeys(self._sessions, self.now())  # all begin anew
        pending, self._pending = self._pending, []
        for request in pending:
            if self.dice.random() < 0.5:
                self._write(request)

    # --- writing --------------------------------------------------------------------------------

    def open(self) -> int:
        """A new session."""
        self._next += 1
        self._sessions[self._next] = self.now()
        return self._next

    def alive(self, session: int) -> bool:
        """Whether the leader knows a session."""
        return session in self._sessions

    def touch(self, session: int) -> None:
        """The leader hears that a session's client is alive."""
        if session in self._sessions:
            self._sessions[session] = max(self._sessions[session], self.now())

    def expire(self, session: int) -> None:
        """End a session: all its ephemeral nodes go, in one transaction."""
        if self.leader is None or session not in self._sessions:
            return
        del self._sessions[session]
        tree = self.leader.tree
        self._commit({path: None for path, node in tree.items() if node.owner == session})

    def write(self, server: Server, request: Request) -> None:
        """A server passes a request on to the leader."""
        delay = 0 if server is self.leader else int(self.dice.expovariate(1 / self.delay))
        epoch = server.epoch

        def arrives() -> None:
            leader = self.leader
            if server.epoch != epoch:
                return
            if leader is None or not (server is leader or self.linked(server, leader)):
                self.at(self.now() + TICK, arrives)  # it is sent again
            elif self._quorum(leader):
                self._write(request)
            else:
                self._pending.append(request)

        self.at(self.now() + delay, arrives)

    def outsider(self, op: Op) -> None:
        """Somebody else has something written."""
        if self.leader is not None and self._quorum(self.leader):
            self._write(Request(self.open(), (op,), lambda _place, _reply: None))

    def _write(self, request: Request) -> None:
        if request.session not in self._sessions or self.leader is None:
            return
        self.touch(request.session)
        zxid = self._epoch << 32 | self._counter + 1
        changes: dict[str, Znode | None] = {}
        reply = Reply("")
        for op in request.ops:
            reply = self._change(op, request.session, zxid, changes)
            if reply.error:
                changes.clear()
                break
        place = self._commit(changes) if changes else len(self._log)
        request.done(place, reply)

    def _change(self, op: Op, session: int, zxid: int, changes: dict[str, Znode | None]) -> Reply:
        assert self.leader is not None
        tree = self.leader.tree
        if op.kind == "create" and op.path.endswith("-"):
            self._sequence += 1
            op = op._replace(path=f"{op.path}{self._sequence:08}")
        old = changes[op.path] if op.path in changes else tree.get(op.path)
        if op.kind == "create":
            if old is not None:
                return Reply("exists", old)
            new = Znode(op.data, zxid, 0, session if op.ephemeral else 0, 0)
            changes[op.path] = new
            return Reply("", new)
        if old is None:
            return Reply("no node")
        if op.version not in (-1, old.version):
            return Reply("bad version", old)
        if op.kind == "set":
            new = old._replace(data=op.data, version=old.version + 1)
            changes[op.path] = new
            return Reply("", new)
        if op.kind == "delete":
            changes[op.path] = None
        return Reply("", old)

    def _commit(self, changes: dict[str, Znode | None]) -> int:
        """A transaction is done: the leader knows at once, the others when it has come to them."""
        leader = self.leader
        assert leader is not None
        self._counter += 1
        zxid = self._epoch << 32 | self._counter
        for path, node in tuple(changes.items()):
            parent = path.rpartition("/")[0]
            if parent and (node is None or node.czxid == zxid):
                changes[parent] = leader.tree[parent]._replace(pzxid=zxid)
        self._log.append(changes)
        self._zxids.append(zxid)
        while leader.applied < len(self._log):
            self._apply(leader)
        for server in self.servers:
            if server is not leader and self.linked(server, leader):
                self._bring(server)
        return len(self._log)

    def _bring(self, server: Server) -> None:
        """Send a server what it lacks of the log; in order, however late."""
        lacks = len(self._log)
        if server.applied >= lacks:
            return
        delay = int(self.dice.expovariate(1 / self.delay)) + server.lag
        server.arrival = max(server.arrival, self.now() + delay)

        def arrives() -> None:
            if self.led(server):
                while server.applied < lacks:
                    self._apply(server)

        self.at(server.arrival, arrives)

    def _apply(self, server: Server) -> None:
        changes = self._log[server.applied]
        server.applied += 1
        keys = []
        for path, node in changes.items():
            if node is None:
                server.tree.pop(path, None)
            else:
                server.tree[path] = node
            keys += [path, path + "/"]  # a directory changes when a node in it comes or goes
        for key in dict.fromkeys(keys):
            for watch in server.watches.pop(key, {}).values():
                watch()
        for waits, then in self._waiting.pop(server.number * MANY + server.applied, ()):
            if waits is server:
                then()

    def when_applied(self, server: Server, place: int, then: Callable[[], None]) -> None:
        """Do something once a server has applied so much of the log."""
        if server.applied >= place:
            then()
        else:
            key = server.number * MANY + place
            self._waiting.setdefault(key, []).append((server, then))

    # --- reading --------------------------------------------------------------------------------

    @staticmethod
    def read(server: Server, op: Op) -> Reply:
        """What a server's own copy says."""
        node = server.tree.get(op.path)
        if op.kind == "get":
            return Reply("", node)
        prefix = op.path + "/"
        names = [path[len(prefix) :] for path in server.tree if path.startswith(prefix)]
        assert node is not None
        return Reply("", (sorted(names), node.pzxid))

    # --- looking --------------------------------------------------------------------------------

    def heal(self, servers: Iterable[Server] = ()) -> None:
        """All servers run and hear each other."""
        self.cut.clear()
        self.delay = MS
        for server in servers or self.servers:
            server.up, server.lag = True, 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""One ZooKeeper session, for asyncio: kazoo's threads on one side, the event loop on the other.

What kazoo does, found by reading and trying it (2.11), and what is made of it here:

- Requests wait in a queue until its thread hands them to the socket, and while the connection is
  being made anew. So the time of sending that a lease may count from is read *before* a request is
  given to kazoo: earlier than any server can have seen it.
- After a session has expired it makes another one by itself. Nothing of the old session may be
  taken for the new one's, so a Keeper is one session: when that has ended it is closed.
- A lost connection answers all open requests with an error, done or not, and fires every watch
  once, as if something had changed. Whoever reads again after that has missed nothing.
- Between two attempts to connect it waits, twice as long each time, up to an hour; here a fraction
  of a session.
- A digest that is wrong it accepts, as ZooKeeper does: that shows with the first znode.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kazoo import exceptions as kazoo
from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE

from saru.config.duration import SECOND
from saru.config.tree import Zookeeper
from saru.errors import SaruError
from saru.membership import boottime
from saru.membership.access import tls_options
from saru.membership.candidacy import Candidacy
from saru.membership.znode import (
    Check,
    Children,
    LostError,
    Make,
    Part,
    Put,
    Tie,
    Znode,
    check_committed,
    translated,
)

_BACK = 0.1  # seconds between two rounds of attempts to connect, at first
# kazoo has much to say that is told by the state here, in the project's words.
logging.getLogger("kazoo").setLevel(logging.CRITICAL)


Watch = Callable[[], None]
_RAISES = object()


class Keeper:
    """One session. `on_tie` is called on the event loop with every change, and LOST last.

    If the event loop does not run for `hang` ns, the session is ended: kazoo's thread would keep it
    alive for a daemon that does nothing any more.
    """

    def __init__(
        self,
        zookeeper: Zookeeper,
        auth: Sequence[tuple[str, str]],
        on_tie: Callable[[Tie], None],
        hang: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_tie = on_tie
        self.tie = Tie.SUSPENDED
        self._hang = hang
        self._ran_at = boottime()
        self._ended = threading.Event()
        self._stopping = threading.Lock()
        self._stopped = False
        self._open: set[asyncio.Future[Any]] = set()
        timeout = zookeeper.session_timeout / SECOND
        tls = zookeeper.tls
        self._client = KazooClient(
            hosts=",".join(zookeeper.hosts),
            timeout=timeout,
            auth_data=list(auth),
            default_acl=CREATOR_ALL_ACL if auth else OPEN_ACL_UNSAFE,
            read_only=False,
            connection_retry=KazooRetry(
                max_tries=-1, delay=min(_BACK, timeout / 4), backoff=1.5,
                max_delay=min(1.0, timeout / 2), max_jitter=0.4,
            ),
            command_retry=KazooRetry(max_tries=-1, delay=_BACK, backoff=1),
            use_ssl=tls is not None,
            **({} if tls is None else tls_options(tls)),
        )  # fmt: skip
        self._client.add_listener(self._changed)

    # --- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to connect."""
        self._client.start_async()
        self._ran()
        threading.Thread(target=self._guard, name="zookeeper-guard", daemon=True).start()

    async def close(self, patience: float = 0.0) -> None:
        """End the session: its ephemeral znodes go, if a server can still be told.

        Waits for that, `patience` seconds at most: what is being connected takes its time to stop,
        and nobody needs to wait for it.
        """
        self._end()
        closed = self._loop.create_future()

        def work() -> None:
            self._stop()
            self._call(_settle, closed, None, None)

        threading.Thread(target=work, name="zookeeper-close", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await closed

    def _stop(self) -> None:
        """In a thread of its own: it takes its time. Who comes second waits for the first."""
        with self._stopping:
            if self._stopped:
                return
            self._stopped = True
            with contextlib.suppress(kazoo.KazooException, OSError):  # then the session expires
                self._client.stop()
                self._client.close()

    def _ran(self) -> None:
        """The event loop runs."""
        self._ran_at = boottime()
        if self.tie is not Tie.LOST:
            self._loop.call_later(self._hang / SECOND / 4, self._ran)

    def _guard(self) -> None:
        """Its thread."""
        while not self._ended.wait(self._hang / SECOND / 8):
            if boottime() > self._ran_at + self._hang:
                self._stop()
                return

    @property
    def session(self) -> int:
        """The session's number, as an ephemeral znode's owner shows it; 0 without one."""
        found = self._client.client_id
        return found[0] if found else 0

    @property
    def server(self) -> str:
        """The server it is connected to, as ADDRESS:PORT; empty without one."""
        sock = self._client._connection._socket
        if self.tie is not Tie.CONNECTED or sock is None:
            return ""
        try:
            host, port = sock.getpeername()[:2]
        except OSError:
            return ""
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _changed(self, state: str) -> None:
        """In kazoo's thread."""
        ties = {
            KazooState.CONNECTED: Tie.CONNECTED,
            KazooState.SUSPENDED: Tie.SUSPENDED,
            KazooState.LOST: Tie.LOST,
        }
        self._call(self._tell, ties[state])

    def _tell(self, tie: Tie) -> None:
        if self.tie is not Tie.LOST:  # a session that has ended has ended
            if tie is Tie.LOST:
                self._end()
            self.tie = tie
            self._on_tie(tie)

    def _end(self) -> None:
        """Nothing is answered any more; kazoo forgets some requests when a session ends."""
        self.tie = Tie.LOST
        self._ended.set()
        for answer in list(self._open):
            _settle(answer, None, LostError("the session has ended"))

    def _call(self, work: Callable[..., object], *arguments: object) -> None:
        """Have the event loop do something; it may have been closed meanwhile."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work, *arguments)

    def stand(self, path: str, name: str, elected: Callable[[str], None]) -> Candidacy:
        """Stand for master below `path`; `elected` is called with one's own election node's."""
        return Candidacy(self._client, path, name, elected)

    # --- requests -------------------------------------------------------------------------------
    #
    # Each returns at once; what is awaited is the answer. LostError, RacedError, DeniedError.

    def get(self, path: str, watch: Watch | None = None) -> asyncio.Future[Znode | None]:
        """The znode, None if there is none; `watch` is called once, when it has changed or gone."""
        return self._ask(
            self._client.get_async(path, watch=self._watcher(watch)), _znode, absent=None
        )

    def exists(self, path: str, watch: Watch | None = None) -> asyncio.Future[Znode | None]:
        """As `get`, without the data, and `watch` is called when it has come, too."""
        return self._ask(
            self._client.exists_async(path, watch=self._watcher(watch)),
            lambda stat: stat and _of(b"", stat),
        )

    def children(self, path: str, watch: Watch | None = None) -> asyncio.Future[Children]:
        """A znode's children; `watch` is called once when there are others."""
        asked = self._client.get_children_async(path, watch=self._watcher(watch), include_data=True)
        return self._ask(asked, lambda found: Children(tuple(sorted(found[0])), found[1].pzxid))

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False
    ) -> asyncio.Future[Znode]:
        """Make a znode, which must not be there."""
        asked = self._client.create_async(path, data, ephemeral=ephemeral, include_data=True)
        return self._ask(asked, lambda made: _of(data, made[1]))

    def put(self, path: str, data: bytes, version: int = -1) -> asyncio.Future[Znode]:
        """Set a znode's data, if it has this version, or any (-1)."""
        asked = self._client.set_async(path, data, version)
        return self._ask(asked, lambda stat: _of(data, stat))

    def delete(self, path: str, version: int = -1) -> asyncio.Future[bool]:
        """Delete a znode, if it has this version, or any (-1); False if there is none."""
        return self._ask(self._client.delete_async(path, version), lambda _: True, absent=False)

    def ensure(self, path: str) -> asyncio.Future[bool]:
        """Make a persistent znode, and those above it, where they are not there."""
        return self._ask(self._client.ensure_path_async(path), bool)

    async def read(self, path: str, watch: Watch) -> Znode | None:
        """As `get`, but `watch` is called when a znode comes that is not there, too."""
        while True:
            found = await self.get(path, watch)
            if found is not None or await self.exists(path, watch) is None:
                return found

    def commit(self, *parts: Part) -> asyncio.Future[None]:
        """All of it, or nothing: then RacedError."""
        transaction = self._client.transaction()
        for part in parts:
            if isinstance(part, Put):
                transaction.set_data(part.path, part.data, part.version)
            elif isinstance(part, Check):
                transaction.check(part.path, part.version)
            elif isinstance(part, Make):
                transaction.create(part.path, part.data, ephemeral=part.ephemeral)
            else:
                transaction.delete(part.path)
        return self._ask(transaction.commit_async(), check_committed)

    def _ask(
        self, asked: Any, made: Callable[[Any], Any], absent: object = _RAISES
    ) -> asyncio.Future[Any]:
        """kazoo's answer as a future of the loop. `absent`: what it is without such a znode."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.tie is Tie.LOST:
            _settle(answer, None, LostError("the session has ended"))
            return answer
        self._open.add(answer)
        answer.add_done_callback(self._open.discard)

        def done(result: Any) -> None:  # in a thread of kazoo's
            error, value = result.exception, None
            if isinstance(error, kazoo.NoNodeError) and absent is not _RAISES:
                error, value = None, absent
            elif error is None:
                try:
                    value = made(result.value)
                except SaruError as fault:
                    error = fault
            self._call(_settle, answer, value, translated(error))

        asked.rawlink(done)
        return answer

    def _watcher(self, watch: Watch | None) -> Callable[[object], None] | None:
        if watch is None:
            return None
        return lambda _event: self._call(watch)


def _settle(answer: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
        answer.exception()  # it may be that nobody waits any more


def _of(data: bytes, stat: Any) -> Znode:
    return Znode(data, stat.czxid, stat.version, stat.ephemeralOwner)


def _znode(found: Any) -> Znode:
    return _of(*found)

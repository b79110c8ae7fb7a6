# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of the kernel module xt_saru, through generic netlink.

pyroute2 finds the family, encodes requests and parses answers. The exchange itself is a plain
`send` and `recv`: the kernel carries a request out inside `send`, so the answer waits when it
returns. A renewal is encoded once per version and only patched afterwards, which makes it two
system calls. SET and DEL wait in the kernel until no CPU uses the old table; they run in a thread
so that beats go on meanwhile, and whatever comes while they run queues behind them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

from pyroute2.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GENERIC,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
)
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import AsyncGenericNetlinkSocket
from pyroute2.netlink.marshal import Marshal

from saru.core.term import Version
from saru.dataplane import Event, EventKind, Table, TableState, message, notices
from saru.dataplane.notices import RECEIVE
from saru.dataplane.turn import Turn
from saru.errors import OutageError, SaruError, StaleError

ANSWER_TIMEOUT = struct.pack("@ll", 2, 0)  # seconds, microseconds; the answer is due at once
DUMP_TRIES = 5

NOT_LOADED = "the kernel module xt_saru is not loaded (load it: modprobe xt_saru)"
NOT_PERMITTED = "the kernel refuses: this needs CAP_NET_ADMIN (run it as root)"


class _Family(AsyncGenericNetlinkSocket):  # type: ignore[misc]
    """pyroute2 logs on its own that a family is missing; our error says it better."""

    module_err_level = "debug"


class NoTableError(SaruError):
    """The kernel has no table of the id."""


class Module:
    """The data plane `module`; see `saru.dataplane.Dataplane` for the contract."""

    name = "module"

    def __init__(self) -> None:
        self._family = 0
        self._group = 0
        self._sequence = 0
        self._socket: socket.socket | None = None
        self._marshal = Marshal()
        self._turn = Turn()
        self._renewals: dict[int, tuple[Version, bytearray]] = {}

    async def open(self) -> None:
        """Find the family. Raises OutageError if the module is not loaded."""
        if self._socket is not None:
            raise RuntimeError("open called twice")
        family = _Family(ext_ack=True)
        try:
            await family.setup_endpoint()
            await family.bind(message.FAMILY, message.sarumsg)
            self._family = family.prid
            self._group = family.mcast_groups[message.EVENTS]
        except NetlinkError as error:
            if error.code == errno.ENOENT:
                raise OutageError(NOT_LOADED) from None
            raise OutageError(f"generic netlink does not answer: {error.args[1]}") from None
        finally:
            family.close()
        self._marshal.msg_map[self._family] = message.sarumsg
        self._socket = _netlink_socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, ANSWER_TIMEOUT)

    async def close(self) -> None:
        """Wait for what is under way and let go; the tables stay as they are."""
        await self._turn.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def set(self, table: Table) -> None:
        """Replace the table of `table.id` in one step; StaleError for an older version."""
        request = message.encode(
            self._family, message.SET, NLM_F_REQUEST | NLM_F_ACK, message.set_attributes(table)
        )
        await self._turn.take(lambda: self._exchange(request), waits=True)

    async def renew(self, id: int, version: Version, deadline: int) -> None:  # noqa: A002
        """Move the deadline of the table of `id`; StaleError unless `version` is the table's."""
        known, request = self._renewals.get(id, (None, bytearray()))
        if known != version:
            request = message.encode(
                self._family,
                message.RENEW,
                NLM_F_REQUEST | NLM_F_ACK,
                message.renew_attributes(id, version, deadline),
            )
            self._renewals[id] = (version, request)
        if self._turn.idle():
            struct.pack_into("=Q", request, len(request) - 8, deadline)
            self._renewed(id, request)
        else:
            queued = request[:-8] + struct.pack("=Q", deadline)
            await self._turn.take(lambda: self._renewed(id, queued))

    def _renewed(self, id_: int, request: bytearray) -> None:
        try:
            self._exchange(request)
        except NoTableError:
            raise StaleError(f"there is no table of id {id_} to renew") from None

    async def delete(self, id: int) -> bool:  # noqa: A002
        """Forget the table of `id`; False if there was none."""
        request = message.encode(
            self._family, message.DELETE, NLM_F_REQUEST | NLM_F_ACK, [("SARU_A_ID", id)]
        )
        try:
            await self._turn.take(lambda: self._exchange(request), waits=True)
        except NoTableError:
            return False
        return True

    async def get(self, id: int) -> TableState:  # noqa: A002
        """What the kernel knows of `id`."""
        request = message.encode(
            self._family, message.GET, NLM_F_REQUEST | NLM_F_ACK, [("SARU_A_ID", id)]
        )
        try:
            answers = await self._turn.take(lambda: self._exchange(request))
        except NoTableError:
            return TableState(id=id)
        return message.state(answers[0])

    async def users(self, id: int) -> int:  # noqa: A002
        """How many rules name `id`."""
        return (await self.get(id)).users

    async def tables(self) -> list[TableState]:
        """All ids of this network namespace that have a table or users, in their order."""
        request = message.encode(self._family, message.GET, NLM_F_REQUEST | NLM_F_DUMP, [])
        for _ in range(DUMP_TRIES):
            answers = await self._turn.take(lambda: self._exchange(request))
            if not any(answer["header"]["flags"] & NLM_F_DUMP_INTR for answer in answers):
                return sorted(map(message.state, answers), key=lambda state: state.id)
        raise SaruError("the tables change faster than they can be listed; try again")

    def events(self) -> AsyncIterator[Event]:
        """What happens to the tables from this call on."""
        events = _netlink_socket()
        try:
            events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, self._group)
        except OSError as error:
            events.close()
            raise _translated(error.errno or 0, error.strerror or "") from None
        events.setblocking(False)
        return self._read(events)

    async def _read(self, events: socket.socket) -> AsyncIterator[Event]:
        with contextlib.closing(events):
            while True:
                received = await notices.receive(events)
                if not received:
                    yield Event(EventKind.LOST, 0)
                    continue
                for notification in self._marshal.parse(received):
                    event = message.event(notification)
                    if event is not None:
                        yield event

    def _exchange(self, request: bytearray) -> list[Any]:
        """Send a request and return its answers; NoTableError if it names an id without one."""
        if self._socket is None:
            raise RuntimeError("open comes first")
        self._sequence = sequence = self._sequence % 0xFFFFFFFF + 1
        struct.pack_into("=I", request, 8, sequence)
        answers: list[Any] = []
        try:
            self._socket.send(request)
            while True:
                received = self._socket.recv(RECEIVE)
                _, kind, _, number, _, code = struct.unpack_from("=IHHIIi", received)
                if number != sequence:
                    continue  # the late answer to a request that was given up
                if kind == NLMSG_ERROR and code == 0:
                    return answers
                for answer in self._marshal.parse(received):
                    error = answer["header"]["error"]
                    if error is not None:
                        raise error
                    if answer["header"]["type"] in (NLMSG_DONE, NLMSG_ERROR):
                        return answers
                    answers.append(answer)
        except NetlinkError as error:
            if error.code == errno.ENOENT and error.args[1] == os.strerror(errno.ENOENT):
                raise OutageError(NOT_LOADED) from None  # no words: netlink's own, not the module's
            if error.code == errno.ENOENT:
                raise NoTableError(error.args[1]) from None
            raise _translated(error.code, error.args[1]) from None
        except BlockingIOError:
            raise OutageError("the kernel did not answer within 2 s") from None
        except OSError as error:
            raise _translated(error.errno or 0, error.strerror or "") from None


def _netlink_socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
    made.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    made.bind((0, 0))
    return made


def _translated(code: int, text: str) -> SaruError:
    """The error for an errno and the kernel's words on it."""
    if code == errno.ESTALE:
        return StaleError(text)
    if code in (errno.EPERM, errno.EACCES):
        return OutageError(NOT_PERMITTED)
    return SaruError(f"the kernel refuses: {text or os.strerror(code)}")

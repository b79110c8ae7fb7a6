# SPDX-License-Identifier: GPL-2.0-or-later
"""A socket to nf_tables: requests, transactions, notices. Blocking; one thread at a time."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from pyroute2.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
)

from saru.dataplane import elements
from saru.dataplane.elements import Message, Request
from saru.dataplane.notices import RECEIVE
from saru.errors import OutageError, SaruError
from saru.nft import NOT_PERMITTED

GROUP = 7  # NFNLGRP_NFTABLES
NOT_THERE = "this kernel has no nf_tables (load it: modprobe nf_tables)"

_SEND_BUFFER = 4 << 20  # bytes; 65536 blocks in one transaction are 2 MB
_NOTICE_BUFFER = 1 << 20  # bytes; each element that comes or goes is told of
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_CAP_ACK = 10  # NETLINK_CAP_ACK: an error need not repeat the request
_ANSWER_TIMEOUT = struct.pack("@ll", 60, 0)  # seconds; others' transactions may come first
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_NFGENMSG = 4


class RefusedError(SaruError):
    """The kernel refused; `code` is its errno."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the kernel refuses: {os.strerror(code)}")
        self.code = code


class Netfilter:
    """A socket to nf_tables in the network namespace of the thread that makes it.

    What it does raises OutageError without nf_tables or without the right to it, RefusedError if
    the kernel says no: EINTR to a list that changed while it was made, ERESTART to changes made
    for another generation.
    """

    def __init__(self) -> None:
        self._sequence = 0
        try:
            self.socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
            )
        except OSError:
            raise OutageError(NOT_THERE) from None
        self.socket.bind((0, 0))
        self.socket.setsockopt(SOL_NETLINK, _CAP_ACK, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _ANSWER_TIMEOUT)
        self._widen(_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def subscribe(self) -> None:
        """From now on the socket receives notices of all changes, and is for nothing else."""
        self._widen(_SO_RCVBUFFORCE, socket.SO_RCVBUF, _NOTICE_BUFFER)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP)
        self.socket.setblocking(False)

    def ask(self, request: Request) -> list[Message]:
        """What the kernel answers."""
        sequence = self._next()
        self._send(elements.encode(request, sequence))
        return self._answers(sequence, NLMSG_DONE if request.flags & NLM_F_DUMP else NLMSG_ERROR)

    def generation(self) -> int:
        """The generation of the rules: another number after each transaction, whoever's it is."""
        return elements.generation_in(self.ask(elements.generation())[0])

    def commit(self, changes: list[Request], generation: int) -> None:
        """Make the changes, all or none, if the rules are still of this generation."""
        sequence = self._next()
        self._send(elements.transaction(changes, generation, sequence))
        self._answers(sequence, NLMSG_ERROR)

    def _next(self) -> int:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        return self._sequence

    def _send(self, request: bytes) -> None:
        try:
            self.socket.send(request)
        except OSError as error:
            raise _refusal(error.errno or 0) from None

    def _answers(self, sequence: int, last: int) -> list[Message]:
        """All answers up to one of the kind `last`; the rest of a refusal is left behind."""
        answers: list[Message] = []
        while True:
            try:
                received = self.socket.recv(RECEIVE)
            except BlockingIOError:
                raise OutageError("nf_tables does not answer") from None
            except OSError as error:
                raise _refusal(error.errno or 0) from None
            for kind, flags, number, payload in _messages(received):
                if number != sequence:
                    continue  # what a refused transaction still had to say
                if flags & NLM_F_DUMP_INTR:
                    raise RefusedError(errno.EINTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    code = struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                    if code:
                        raise _refusal(-code)
                    if kind == last:
                        return answers
                elif kind >> 8 == elements.SUBSYSTEM:
                    answers.append(_message(kind, payload))

    def _widen(self, forced: int, option: int, size: int) -> None:
        """Make room. Beyond the host's limit only the first user namespace's root may."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, option, size)


def heard(received: bytes) -> list[Message]:
    """The messages of nf_tables in what a subscribed socket received."""
    return [
        _message(kind, payload)
        for kind, _, _, payload in _messages(received)
        if kind >> 8 == elements.SUBSYSTEM and len(payload) >= _NFGENMSG
    ]


def _message(kind: int, payload: bytes) -> Message:
    return Message(kind & 0xFF, payload[0], payload[_NFGENMSG:])


def _messages(received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, sequence number and payload of each message."""
    at = 0
    while at + _HEADER.size <= len(received):
        length, kind, flags, number, _ = _HEADER.unpack_from(received, at)
        if length < _HEADER.size:
            return
        yield kind, flags, number, received[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _refusal(code: int) -> SaruError:
    if code in (errno.EPERM, errno.EACCES):
        return OutageError(NOT_PERMITTED)
    if code == errno.EOPNOTSUPP:
        return OutageError(NOT_THERE)
    return RefusedError(code)

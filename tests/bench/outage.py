# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's side of a failure: when a message was last seen, and when all ports answer again."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable

PORTS = 128
"""Source ports that are asked from, one in each of as many blocks."""
SERVICE = 7
ROUND = 0.001
"""Seconds for answers, from one round of questions to the next: time for others on this processor,
too, whom a client that only asked would keep from their work."""
ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
IP_PKTINFO = 8
VRRP = 112
HEARTBEAT = 694


PRIORITY = 20


def wait_for_nobody() -> None:
    """Give this thread a real-time priority: asking and answering must not wait for its turn.

    Not what it starts: the contenders have what they come with.
    """
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))


class NeverAnsweredError(Exception):
    """Some ports had no answer in all the time that was allowed."""


class Client:
    """UDP questions from every block to the VIP. Make and use it in the client's namespace."""

    def __init__(self, vip: str) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self._round = 0
        width = 65536 // PORTS
        for number in range(PORTS):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setblocking(False)
            one.bind(("", number * width + width // 2))
            one.connect((vip, SERVICE))
            self._sockets[one.fileno()] = one
            self._poll.register(one, select.EPOLLIN)

    def until_all_answer(self, limit: float) -> int:
        """Ask from the ports that have no answer yet, until all have; when that was.

        On CLOCK_MONOTONIC, in ns. Only answers to questions of this call count. Raises
        NeverAnsweredError after `limit` seconds.
        """
        self._round += 1
        question = struct.pack("!Q", self._round)
        waiting = dict(self._sockets)
        end = time.monotonic() + limit
        while True:
            for one in waiting.values():
                with contextlib.suppress(OSError):  # refused, no neighbour: as good as no answer
                    one.send(question)
            asked = time.monotonic()
            while waiting and (left := asked + ROUND - time.monotonic()) > 0:
                self._collect(waiting, question, left)
            if not waiting:
                return time.monotonic_ns()
            if time.monotonic() > end:
                raise NeverAnsweredError(f"{len(waiting)} of {PORTS} ports have no answer")

    def _collect(self, waiting: dict[int, socket.socket], question: bytes, left: float) -> None:
        for number, _ in self._poll.poll(left):
            try:
                answered = self._sockets[number].recv(64) == question
            except OSError:
                continue
            if answered:
                waiting.pop(number, None)

    def close(self) -> None:
        """Give the ports back."""
        for one in self._sockets.values():
            one.close()
        self._poll.close()


class Messages:
    """A director's own messages, seen at its port of the switch. Make it in that namespace."""

    def __init__(self, port: str) -> None:
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._wire.bind((port, ETH_P_ALL))  # a bridge takes frames before others see them

    def next(self, limit: float) -> int:
        """Wait for the next message; when it came, in ns of CLOCK_MONOTONIC."""
        self._drain()
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            self._wire.settimeout(left)
            frame, sender = self._wire.recvfrom(256)
            if sender[2] != PACKET_OUTGOING and is_message(frame):
                return time.monotonic_ns()
        raise TimeoutError("no message")

    def _drain(self) -> None:
        self._wire.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wire.recv(1)

    def close(self) -> None:
        """Listen no more."""
        self._wire.close()


def is_message(frame: bytes) -> bool:
    """Whether a frame is a VRRP advertisement or a beat."""
    if frame[12:14] != b"\x08\x00":
        return False
    if frame[23] == VRRP:
        return True
    ports = 14 + 4 * (frame[14] & 15)
    return frame[23] == socket.IPPROTO_UDP and (
        struct.unpack_from("!H", frame, ports + 2)[0] == HEARTBEAT
    )


def serve(vips: Iterable[str]) -> None:
    """A director's service: answer every question to one of `vips` with itself, for ever."""
    wanted = {socket.inet_aton(vip) for vip in vips}
    wait_for_nobody()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        one.bind(("", SERVICE))
        while True:
            question, ancillary, _, peer = one.recvmsg(64, 64)
            for _, _, data in ancillary:
                if data[4:8] in wanted:
                    info = struct.pack("!I4s4s", 0, data[4:8], bytes(4))
                    with contextlib.suppress(OSError):
                        one.sendmsg([question], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, peer)


if __name__ == "__main__":
    serve(sys.argv[1:])

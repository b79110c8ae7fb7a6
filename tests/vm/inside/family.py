# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic netlink family SARU, spoken byte by byte."""

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 1, 10, 11
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x2, 0x4, 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS = 1, 2
NLA_TYPE_MASK = 0x3FFF
GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 3
CTRL_A_FAMILY_ID, CTRL_A_FAMILY_NAME, CTRL_A_MCAST_GROUPS = 1, 2, 7
CTRL_A_GROUP_NAME, CTRL_A_GROUP_ID = 1, 2
RECEIVE = 1 << 18

# enum saru_cmd, enum saru_attr, enum saru_event
SET, RENEW, GET, DEL, EVENT = range(1, 6)
A_PAD, A_ID, A_BLOCKS, A_SEED, A_TERM, A_SERIAL, A_DEADLINE, A_LEASE_MAX, A_BITMAP = range(1, 10)
A_HELD, A_ACCEPTED, A_REJECTED, A_EXPIRED, A_NO_KEY, A_USERS, A_PACKETS, A_EVENT = range(10, 18)
PACKETS_FIRST, PACKETS_COUNTS = 1, 2
EVENT_SET, EVENT_DELETED, EVENT_EXPIRED, EVENT_UNUSED = range(1, 5)
FORMATS = {
    **dict.fromkeys((A_ID,), "H"),
    **dict.fromkeys((A_BLOCKS, A_SEED, A_HELD, A_USERS), "I"),
    **dict.fromkeys((A_TERM, A_SERIAL, A_DEADLINE, A_LEASE_MAX), "Q"),
    **dict.fromkeys((A_ACCEPTED, A_REJECTED, A_EXPIRED, A_NO_KEY), "Q"),
    A_EVENT: "B",
}
SECOND = 1_000_000_000


class RefusedError(Exception):
    """The kernel's answer was an error: its number, its text, the offset it points at."""

    def __init__(self, number: int, text: str, offset: int | None) -> None:
        super().__init__(f"{os.strerror(number)}: {text}")
        self.number, self.text, self.offset = number, text, offset


@dataclass(frozen=True)
class Message:
    """One generic netlink message that came in."""

    command: int
    attributes: list[tuple[int, bytes]]

    def __contains__(self, kind: int) -> bool:
        return any(found == kind for found, _ in self.attributes)

    def raw(self, kind: int) -> bytes:
        return next(value for found, value in self.attributes if found == kind)

    def number(self, kind: int) -> int:
        return int(struct.unpack("=" + FORMATS[kind], self.raw(kind))[0])

    def packets(self) -> list[int]:
        """The packets of each block, put together from their runs."""
        counts: list[int] = []
        for kind, value in self.attributes:
            if kind == A_PACKETS:
                run = dict(split_all(value))
                assert struct.unpack("=I", run[PACKETS_FIRST])[0] == len(counts)
                counts += [count for (count,) in struct.iter_unpack("=Q", run[PACKETS_COUNTS])]
        return counts


def attribute(kind: int, value: bytes | int) -> bytes:
    """One attribute, padded; a number is packed as the family's policy wants it."""
    data = struct.pack("=" + FORMATS[kind], value) if isinstance(value, int) else value
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def split_all(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data`."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & NLA_TYPE_MASK, data[4:length]
        data = data[length + 3 & ~3 :]


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message of the family, without those that only pad."""
    return ((kind, value) for kind, value in split_all(data) if kind != A_PAD)


class Family:
    """A socket that knows the family's number."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.socket.bind((0, 0))
        self.socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self.sequence = 0
        described = self._describe()
        self.number = struct.unpack("=H", described[CTRL_A_FAMILY_ID])[0]
        self.groups = {}
        for _, group in split_all(described[CTRL_A_MCAST_GROUPS]):
            found = dict(split_all(group))
            name = found[CTRL_A_GROUP_NAME].rstrip(b"\0").decode()
            self.groups[name] = struct.unpack("=I", found[CTRL_A_GROUP_ID])[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _describe(self) -> dict[int, bytes]:
        name = b"SARU\0"
        wanted = struct.pack("=HH", 4 + len(name), CTRL_A_FAMILY_NAME) + name
        self.send(CTRL_CMD_GETFAMILY, wanted + bytes(-len(name) % 4), 0, kind=GENL_ID_CTRL)
        return dict(split_all(self.socket.recv(RECEIVE)[20:]))

    def join(self) -> None:
        """Receive the family's events from now on."""
        group = self.groups["events"]
        self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def send(self, command: int, attributes: bytes, flags: int, kind: int | None = None) -> None:
        self.sequence += 1
        body = struct.pack("=BBH", command, 1, 0) + attributes
        head = struct.pack(
            "=IHHII",
            16 + len(body),
            self.number if kind is None else kind,
            NLM_F_REQUEST | flags,
            self.sequence,
            0,
        )
        self.socket.send(head + body)

    def ask(self, command: int, attributes: bytes = b"", flags: int = NLM_F_ACK) -> list[Message]:
        """Send a command and return what comes back; RefusedError for an error."""
        self.send(command, attributes, flags)
        answers: list[Message] = []
        while True:
            data = self.socket.recv(RECEIVE)
            while data:
                length, kind, got, sequence, _ = struct.unpack_from("=IHHII", data)
                body, data = data[16:length], data[length + 3 & ~3 :]
                if sequence != self.sequence:
                    continue
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    raise_refusal(kind, body, got)
                    return answers
                answers.append(Message(body[0], list(split(body[4:]))))

    def event(self, timeout: float) -> Message:
        """The next event; TimeoutError if none comes."""
        self.socket.settimeout(timeout)
        try:
            while True:
                data = self.socket.recv(RECEIVE)
                if data[16] == EVENT:
                    return Message(data[16], list(split(data[20:])))
        finally:
            self.socket.settimeout(None)

    def set(self, number: int = 1, **changed: bytes | int | None) -> list[Message]:
        return self.ask(SET, set_attributes(number, **changed))

    def renew(self, number: int, term: int, serial: int, deadline: int) -> list[Message]:
        pairs = ((A_ID, number), (A_TERM, term), (A_SERIAL, serial), (A_DEADLINE, deadline))
        return self.ask(RENEW, b"".join(attribute(*pair) for pair in pairs))

    def get(self, number: int = 1) -> Message:
        return self.ask(GET, attribute(A_ID, number))[0]

    def dump(self) -> list[Message]:
        return self.ask(GET, flags=NLM_F_DUMP)

    def delete(self, number: int = 1) -> list[Message]:
        return self.ask(DEL, attribute(A_ID, number))


def raise_refusal(kind: int, body: bytes, flags: int) -> None:
    """Raise RefusedError if an acknowledgement or an end of a dump tells of an error."""
    number = -struct.unpack_from("=i", body)[0]
    if number <= 0:
        return
    rest = body[4:] if kind == NLMSG_DONE else body[20:]
    found = dict(split_all(rest)) if flags & NLM_F_ACK_TLVS else {}
    text = found.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode()
    offset = found.get(NLMSGERR_ATTR_OFFS)
    raise RefusedError(number, text, struct.unpack("=I", offset)[0] if offset else None)


def now() -> int:
    """CLOCK_BOOTTIME in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def every_block(blocks: int) -> bytes:
    """The bitmap that holds all."""
    return b"\xff" * (blocks // 8) or bytes([(1 << blocks) - 1])


def set_attributes(number: int = 1, /, **changed: bytes | int | None) -> bytes:
    """A SET's attributes: usual ones but for those named (`blocks=…`); None leaves one out."""
    blocks = changed.get("blocks", 8) or 8
    assert isinstance(blocks, int)
    values: dict[str, bytes | int | None] = {
        "id": number,
        "blocks": blocks,
        "seed": 0,
        "term": 1,
        "serial": 1,
        "deadline": now() + 30 * SECOND,
        "lease_max": 60 * SECOND,
        "bitmap": changed.get("bitmap") or every_block(blocks),
        **changed,
    }
    kinds = {"id": A_ID, "blocks": A_BLOCKS, "seed": A_SEED, "term": A_TERM, "serial": A_SERIAL,
             "deadline": A_DEADLINE, "lease_max": A_LEASE_MAX, "bitmap": A_BITMAP}  # fmt: skip
    return b"".join(
        attribute(kinds[name], value) for name, value in values.items() if value is not None
    )


def module_parameter(name: str) -> str:
    """A file below /sys/module/xt_saru, for tests that look at its reference count."""
    return (Path("/sys/module/xt_saru") / name).read_text().strip()

# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables' messages about the elements of sets, to bytes and back. Pure.

nft's syntax, and with it libnftables, will not do here: its times are whole seconds, and it cannot
tie a transaction to the generation of the rules that it was made for.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST

from saru.dataplane.layout import TABLE

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
(GET_RULE, GET_SET, GET_GENERATION) = (7, 10, 16)  # NFT_MSG_*
(NEW_ELEMENT, DELETE_ELEMENT) = (12, 14)
(DELETE_TABLE, DELETE_CHAIN, NEW_RULE, DELETE_RULE) = (2, 5, 6, 8)
(NEW_SET, DELETE_SET, NEW_GENERATION, GET_ELEMENT) = (9, 11, 15, 13)
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_*
_INET = 1  # NFPROTO_INET
_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr, nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")
_NESTED, _NUMBER = 0x8000, 0x3FFF
_ELEMENTS_MAX = 2000  # a message; an attribute holds less than 64 KiB
# What an element of a 4-byte key and nothing else begins with.
_PLAIN = struct.pack("=HHHHHH", 16, _NESTED | 1, 12, _NESTED | 1, 8, 1)
_NUMBER_KEY = struct.Struct("=I")


class Request(NamedTuple):
    """A message to the kernel, but for its sequence number."""

    kind: int
    payload: bytes = b""
    flags: int = 0
    family: int = _INET


class Message(NamedTuple):
    """A message of nf_tables from the kernel: its kind, the table's family and its attributes."""

    kind: int
    family: int
    payload: bytes


class Element(NamedTuple):
    """An element as the kernel lists it."""

    key: bytes
    comment: str = ""


def attribute(number: int, value: bytes) -> bytes:
    """An attribute with its padding."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, number) + value + bytes(-length % 4)


def _nested(number: int, *attributes: bytes) -> bytes:
    return attribute(_NESTED | number, b"".join(attributes))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and value of each attribute."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, number = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield number & _NUMBER, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def element(key: bytes, *, timeout: int = 0, comment: str = "", end: bool = False) -> bytes:
    """An element of a set, to be added or removed.

    `timeout` in ms, 0 for none; `comment` up to 253 bytes, as nft's are written; `end`: this key is
    the first behind an interval.
    """
    more = b""
    if end:
        more += attribute(3, struct.pack(">I", 1))
    if timeout:
        more += attribute(4, struct.pack(">Q", timeout))
    if comment:
        text = comment.encode() + b"\0"
        more += attribute(6, struct.pack("BB", 0, len(text)) + text)
    return _nested(1, _nested(1, attribute(1, key)), more)


def numbered(numbers: Iterable[int]) -> list[bytes]:
    """Elements whose keys are numbers of 32 bits in the host's order, with nothing beside them."""
    return [_PLAIN + _NUMBER_KEY.pack(number) for number in numbers]


def _set_names(set_: str) -> bytes:
    return attribute(1, TABLE.encode() + b"\0") + attribute(2, set_.encode() + b"\0")


def _about(kind: int, flags: int, set_: str, elements: Iterable[bytes]) -> list[Request]:
    every = list(elements)
    return [
        Request(
            kind,
            _set_names(set_) + _nested(3, *every[first : first + _ELEMENTS_MAX]),
            NLM_F_REQUEST | flags,
        )
        for first in range(0, len(every), _ELEMENTS_MAX)
    ]


def add(set_: str, elements: Iterable[bytes]) -> list[Request]:
    """Requests that add elements to a set."""
    return _about(NEW_ELEMENT, NLM_F_CREATE, set_, elements)


def remove(set_: str, elements: Iterable[bytes]) -> list[Request]:
    """Requests that remove elements, and fail if one is not there or its time is up."""
    return _about(DELETE_ELEMENT, 0, set_, elements)


def flush(set_: str) -> Request:
    """A request that removes all elements, if there are any."""
    return Request(DELETE_ELEMENT, _set_names(set_), NLM_F_REQUEST)


def elements_of(set_: str) -> Request:
    """A request for all elements of a set."""
    return Request(GET_ELEMENT, _set_names(set_), NLM_F_REQUEST | NLM_F_DUMP)


def generation() -> Request:
    """A request for the generation of the rules."""
    return Request(GET_GENERATION, flags=NLM_F_REQUEST | NLM_F_ACK, family=0)


def all_sets() -> Request:
    """A request for the sets of the table."""
    return Request(GET_SET, attribute(1, TABLE.encode() + b"\0"), NLM_F_REQUEST | NLM_F_DUMP)


def all_rules() -> Request:
    """A request for the rules of the table."""
    return Request(GET_RULE, attribute(1, TABLE.encode() + b"\0"), NLM_F_REQUEST | NLM_F_DUMP)


def encode(request: Request, sequence: int) -> bytes:
    """A request by itself."""
    return _packed(request, SUBSYSTEM << 8 | request.kind, sequence, 0)


def transaction(changes: list[Request], generation_: int, sequence: int) -> bytes:
    """Changes that are made together, and only if the rules are still of this generation.

    The kernel acknowledges the last of them; it names the first that it refuses.
    """
    made_for = Request(_BEGIN, attribute(1, struct.pack(">I", generation_)), NLM_F_REQUEST, 0)
    *others, last = changes
    asked = [*others, last._replace(flags=last.flags | NLM_F_ACK)]
    return b"".join(
        (
            _packed(made_for, _BEGIN, sequence, SUBSYSTEM),
            *(encode(change, sequence) for change in asked),
            _packed(Request(_END, b"", NLM_F_REQUEST, 0), _END, sequence, SUBSYSTEM),
        )
    )


def _packed(request: Request, kind: int, sequence: int, subsystem: int) -> bytes:
    length = _HEADER.size + len(request.payload)
    head = (length, kind, request.flags, sequence, 0)
    return _HEADER.pack(*head, request.family, 0, socket.htons(subsystem)) + request.payload


def generation_in(message: Message) -> int:
    """The generation that an answer tells."""
    number: int
    (number,) = struct.unpack(">I", dict(attributes(message.payload))[1])
    return number


def names_in(message: Message) -> tuple[str, str]:
    """The table and the object in it that a message is about; empty where it names none."""
    named = dict(attributes(message.payload))
    table, object_ = (
        named.get(number, b"").rstrip(b"\0").decode(errors="replace") for number in (1, 2)
    )
    return table, object_


def elements_in(message: Message) -> Iterator[Element]:
    """The elements that a message about some tells."""
    for number, listed in attributes(message.payload):
        if number == 3:
            for _, each in attributes(listed):
                yield _element(dict(attributes(each)))


def numbers_in(message: Message) -> tuple[int, ...]:
    """The keys of such elements, as numbers of 32 bits in the host's order."""
    listed = dict(attributes(message.payload)).get(3, b"")
    keys = re.findall(re.escape(_PLAIN) + b"(....)", listed, re.DOTALL)
    if len(keys) * 16 != len(listed):  # somebody gave some of them a comment
        keys = [each.key for each in elements_in(message)]
    return struct.unpack(f"={len(keys)}I", b"".join(keys))


def _element(parts: dict[int, bytes]) -> Element:
    key = dict(attributes(parts.get(1, b""))).get(1, b"")
    data = parts.get(6, b"")
    while len(data) >= 2:
        kind, length = data[0], data[1]
        if kind == 0:
            return Element(key, data[2 : 2 + length].rstrip(b"\0").decode(errors="replace"))
        data = data[2 + length :]
    return Element(key)

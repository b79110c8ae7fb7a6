# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to the tables of nftables, from the kernel's notices and from the clock."""

from __future__ import annotations

import contextlib
import errno
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from saru.config.duration import SECOND
from saru.core.term import Version
from saru.dataplane import Event, EventKind, Table, elements, notices, sets, usage
from saru.dataplane.elements import Message
from saru.dataplane.layout import TABLE, until_set
from saru.dataplane.netfilter import Netfilter, RefusedError, heard

LONGEST_SLEEP = 1.0  # seconds; asyncio's clock stops in a suspend, and deadlines do not
_UNTIL = re.compile(r"until_(\d+)", re.ASCII)
_RULES = {elements.NEW_RULE, elements.DELETE_RULE, elements.DELETE_CHAIN, elements.DELETE_TABLE}


@dataclass(slots=True)
class _Seen:
    """What is known of an id's table; the deadline is on CLOCK_BOOTTIME in ns."""

    version: Version
    deadline: int
    over: bool  # its end has been told, or had come before anybody watched


def watch() -> AsyncIterator[Event]:
    """The events from this call on. Raises OutageError if the kernel tells nothing."""
    told = Netfilter()
    try:
        told.subscribe()
        watcher = Watcher()
    except BaseException:
        told.close()
        raise
    return _events(told, watcher)


async def _events(told: Netfilter, watcher: Watcher) -> AsyncIterator[Event]:
    with contextlib.closing(told), contextlib.closing(watcher):
        while True:
            received = await notices.receive(told.socket, watcher.sleep())
            happened = watcher.passed() if received is None else watcher.feed(received)
            for event in happened:
                yield event


class Watcher:
    """Joins the notices of a transaction into events, and watches the clock for deadlines."""

    def __init__(self) -> None:
        self._link = Netfilter()
        self._gone: set[int] = set()  # ids whose table the transaction being told of took away
        self._come: dict[int, Table] = {}  # those that it gave one
        self._rules = False  # whether it changed rules
        self._seen: dict[int, _Seen] = {}
        self._users: dict[int, int] = {}
        self._named: set[int] = set()  # ids that rules have named, until their going is told
        try:
            self._look()
        except BaseException:
            self._link.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._link.close()

    def sleep(self) -> float:
        """Seconds until the clock alone may bring an event."""
        now = _now()
        due = [seen.deadline for seen in self._seen.values() if not seen.over]
        return min([LONGEST_SLEEP, *(max(0, deadline - now) / SECOND for deadline in due)])

    def passed(self) -> Iterator[Event]:
        """The tables whose deadline has passed since this was last asked.

        Only after everything has been fed: a renewal that is told of late was in time.
        """
        now = _now()
        for id_, seen in self._seen.items():
            if not seen.over and now >= seen.deadline:
                seen.over = True
                yield Event(EventKind.EXPIRED, id_, self._users.get(id_, 0), seen.version)

    def feed(self, received: bytes) -> Iterator[Event]:
        """What a datagram completes; an empty one stands for some that were lost."""
        if not received:
            self._look()
            yield Event(EventKind.LOST, 0)
        for message in heard(received):
            if message.kind == elements.NEW_GENERATION:
                yield from self._end()
            else:
                self._take(message)

    def _take(self, message: Message) -> None:
        table, set_ = elements.names_in(message)
        if table != TABLE:
            return
        self._rules |= message.kind in _RULES
        if message.kind == elements.DELETE_TABLE:
            self._gone |= set(self._seen)
            return
        if message.kind == elements.NEW_RULE:
            self._named |= set(usage.usage([message]))
        match = _UNTIL.fullmatch(set_)
        if match is None:
            return
        id_ = int(match[1])
        if message.kind == elements.NEW_ELEMENT:
            for found in _tables(id_, [message]):
                self._come[id_] = found
        elif message.kind in (elements.DELETE_ELEMENT, elements.DELETE_SET):
            self._gone.add(id_)

    def _end(self) -> Iterator[Event]:
        """The transaction is complete."""
        gone, come, rules = self._gone - set(self._come), self._come, self._rules
        self._gone, self._come, self._rules = set(), {}, False
        if rules:
            self._count()
        for id_ in sorted(gone & set(self._seen)):
            del self._seen[id_]
            yield Event(EventKind.DELETED, id_, self._users.get(id_, 0))
        for id_, table in come.items():
            seen = self._seen.get(id_)
            self._seen[id_] = _Seen(table.version, table.deadline, _now() >= table.deadline)
            if seen is None or seen.version != table.version:
                self._seen[id_].over = False
                yield Event(EventKind.SET, id_, self._users.get(id_, 0), table.version)
        unused = sorted(self._named - set(self._users))
        self._named = set(self._users)
        for id_ in unused:
            seen = self._seen.get(id_)
            yield Event(EventKind.UNUSED, id_, 0, seen.version if seen else None)

    def _look(self) -> None:
        """Take what is for what has been told."""
        now = _now()
        self._seen = {
            table.id: _Seen(table.version, table.deadline, now >= table.deadline)
            for id_ in usage.ids(self._ask(elements.all_sets()))
            for table in _tables(id_, self._ask(elements.elements_of(until_set(id_))))
        }
        self._count()
        self._named = set(self._users)

    def _count(self) -> None:
        found = usage.usage(self._ask(elements.all_rules()))
        self._users = {id_: used.users for id_, used in found.items()}

    def _ask(self, request: elements.Request) -> list[Message]:
        """A list as far as it goes: what changes it meanwhile will be told of."""
        while True:
            try:
                return self._link.ask(request)
            except RefusedError as refusal:
                if refusal.code == errno.ENOENT:
                    return []
                if refusal.code != errno.EINTR:
                    raise


def _tables(id_: int, messages: Iterable[Message]) -> Iterator[Table]:
    """The table that the elements of its `until_N` tell of, without its blocks."""
    for message in messages:
        for element in elements.elements_in(message):
            table = sets.table(id_, element.comment, 0)
            if table is not None:
                yield table


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

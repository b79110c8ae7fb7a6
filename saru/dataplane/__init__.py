# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's tables behind one small interface.

A table says which blocks of an id are accepted here and until when. Everything that may change a
table can fail in three ways: StaleError (the kernel has something newer, or the deadline has
passed: a race lost), OutageError (the module is missing, no permission, no answer) and SaruError
with the kernel's own words (it refuses what was asked).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from saru.core.term import Version

ID_MIN, ID_MAX = 1, 65535
BLOCKS_MIN, BLOCKS_MAX = 2, 65536


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel holds for an id, apart from its counters.

    `id` 1 to 65535, `blocks` a power of two from 2 to 65536, `seed` 32 bits. `deadline` is an
    absolute time of CLOCK_BOOTTIME in ns, `lease_max` in ns: the kernel refuses a deadline further
    away than that. `held` is a bitmap: block b is bit b.
    """

    id: int
    blocks: int
    seed: int
    version: Version
    deadline: int
    lease_max: int
    held: int


class TableState(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel knows of an id: its table, if it has one, and its counters.

    The counters are packets since the id was first heard of; `expired` counts those of held blocks
    after the deadline, `no_key` those without the fields that the rule looks at. `users` is how
    many rules name the id. `packets` has a number per block, of packets that came while it was held
    (accepted or expired), None if the kernel does not count them (no table, or more than 4096
    blocks).
    """

    id: int
    table: Table | None = None
    users: int = 0
    accepted: int = 0
    rejected: int = 0
    expired: int = 0
    no_key: int = 0
    packets: tuple[int, ...] | None = None


class EventKind(enum.StrEnum):
    """What can happen to a table without this process's doing."""

    SET = "set"
    DELETED = "deleted"
    EXPIRED = "expired"  # its deadline has passed
    UNUSED = "unused"  # the last rule that names the id is gone
    LOST = "lost"  # events came faster than they were read: look at all tables


class Event(msgspec.Struct, frozen=True):
    """Something happened to the table of `id` (0 if `kind` is LOST).

    `users` is how many rules name the id then; `version` is its table's, None without one.
    """

    kind: EventKind
    id: int
    users: int = 0
    version: Version | None = None


class Dataplane(Protocol):
    """The kernel's tables. Use one from a single event loop; `open` before anything else."""

    name: str

    async def open(self) -> None:
        """Find the kernel's side. Raises OutageError if it is not there."""

    async def close(self) -> None:
        """Wait for what is under way and let go; the tables stay as they are."""

    async def set(self, table: Table) -> None:
        """Replace the table of `table.id` in one step.

        On return no CPU accepts by the old one what the new one does not. The same version may come
        again with the same blocks or fewer, before its deadline. Raises StaleError for an older
        version.
        """

    async def renew(self, id: int, version: Version, deadline: int) -> None:  # noqa: A002
        """Move the deadline of the table of `id`.

        Raises StaleError unless the table's version is `version` and its deadline has not passed.
        """

    async def delete(self, id: int) -> bool:  # noqa: A002
        """Forget the table of `id`; on return no CPU uses it. False if there was none."""

    async def get(self, id: int) -> TableState:  # noqa: A002
        """What the kernel knows of `id`: no table and no users if it has never heard of it."""

    async def users(self, id: int) -> int:  # noqa: A002
        """How many rules name `id`: cheap, whatever its table, and no renewal waits long for it."""

    async def tables(self) -> list[TableState]:
        """All ids of this network namespace that have a table or users, in their order."""

    def events(self) -> AsyncIterator[Event]:
        """What happens to the tables from this call on (not only from the first iteration)."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core asks the daemon to do, in the order in which it asks."""

from __future__ import annotations

import enum

import msgspec

from saru.core.beat import Allocation, Beat
from saru.core.term import Version


class SendBeat(msgspec.Struct, frozen=True):
    """Send a beat to everyone, on every road, now."""

    beat: Beat


class SendAllocation(msgspec.Struct, frozen=True):
    """Send an allocation to everyone, in parts if it must be."""

    allocation: Allocation


class Push(msgspec.Struct, frozen=True):
    """Replace the kernel's table of `id`; answer with `Coordinator.pushed` when it has returned.

    `held` is a bitmap, `deadline` absolute ns of CLOCK_BOOTTIME.
    """

    id: int
    version: Version
    held: int
    deadline: int


class Renew(msgspec.Struct, frozen=True):
    """Move the deadline of the table of `id`, if its version is still `version`.

    A later Renew of the same id replaces an earlier one that has not been carried out.
    """

    id: int
    version: Version
    deadline: int


class Drop(msgspec.Struct, frozen=True):
    """Delete all tables of this cluster's ids; answer with `Coordinator.dropped`.

    Comes before everything that is still waiting: pushes and renewals not yet begun are void.
    """


class Change(enum.StrEnum):
    """The kinds of state change that are told to the operator."""

    SEEN = "seen"
    LATE = "late"
    SILENT = "silent"
    REFUSED = "refused"
    LAPSED = "lapsed"
    TERM = "term"
    MASTER = "master"
    RESIGNED = "resigned"
    FENCE = "fence"
    FENCED = "fenced"
    VERSION = "version"
    BLOCKS = "blocks"
    READY = "ready"
    GUARD = "guard"
    LEFT = "left"
    YIELD = "yield"
    FAILSAFE = "failsafe"


class Note(msgspec.Struct, frozen=True):
    """One state change, for one line of the log: who, what, why."""

    change: Change
    who: str
    what: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.who}: {self.what}" + (f" ({self.why})" if self.why else "")


Action = SendBeat | SendAllocation | Push | Renew | Drop | Note

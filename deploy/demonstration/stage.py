# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the scenario is played: what it needs of a lab, whatever its directors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

Say = Callable[[str], None]
TICKS = 0.4
"""Seconds."""
LAST_LINES = 30
"""Of a director's log, for who wants to know why something did not settle."""


@dataclass(frozen=True)
class Pace:
    """How fast it goes: as fast as the directors can bear. Times in seconds."""

    rate: int
    """Probes a second."""
    deadtime: float
    grace: float
    """A settled phase begins 1.03 times the deadtime after a fault, and this much later."""
    drain: float
    """A settled phase ends this long before the next fault: a director that loses power takes with
    it the packets that it has received and not looked at."""
    look: float
    """Between two looks whether a return has settled."""
    patience: float
    """How long a start or a return may take, a boot among it."""
    connections: float
    """How long the TCP connections of a settled phase may take; those not made by then are not
    waited for."""


def by_zookeeper(pace: Pace) -> Pace:
    """The pace where ZooKeeper must first find that a director is gone: a session timeout, as long
    as the deadtime, and a few of its ticks more."""
    return replace(pace, grace=pace.grace + pace.deadtime + TICKS)


@dataclass(frozen=True)
class Tap:
    """Where the capture listens among the switches: on a bridge, or at ports."""

    bridge: str = ""
    """Packets for the VIP that cross it are listened to; the source MAC tells who forwards."""
    ports: Mapping[str, str] = field(default_factory=dict)
    """Answers from the VIP that come in there are listened to; by the port, who sends them."""


class Stage(Protocol):
    """A lab, up or not, with its directors, its client, and faults to be had."""

    lab: str
    """Its name."""
    directors: tuple[str, ...]
    pace: Pace
    introduction: str
    """What a newcomer should know of it."""
    keepsake: str
    """The command that looks at a lab which is left up."""
    seen: str
    """On which wire it is seen who accepted a probe."""
    client: str
    """The client's namespace."""
    wires: str
    """The switches' namespace."""
    tap: Tap
    names: dict[str, str]
    """The directors by what the capture tells them by."""

    def prepare(self, say: Say) -> str:
        """Fetch and build what is missing; the release of the kernel that directors run."""

    def up(self, say: Say) -> str:
        """Bring the lab up; the name of the directors' data plane."""

    def power_cut(self, name: str) -> None:
        """Cut a director's power."""

    def boot(self, name: str, say: Say) -> None:
        """Give it its power back, and start its daemon."""

    def freeze(self, name: str) -> None:
        """Let a director's daemon do nothing more, without knowing of it."""

    def thaw(self, name: str) -> None:
        """Let it go on."""

    def isolate(self, name: str) -> None:
        """Cut a director off from the others, but not from the client."""

    def heal(self) -> None:
        """Undo that."""

    def master(self, asked: str) -> str:
        """Who is master, as the daemon of `asked` says; LabError if it hears none."""

    def says(self, name: str) -> str:
        """What the daemon of `name` says of itself, for a person to read: its status, and the end
        of its log. LabError if the director is not there to be asked."""

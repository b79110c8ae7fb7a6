# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as a text that a person can read, and that can be played again.

    # What stands behind a # is for people.
    seed 17 kernel nftables
    voters abcde witnesses e quorum majority ids 1 join_delay 0
       0.000 start a
    2431.100 crash b

Times are in ms of true time since the beginning. What the verbs mean is in `tests.sim.faults`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from saru.core.settings import Quorum

MS = 1000
NEEDED = {"seed", "voters"}
KEYS = NEEDED | {"kernel", "witnesses", "quorum", "named", "ids", "join_delay"}


@dataclass(frozen=True)
class Fault:
    """One line: at `time` (us), do what `words` say."""

    time: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.time / MS:11.3f} {' '.join(self.words)}"


@dataclass(frozen=True)
class Course:
    """What every run depends on, whatever its cluster is: the dice, and what happens."""

    WHO: ClassVar[str]  # what its nodes are

    seed: int
    nftables: bool = field(default=False, kw_only=True)  # the kernels' tables are its sets
    faults: tuple[Fault, ...] = field(default=(), kw_only=True)

    def head(self) -> str:
        """The lines before the first fault."""
        kernel = " kernel nftables" if self.nftables else ""
        return f"seed {self.seed}{kernel}\n{self.cluster()}"

    def cluster(self) -> str:
        """The line that says who there is, and by which settings."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join([self.head(), *map(str, self.faults)]) + "\n"

    def only(self, faults: Iterable[Fault]) -> Self:
        """The same cluster with other faults."""
        return replace(self, faults=tuple(faults))


@dataclass(frozen=True)
class Scenario(Course):
    """Everything that a run by beats depends on. `named`: the settings name the voters."""

    WHO = "voters"

    voters: str
    witnesses: str = ""
    quorum: Quorum = Quorum.MAJORITY
    named: bool = True
    ids: int = 1
    join_delay: int = 0

    def cluster(self) -> str:
        words = [f"voters {self.voters}"]
        if self.witnesses:
            words.append(f"witnesses {self.witnesses}")
        words.append(f"quorum {self.quorum.value}")
        if not self.named:
            words.append("named no")
        words.append(f"ids {self.ids}")
        if self.join_delay:
            words.append(f"join_delay {self.join_delay / MS:g}")
        return " ".join(words)


def lines(text: str, needed: Set[str], keys: Set[str]) -> tuple[dict[str, str], tuple[Fault, ...]]:
    """The settings and the faults that a text has. ValueError, with the line, if that cannot be."""
    settings: dict[str, str] = {}
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        try:
            if words and words[0][0].isdigit():
                if len(words) == 1:
                    raise ValueError("what happens then?")
                faults.append(Fault(round(float(words[0]) * MS), tuple(words[1:])))
            else:
                settings |= dict(zip(words[::2], words[1::2], strict=True))
        except ValueError as error:
            raise ValueError(f"line {number}: {line.strip()}: {error}") from error
    unknown = settings.keys() - keys
    if unknown:
        raise ValueError(f"nobody knows {', '.join(sorted(unknown))}")
    missing = needed - settings.keys()
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))} is given")
    return settings, tuple(sorted(faults, key=lambda fault: fault.time))


def on_nftables(settings: Mapping[str, str]) -> bool:
    """Whether nftables has the kernels' tables. ValueError if nobody knows what has."""
    kernel = settings.get("kernel", "module")
    if kernel not in ("module", "nftables"):
        raise ValueError(f"kernel {kernel}: module or nftables")
    return kernel == "nftables"


def parse(text: str) -> Scenario:
    """Read what `Scenario` writes. ValueError, with the line, if that cannot be."""
    settings, faults = lines(text, NEEDED, KEYS)
    return Scenario(
        seed=int(settings["seed"]),
        nftables=on_nftables(settings),
        voters=settings["voters"],
        witnesses=settings.get("witnesses", ""),
        quorum=Quorum(settings.get("quorum", "majority")),
        named=settings.get("named", "yes") == "yes",
        ids=int(settings.get("ids", "1")),
        join_delay=round(float(settings.get("join_delay", "0")) * MS),
        faults=faults,
    )

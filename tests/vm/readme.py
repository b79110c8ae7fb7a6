# SPDX-License-Identifier: GPL-2.0-or-later
"""README.md's blocks of commands and files, and what the comment before each says of it.

Before each block of commands stands a comment that says where they are run:

    run: install            on this host's own file system, below a layer that is thrown away; what
                            concerns the service once more in a guest with systemd (test_systemd.py)
    run: director           in a guest, one after the other, as on one director
      ... until "PATTERN"   left running there once its output matches
      ... without daemon    after what was left running has ended
    run: lab                on this host, in a lab (test_lab.py)
    run: nftables           in a network namespace of this host, as on a director without the module
    run elsewhere: PATH     that file runs it
    file: PLACE PATH        not commands: a file that those of that place find there
    check: config           not commands: a configuration without a fault
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.lab.cache import PROJECT

README = PROJECT / "README.md"
FENCE = re.compile(
    r"(?:^<!-- (?P<note>.*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
KINDS = {"sh": ("run: ", "run elsewhere: "), "toml": ("file: ", "check: "), "ini": ("file: ",)}
ROOMS = ("install", "director", "lab", "nftables")


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comment before it says."""

    note: str
    kind: str
    text: str

    def room(self) -> str:
        """Where its commands run, or its file lies; empty if they run elsewhere."""
        found = re.match(r"(?:run|file): (\w+)", self.note)
        return found.group(1) if found else ""

    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


def blocks() -> list[Block]:
    found = FENCE.finditer(README.read_text())
    return [Block(one["note"] or "", one["kind"], one["text"]) for one in found]


def in_room(room: str) -> list[Block]:
    found = [block for block in blocks() if block.room() == room]
    assert found, f"README.md has nothing for {room}"
    return found

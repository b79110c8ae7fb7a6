# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes the lab down when whoever started it is gone, however it went.

    python -m deploy.demonstration.janitor LAB

Reads standard input to its end: the other end of that pipe is held by the demonstration alone.
The word `keep` leaves the lab alone.
"""

import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from deploy.lab.laboratory import Laboratory


class Janitor:
    """A janitor in a process of its own, from `with` until the end or this process's death."""

    def __init__(self, lab: str) -> None:
        self._lab = lab
        self._keep = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deploy.demonstration.janitor", self._lab],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def keep(self) -> None:
        """Leave the lab up."""
        self._keep = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have the lab taken down, and wait for it; another Ctrl-C only ends the waiting."""
        self._process.communicate(b"keep" if self._keep else b"")


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.read() != "keep":
        Laboratory(sys.argv[1]).down()  # its name is enough, whatever its directors are

# SPDX-License-Identifier: GPL-2.0-or-later
"""Grace periods that hurry: the proof of `grace`, in a tenth of its time.

A grace period takes some milliseconds, because RCU leaves the CPUs alone and waits for their ticks.
Asked to hurry, it asks the CPUs instead: the same proof, sooner. /sys/kernel/rcu_expedited is how
root asks. It is the whole machine's, so it is 1 only while somebody waits. Whoever finds it 1
leaves it so: the administrator has set it, or somebody who will put it back himself. So no order of
reading and writing by several who do this leaves it 1.

One who is killed meanwhile does. So a mark, a file that is gone after a reboot, as the setting is,
says that a 1 may be ours; the next daemon finds it when it starts, and puts the 0 back.

There is no hurry where /sys is read-only, as in most containers, and where the administrator has
set /sys/kernel/rcu_normal, by which the kernel hurries for nobody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from saru.dataplane.grace import wait

_EXPEDITED = "/sys/kernel/rcu_expedited"
_NORMAL = "/sys/kernel/rcu_normal"


class Hurry:
    """One daemon's hurry; `mark` is its file, None for one that never hurries."""

    def __init__(self, mark: Path | None) -> None:
        self._mark = mark

    def mend(self) -> None:
        """Put back what an earlier daemon was killed before it could."""
        if self._mark is not None and self._mark.exists():
            with contextlib.suppress(OSError), _opened() as switch:
                os.pwrite(switch, b"0", 0)
            with contextlib.suppress(OSError):
                self._mark.unlink(missing_ok=True)

    def period(self) -> bool:
        """Wait for a grace period, and for no other thing; False if this host lets us not hurry.

        Raises OutageError as `wait` does.
        """
        if self._mark is None:
            return False
        with contextlib.suppress(OSError), self._hurried(self._mark):
            wait()
            return True
        return False

    @contextlib.contextmanager
    def _hurried(self, mark: Path) -> Iterator[None]:
        """Grace periods hurry meanwhile. Raises OSError where they do not."""
        if Path(_NORMAL).read_bytes()[:1] != b"0":
            raise OSError(f"{_NORMAL} forbids it")
        with _opened() as switch:
            if os.pread(switch, 1, 0) != b"0":
                yield
                return
            mark.touch()
            try:
                os.pwrite(switch, b"1", 0)
                yield
            finally:
                os.pwrite(switch, b"0", 0)
                mark.unlink()


@contextlib.contextmanager
def _opened() -> Iterator[int]:
    switch = os.open(_EXPEDITED, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield switch
    finally:
        os.close(switch)

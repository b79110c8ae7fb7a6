# SPDX-License-Identifier: GPL-2.0-or-later
"""One daemon per host and cluster: an exclusive lock, held for the daemon's life.

The lock is flock(2) on RUN/CLUSTER.lock, so it ends with the process however that ends. The file
stays: removing it would let two daemons lock two files of one name. It holds the owner's pid.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

import msgspec

from saru.errors import SaruError

# `owners` takes a lock for a moment; a daemon that starts right then must not be refused.
TRIES = 10
PAUSE = 0.02  # seconds


class Owner(msgspec.Struct, frozen=True):
    """A daemon that runs: its cluster and, if it has written it down already, its pid."""

    cluster: str
    pid: int | None

    def __str__(self) -> str:
        return f"cluster {self.cluster}" + (f", pid {self.pid}" if self.pid else "")


class Lock:
    """The right to push this host's tables. Make one with `Lock.acquire`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, run: Path, cluster: str) -> Lock:
        """Take the lock of `cluster`, or raise SaruError that names the daemon that has it."""
        path = run / f"{cluster}.lock"
        try:
            run.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _closed(path, error) from None
        try:
            for _ in range(TRIES):
                if _locked(descriptor, fcntl.LOCK_EX):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                    return cls(descriptor)
                time.sleep(PAUSE)
        except OSError as error:  # no room, or a file system without locks
            os.close(descriptor)
            raise SaruError(
                f"cannot take the lock {path}: {error.strerror}; daemon.run can name another place"
            ) from None
        owner = Owner(cluster, _pid(descriptor))
        os.close(descriptor)
        raise SaruError(
            f"a daemon runs on this host already ({owner}); stop it first: systemctl stop saru"
        )

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def owners(run: Path) -> list[Owner]:
    """The daemons that run on this host, of any cluster, by cluster."""
    found = []
    for path in sorted(run.glob("*.lock")):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _closed(path, error) from None
        try:
            if not _locked(descriptor, fcntl.LOCK_SH):
                found.append(Owner(path.stem, _pid(descriptor)))
        finally:
            os.close(descriptor)
    return found


def _closed(path: Path, error: OSError) -> SaruError:
    mend = " (run it as root)" if isinstance(error, PermissionError) else ""
    return SaruError(f"cannot open the lock {path}: {error.strerror}{mend}")


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(descriptor: int) -> int | None:
    written = os.pread(descriptor, 32, 0).strip()
    return int(written) if written.isdigit() else None

# SPDX-License-Identifier: GPL-2.0-or-later
"""One daemon per host and cluster, and one per table: exclusive locks, held for the daemon's life.

A lock is flock(2) on a file, so it ends with the process however that ends. The file stays:
removing it would let two daemons lock two files of one name. It holds the owner's pid.

    RUN/CLUSTER.lock            the daemon of a cluster
    TABLES/NETNS-ID.lock        the daemon that keeps the table of an id in a network namespace;
                                behind its pid stands its cluster

The kernel has one table for an id in each network namespace, whatever the cluster is called that
keeps it and wherever its files are: two daemons would each undo what the other one has set.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from saru.errors import SaruError

PAUSE = 0.02  # seconds from one try to the next
TRIES = 10
"""How often the lock may be somebody's before a daemon that starts is refused: it may just end."""
LOOKS = 500
"""How often somebody may be looking (`_has`), which takes a moment, but longer where he has to wait
for a core."""
TABLES = Path("/run/saru-tables")


class Owner(msgspec.Struct, frozen=True):
    """A daemon that runs: its cluster and, if it has written it down already, its pid."""

    cluster: str
    pid: int | None

    def __str__(self) -> str:
        return f"cluster {self.cluster}" + (f", pid {self.pid}" if self.pid else "")


class Lock:
    """The right to be the daemon of a cluster, or to keep a table. One of the makers takes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def of_cluster(cls, run: Path, cluster: str) -> Self:
        """The lock of `cluster`. Raises SaruError that names the daemon that has it."""
        try:
            run.mkdir(parents=True, exist_ok=True)
            return cls._take(run / f"{cluster}.lock", cluster, f"{os.getpid()}\n")
        except _TakenError as taken:
            raise _runs_already(taken.owner) from None
        except _LocklessError as why:
            raise SaruError(f"{why}; daemon.run can name another place") from None
        except OSError as error:
            raise _closed(run / f"{cluster}.lock", error) from None

    @classmethod
    def of_table(cls, number: int, cluster: str) -> Self:
        """The lock of the table of an id here, for `cluster`. Raises SaruError as `of_cluster`."""
        path = TABLES / f"{_namespace()}-{number}.lock"
        try:
            TABLES.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls._take(path, "", f"{os.getpid()} {cluster}\n")
        except _TakenError as taken:
            if taken.owner.cluster == cluster:  # with another daemon.run
                raise _runs_already(taken.owner) from None
            raise SaruError(
                f"another daemon keeps the table of id {number} on this host ({taken.owner}); "
                "give each cluster's [[id]] a number of its own"
            ) from None
        except _LocklessError as why:
            raise SaruError(str(why)) from None
        except OSError as error:
            raise _closed(path, error) from None

    @classmethod
    def _take(cls, path: Path, cluster: str, content: str) -> Self:
        """Lock the file and write its content. It is `cluster`'s, or whose it says."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            taken = looked_at = 0
            while taken < TRIES and looked_at < LOOKS:
                if _locked(descriptor, fcntl.LOCK_EX):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, content.encode(), 0)
                    return cls(descriptor)
                if _locked(descriptor, fcntl.LOCK_SH):  # as who looks has it
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                    looked_at += 1
                else:
                    taken += 1
                time.sleep(PAUSE)
            refused = _TakenError(_owner(descriptor, cluster))
        except OSError as error:  # no room, or a file system without locks
            os.close(descriptor)
            raise _LocklessError(f"cannot take the lock {path}: {error.strerror}") from None
        os.close(descriptor)
        raise refused

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def held(run: Path, cluster: str, ids: Iterable[int]) -> Iterator[None]:
    """Hold the lock of a cluster, and those of the tables that its daemon keeps.

    That of the cluster comes back last: who has it finds the tables free.
    """
    with ExitStack() as locks:
        locks.enter_context(Lock.of_cluster(run, cluster))
        for number in ids:
            locks.enter_context(Lock.of_table(number, cluster))
        yield


def owners(run: Path) -> list[Owner]:
    """The daemons that run on this host with this `daemon.run`, of any cluster, by cluster."""
    return [owner for path in sorted(run.glob("*.lock")) if (owner := _has(path, path.stem))]


def keepers() -> list[Owner]:
    """The daemons that keep tables in this network namespace, of any cluster, by cluster."""
    found = {_has(path, "") for path in TABLES.glob(f"{_namespace()}-*.lock")}
    return sorted(filter(None, found), key=lambda owner: (owner.cluster, owner.pid or 0))


class _TakenError(Exception):
    """Another daemon has the lock."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(str(owner))
        self.owner = owner


class _LocklessError(Exception):
    """The file cannot be locked, or not written."""


def _runs_already(owner: Owner) -> SaruError:
    return SaruError(
        f"a daemon runs on this host already ({owner}); stop it first: systemctl stop saru"
    )


def _namespace() -> int:
    """The number of this network namespace; no other one has it as long as this process lives."""
    return os.stat("/proc/self/ns/net").st_ino


def _has(path: Path, cluster: str) -> Owner | None:
    """Who has the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _closed(path, error) from None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _owner(descriptor, cluster)
    finally:
        os.close(descriptor)


def _closed(path: Path, error: OSError) -> SaruError:
    mend = " (run it as root)" if isinstance(error, PermissionError) else ""
    return SaruError(f"cannot open the lock {path}: {error.strerror}{mend}")


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int, cluster: str) -> Owner:
    """As the file says; it is empty for a moment, when its owner has only just taken it."""
    pid, _, said = os.pread(descriptor, 4096, 0).decode(errors="replace").strip().partition(" ")
    return Owner(cluster or said or "unknown", int(pid) if pid.isdigit() else None)

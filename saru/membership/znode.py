# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of ZooKeeper, and what it answers, in the project's terms."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec
from kazoo import exceptions as kazoo
from kazoo.handlers.threading import KazooTimeoutError

from saru.errors import SaruError

_LOST = (
    kazoo.ConnectionLoss, kazoo.ConnectionClosedError, kazoo.SessionExpiredError,
    kazoo.OperationTimeoutError, kazoo.SessionMovedError, kazoo.NotReadOnlyCallError,
    KazooTimeoutError,
)  # fmt: skip
_RACES = (
    kazoo.NoNodeError, kazoo.NodeExistsError, kazoo.BadVersionError, kazoo.RolledBackError,
    kazoo.NotEmptyError, kazoo.RuntimeInconsistency,
)  # fmt: skip
_DENIED = (kazoo.NoAuthError, kazoo.AuthFailedError, kazoo.InvalidACLError)


class LostError(SaruError):
    """The connection went while a request was open: it may have been carried out or not."""


class RacedError(SaruError):
    """A znode is not there, is there already, or has changed: somebody else was first.

    `place`: which part of a transaction it was, from 0.
    """

    def __init__(self, text: str, place: int = 0) -> None:
        super().__init__(text)
        self.place = place


class DeniedError(SaruError):
    """ZooKeeper does not let us: a wrong digest, or none."""


class Tie(enum.Enum):
    """What there is to ZooKeeper."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"  # no connection; the session may live on
    LOST = "lost"  # the session has ended


class Znode(msgspec.Struct, frozen=True):
    """A znode's data and the numbers that matter here. `owner`: 0 if it is not ephemeral."""

    data: bytes
    czxid: int
    version: int
    owner: int


class Put(msgspec.Struct, frozen=True):
    """Part of a transaction: set the znode's data if it has still this version."""

    path: str
    data: bytes
    version: int


class Check(msgspec.Struct, frozen=True):
    """Part of a transaction: the znode must be there, with this version."""

    path: str
    version: int


class Make(msgspec.Struct, frozen=True):
    """Part of a transaction: make a znode that is not there."""

    path: str
    data: bytes
    ephemeral: bool = False


class Remove(msgspec.Struct, frozen=True):
    """Part of a transaction: delete a znode, which must have no children."""

    path: str


Part = Put | Check | Make | Remove


class Children(msgspec.Struct, frozen=True):
    """The names of a znode's children, sorted; `pzxid` is of the newest change among them."""

    names: tuple[str, ...]
    pzxid: int


def translated(error: BaseException | None) -> BaseException | None:
    """kazoo's error in the project's terms; what is neither an outage nor a race is a bug."""
    name = type(error).__name__
    if isinstance(error, _LOST):
        return LostError(f"ZooKeeper did not answer ({name})")
    if isinstance(error, _RACES):
        return RacedError(f"somebody else was first ({name})")
    if isinstance(error, _DENIED):
        return DeniedError(f"ZooKeeper refuses ({name})")
    return error


def check_committed(results: Sequence[object]) -> None:
    """Raise why a transaction failed: one part says it, the others that they were rolled back."""
    for place, one in enumerate(results):
        untold = isinstance(one, kazoo.RolledBackError | kazoo.RuntimeInconsistency)
        if isinstance(one, kazoo.KazooException) and not untold:
            error = translated(one)
            if isinstance(error, RacedError):
                error.place = place
            assert error is not None
            raise error
    if any(isinstance(one, kazoo.KazooException) for one in results):
        raise LostError("a transaction was rolled back without a reason")

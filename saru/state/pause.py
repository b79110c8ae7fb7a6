# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon that pauses leaves behind for the one that goes on: a file, used at most once.

Two daemons that go on from one state, or one that goes on from it a second time, would say two
things under one name. So whoever reads the file removes it first, and it counts only in the boot in
which it was written and while no other daemon has run. Anything doubtful about it makes the start
an ordinary one.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from saru.config.tree import Config
from saru.core.settings import differing
from saru.core.state import State
from saru.dataplane import Dataplane
from saru.errors import SaruError, UsageError
from saru.membership import boottime
from saru.state import durable
from saru.state.incarnation import present_incarnation

FORMAT = 7  # raise it with every change of what a state means, also where it would still decode
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class DoubtError(SaruError):
    """Why a daemon does not go on where another one paused."""


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's content: the state, and the codec's life and number of the newest datagram."""

    format: int
    boot: str
    cluster: str
    life: bytes
    sequence: int
    state: State


class Asked(msgspec.Struct, frozen=True):
    """The request `pause`: who shall go on, by the configuration and the program as they are now.

    `settings` is the digest in hexadecimal, `format` the one that the program goes on from.
    """

    node: str
    settings: str
    format: int = 0

    @classmethod
    def by(cls, config: Config) -> Asked:
        """What this configuration asks for."""
        return cls(config.director.name, config.settings().digest().hex(), FORMAT)

    def words(self) -> dict[str, object]:
        """The request's arguments."""
        return msgspec.structs.asdict(self)


def refuse_others(asked: Asked, config: Config) -> None:
    """Raises SaruError if the daemon with `config` would not be gone on from, and so should leave.

    It is still there to hand its blocks over; after a pause in vain nobody would be.
    """
    try:
        keys = differing(config.settings().digest(), bytes.fromhex(asked.settings))
    except ValueError:
        raise UsageError("the daemon does not understand the request: settings") from None
    if asked.node != config.director.name:
        keys = ["director.name", *keys]
    why = f"the configuration has changed in {', '.join(keys)}" if keys else ""
    if asked.format != FORMAT:
        why = "the program that is installed now is of a release that does not go on from this one"
    if why:
        raise SaruError(
            f"{config.director.name} cannot pause, for {why}; stop it, so that its blocks are "
            "handed over: systemctl stop saru"
        )


def path(config: Config) -> Path:
    """Where this node leaves its state."""
    return config.daemon.state / f"{config.cluster.name}.paused"


def leave(config: Config, state: State, life: bytes, sequence: int) -> None:
    """Write the state for the next daemon, after the last beat was sent. Raises SaruError."""
    file = path(config)
    content = Pause(FORMAT, _boot(), config.cluster.name, life, sequence, state)
    try:
        durable.replace(file, msgspec.msgpack.encode(content))
    except OSError as error:
        raise SaruError(f"cannot write {file}: {error.strerror}") from None


async def inherit(config: Config, dataplane: Dataplane | None) -> Pause | None:
    """What the paused daemon left; None if there is nothing. Call it once, under the daemon's lock.

    Raises DoubtError if it cannot be gone on from, SaruError if it cannot be removed.
    """
    pause = _take(path(config))
    if pause is None:
        return None
    state, now = pause.state, boottime()
    incarnation = present_incarnation(config.daemon.state, config.cluster.name)
    if pause.cluster != config.cluster.name or state.node != config.director.name:
        raise DoubtError(f"it was {state.node} of the cluster {pause.cluster}")
    if state.session.incarnation != incarnation:
        raise DoubtError("another daemon has run since")
    if keys := differing(config.settings().digest(), state.settings):
        raise DoubtError(f"the configuration has changed in {', '.join(keys)}")
    if now < state.at:
        raise DoubtError("the clock has gone back")
    if dataplane is not None:
        await _check_tables(state, dataplane, now)
    return pause


def _take(file: Path) -> Pause | None:
    """Read the state and remove it, on disk too."""
    try:
        content = file.read_bytes()
        os.unlink(file)  # fails for all but one of those who have read it
        durable.remove(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SaruError(f"cannot remove {file}: {error.strerror}; remove it") from None
    try:
        pause = msgspec.msgpack.decode(content, type=Pause)
    except ValueError:  # msgspec's, or a UnicodeDecodeError
        raise DoubtError("what it left is damaged, or of another release") from None
    if pause.format != FORMAT:
        raise DoubtError("it was of another release")
    if pause.boot != _boot():
        raise DoubtError("the host has been booted since")
    return pause


async def _check_tables(state: State, dataplane: Dataplane, now: int) -> None:
    """Whether the kernel has the tables that the state speaks of. Raises DoubtError.

    Where the lease has passed they do not matter: they are deleted before anything is said.
    """
    if state.dropping or now >= state.lease:
        return
    for holding in state.holdings:
        table = (await dataplane.get(holding.id)).table
        if holding.table is None:
            if table is not None:
                raise DoubtError(f"the kernel has a table of id {holding.id}, and had none")
        elif table is None:
            raise DoubtError(f"the kernel's table of id {holding.id} has gone")
        elif table.version != holding.table or table.held != holding.bitmap():
            raise DoubtError(f"the kernel's table of id {holding.id} is another one")
        elif table.deadline <= now:
            raise DoubtError(f"the deadline of the kernel's table of id {holding.id} has passed")


def _boot() -> str:
    return _BOOT.read_text().strip()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The incarnation: a counter that tells apart the lives of a daemon, across reboots.

It is on disk before anything is said under it. Two lives with one incarnation would be taken for
one, so a counter that cannot be read is an error and never a fresh start.
"""

from __future__ import annotations

from pathlib import Path

from saru.core.term import INCARNATION_MAX
from saru.errors import SaruError
from saru.state import durable

LENGTH_MAX = 64  # bytes; more than any counter has


def next_incarnation(state: Path, cluster: str) -> int:
    """Raise the counter of `cluster` under `state` by one, sync it to disk, and return it (from 1).

    Call it under the daemon's lock. Raises SaruError if the file is damaged, used up or cannot be
    written.
    """
    path = _path(state, cluster)
    try:
        state.mkdir(parents=True, exist_ok=True)
        incarnation = _read(path) + 1
        if incarnation > INCARNATION_MAX:
            raise SaruError(
                f"{path}: all {INCARNATION_MAX} incarnations are used up; give this director "
                "another name (director.name, and cluster.nodes everywhere) and remove the file"
            )
        durable.replace(path, b"%d\n" % incarnation)
    except OSError as error:
        raise SaruError(f"cannot keep the incarnation in {path}: {error.strerror}") from None
    return incarnation


def present_incarnation(state: Path, cluster: str) -> int:
    """The newest incarnation of `cluster` under `state`, 0 if there was none. Raises SaruError."""
    path = _path(state, cluster)
    try:
        return _read(path)
    except OSError as error:
        raise SaruError(f"cannot read {path}: {error.strerror}") from None


def _path(state: Path, cluster: str) -> Path:
    return state / f"{cluster}.incarnation"


def _read(path: Path) -> int:
    try:
        with path.open("rb") as file:
            content = file.read(LENGTH_MAX + 1)
    except FileNotFoundError:
        return 0
    written = content.strip()
    if len(content) > LENGTH_MAX or not written.isdigit() or int(written) > INCARNATION_MAX:
        raise SaruError(
            f"{path} is damaged: it should hold one number from 1 to {INCARNATION_MAX}; write one "
            "above every incarnation of this director that the others' `saru status` shows"
        )
    return int(written)

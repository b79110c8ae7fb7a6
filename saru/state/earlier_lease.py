# SPDX-License-Identifier: GPL-2.0-or-later
"""The longest lease that this director's vouches may still be good for, across its settings.

A director whose `deadtime` was made shorter has vouched, in its life before, for directors that
still have the longer one. It must not take part before those vouches have run out, which may be
after its new `initdead`. So the lease is kept on disk from before the first vouch by it until the
start-up wait of a daemon with a shorter one is over.
"""

from __future__ import annotations

from pathlib import Path

from saru.errors import SaruError
from saru.state import durable

LENGTH_MAX = 32  # bytes; more than any time has


def remember(state: Path, cluster: str, lease: int) -> int:
    """Keep the longer of `lease` (ns) and the one that is kept, and return that.

    Call it under the daemon's lock, before the first beat. Raises SaruError if the file is damaged
    or cannot be written.
    """
    path = _path(state, cluster)
    try:
        state.mkdir(parents=True, exist_ok=True)
        longest = max(lease, _read(path))
        _keep(path, longest)
    except OSError as error:
        raise SaruError(f"cannot keep the lease in {path}: {error.strerror}") from None
    return longest


def forget(state: Path, cluster: str, lease: int) -> None:
    """Keep `lease` alone: the start-up wait is over. Raises SaruError as `remember` does."""
    path = _path(state, cluster)
    try:
        _keep(path, lease)
    except OSError as error:
        raise SaruError(f"cannot keep the lease in {path}: {error.strerror}") from None


def _path(state: Path, cluster: str) -> Path:
    return state / f"{cluster}.lease"


def _keep(path: Path, lease: int) -> None:
    if _read(path) != lease:
        durable.replace(path, b"%d\n" % lease)


def _read(path: Path) -> int:
    try:
        with path.open("rb") as file:
            content = file.read(LENGTH_MAX + 1)
    except FileNotFoundError:
        return 0
    if len(content) > LENGTH_MAX or not content.strip().isdigit():
        raise SaruError(
            f"{path} is damaged: it should hold one number, the longest deadtime in ns that this "
            "director has had of late; wait for twice that long, and remove the file"
        )
    return int(content)

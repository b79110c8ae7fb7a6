# SPDX-License-Identifier: GPL-2.0-or-later
"""That this director once went by ZooKeeper: it must not go back to beats by itself.

Who has moved to ZooKeeper has written there that it vouches for nobody by beats any more, and the
others count on that. So a file says so, from before the first session; with all directors stopped,
the operator may remove it on each, and the znodes with it.
"""

from __future__ import annotations

from pathlib import Path

from saru.errors import SaruError
from saru.state import durable


def remember(state: Path, cluster: str, *, zookeeper: bool) -> None:
    """Keep that this director goes by ZooKeeper; or raise SaruError if it did, and shall not now.

    Call it under the daemon's lock, before the first word to anybody.
    """
    path = state / f"{cluster}.zookeeper"
    try:
        if zookeeper:
            state.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                durable.replace(path, b"\n")
        elif path.exists():
            raise SaruError(
                f"this director has gone by ZooKeeper, and the others may still: {path} says so. "
                'To go back to membership = "heartbeat", stop the daemons of all directors, remove '
                "that file on each, and the cluster's znodes; then start them"
            )
    except OSError as error:
        raise SaruError(f"cannot keep {path}: {error.strerror}") from None

# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings and beats for tests, with everything that a test does not care about filled in."""

from __future__ import annotations

import msgspec

from saru.core.beat import Beat, Role
from saru.core.settings import Division, Quorum, Settings
from saru.core.term import Session
from tests.unit.cores import DEADTIME, INITDEAD, KEEPALIVE

PLAIN = Beat(
    node="b",
    session=Session(1, 1),
    seq=1,
    settings=b"",
    term=None,
    role=Role.FOLLOWER,
    hears=False,
    waited=True,
    joined=True,
    able=True,
    left=False,
    weight=100,
    lease_left=0,
    heard=(),
    asks=(),
    promises=(),
    reports=(),
    offers=(),
    wants=(),
)


def a_beat(node: str, **fields: object) -> Beat:
    """A beat of `node`; what is not given is as plain as can be."""
    return msgspec.structs.replace(PLAIN, node=node, **fields)


def some_settings(nodes: str, quorum: Quorum = Quorum.MAJORITY) -> Settings:
    """The settings of a cluster whose nodes have names of one letter."""
    return Settings(
        nodes=tuple(nodes),
        witnesses=(),
        quorum=quorum,
        keepalive=KEEPALIVE,
        deadtime=DEADTIME,
        initdead=INITDEAD,
        divisions=(Division(1, 16, 0),),
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of a daemon for tests: three directors, one of them gone."""

from __future__ import annotations

import msgspec

from saru.status import (
    Counters,
    Director,
    Division,
    Guard,
    Quorum,
    Run,
    State,
    Status,
)


def director(name: str, *states: State, **other: object) -> Director:
    """A director in these states; everything else is well unless given."""
    well = Director(
        name=name,
        states=states,
        weight=100,
        blocks={},
        heard_ms=100,
        session="1.0",
        term="3.0.7",
        waited=True,
        joined=True,
        able=True,
    )
    return msgspec.structs.replace(well, **other)


def division(**other: object) -> Division:
    """Eight blocks of walter's and wendy's, and two of nobody's."""
    whole = Division(
        id=1,
        blocks=16,
        seed=0,
        version="3.0.7/12",
        taken="3.0.7/12",
        held=8,
        unheld=0,
        runs=(
            Run(first=0, last=7, holder="walter", since_ms=192_000),
            Run(first=8, last=11, holder="wendy", since_ms=192_000),
            Run(first=12, last=15, holder="wendy", since_ms=3_500),
        ),
        users=4,
        accepted=123456,
        rejected=98765,
        expired=0,
        no_key=2,
    )
    return msgspec.structs.replace(whole, **other)


def status(**other: object) -> Status:
    """A cluster in which nothing is wrong, seen by its master, walter."""
    well = Status(
        cluster="saru",
        node="walter",
        version="0.1.0",
        incarnation=7,
        session="7.0",
        uptime_ms=192_345,
        term="3.0.7",
        role="master",
        master="walter",
        quorum=Quorum(
            rule="majority", voters=3, needed=2, contact=("walter", "wendy", "wanda"), have=True
        ),
        lease_left_ms=4_600,
        wait_left_ms=0,
        join_left_ms=0,
        keepalive_ms=1_000,
        deadtime_ms=5_000,
        membership="heartbeat",
        dataplane="module",
        configuration="/etc/saru/saru.conf",
        guard=Guard(ok=True, state="rules in place", vip="left on eth0"),
        directors=(
            director("walter", State.MASTER, heard_ms=0, session="7.0", blocks={1: 8}),
            director("wanda", State.WITNESS, weight=0),
            director("wendy", State.DIRECTOR, blocks={1: 8}),
        ),
        divisions=(division(),),
        counters=Counters(beats_sent=1234, beats_received=2345),
    )
    return msgspec.structs.replace(well, **other)

# SPDX-License-Identifier: GPL-2.0-or-later
"""What a status says of ZooKeeper, and what is wrong between the two."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from saru.status import Ensemble, Quorum, State, Status
from saru.status.diagnosis import diagnose
from saru.status.view import show
from tests.unit.snapshots import director, status

QUORUM = Quorum(rule="zookeeper", voters=2, needed=0, contact=("walter", "wendy"), have=True)
WELL = Ensemble(
    connected=True, session="0x1000", server="10.0.0.1:2181", sessions=1, requests=7, failsafe=True
)


def by_zookeeper(**other: object) -> Status:
    """A cluster in which nothing is wrong, but for `other` between walter and ZooKeeper."""
    ensemble = msgspec.structs.replace(WELL, **other)
    have = msgspec.structs.replace(QUORUM, have=ensemble.connected)
    members = (director("walter", State.MASTER), director("wendy", State.DIRECTOR))
    return status(membership="zookeeper", quorum=have, directors=members, zookeeper=ensemble)


def shown(found: Status) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=100, highlight=False))
    return out.getvalue()


def test_well() -> None:
    assert diagnose(by_zookeeper()) == ()
    text = shown(by_zookeeper())
    assert "ZooKeeper: session 0x1000 at 10.0.0.1:2181" in text
    assert "fail-safe: ready" in text
    assert "quorum" not in text


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"connected": False}, "its blocks are let go in 4.6 s"),
        ({"connected": False, "failing_safe": True}, "all others vouch for it"),
        ({"connected": False, "differs": ("times.deadtime",)}, "differ from ours in"),
        ({"waiting": "another one is there"}, "waits: another one is there"),
    ],
)  # fmt: skip
def test_what_is_wrong(other: dict[str, object], told: str) -> None:
    found = by_zookeeper(**other)
    problems = diagnose(found)
    assert len(problems) == 1, problems
    assert told in problems[0]
    text = shown(found)
    assert ("no connection" in text) is not found.quorum.have
    assert ("fail-safe: in force" in text) is bool(other.get("failing_safe"))


def test_who_is_not_registered() -> None:
    found = msgspec.structs.replace(
        by_zookeeper(), directors=(director("wanda", State.UNREGISTERED, heard_ms=None),)
    )
    assert diagnose(found) == ("wanda is not registered with ZooKeeper: does its daemon run?",)

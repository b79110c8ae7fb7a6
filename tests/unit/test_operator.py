# SPDX-License-Identifier: GPL-2.0-or-later
"""Planned change, on cores joined by a fake link: what is asked, of whom, and what comes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from saru import config
from saru.core.action import Action
from saru.core.coordinator import Coordinator
from saru.core.share import Order
from saru.daemon.operator import Drained, Move, Operator, Outcome, Shell
from saru.daemon.others import Heard
from saru.errors import SaruError, UsageError
from saru.state import durable
from saru.status import Director, Guard, State
from saru.status.holders import Holders
from saru.status.snapshot import Look, held_by, take
from tests.unit.cores import BLOCKS, DEADTIME, EVERYTHING, KEEPALIVE, Link


class Site:
    """One director's operator."""

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        self.cluster, self.name = cluster, name
        self.host = cluster.link[name]
        self.drained = Drained(folder, name)
        self.stopped = False
        self.operator = Operator(
            Shell(
                now=self.host.clock,
                core=lambda: self.host.core,
                holders=self.holders,
                do=self.do,
                others=Heard(lambda: self.host.core, self.host.clock, self.order),
                stop=self.stop,
                until=cluster.until,
            ),
            self.drained,
        )

    def holders(self) -> dict[int, Holders]:
        found = Holders(BLOCKS, 0)
        found.update(held_by(self.host.core, 1, self.host.clock()), 0)
        return {1: found}

    def do(self, actions: list[Action]) -> None:
        def already(_: Coordinator) -> list[Action]:
            return actions

        self.host.do(already)

    def stop(self) -> None:
        self.stopped = True
        self.do(self.host.core.leave(self.host.clock()))

    def order(self, order: Order) -> None:
        self.cluster.orders.append(order)
        if self.cluster.lost:
            self.cluster.lost -= 1
            return
        for site in self.cluster.sites.values():
            if site is not self:
                for _ in range(2):  # by two roads
                    site.operator.obey(order)


class Cluster:
    """Three directors, and an event loop in which their time passes."""

    def __init__(self, folder: Path, witnesses: str = "") -> None:
        self.link = Link("abc", witnesses=witnesses).settled()
        self.orders: list[Order] = []
        self.lost = 0
        self.sites = {name: Site(self, name, folder) for name in "abc"}

    async def until(self, so: Callable[[], bool]) -> None:
        while not so():
            self.link.step()
            await asyncio.sleep(0)

    def share(self, at: str, **arguments: object) -> Outcome:
        return self.run(self.sites[at].operator.share(arguments))

    def leave(self, at: str, **arguments: object) -> Outcome:
        return self.run(self.sites[at].operator.leave(arguments))

    def run(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        async def settle() -> Outcome:
            outcome = await work
            await asyncio.sleep(0)
            return outcome

        return asyncio.run(settle())

    def held(self, name: str) -> int:
        return self.link[name].accepts().bit_count()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.mark.parametrize("at", ["a", "b", "c"])
def test_a_drain_returns_when_the_blocks_have_gone(cluster: Cluster, at: str) -> None:
    before = cluster.held("b")
    outcome = cluster.share(at, node="b", drained=True, wait=True)
    assert cluster.held("b") == 0
    assert cluster.link.held() == EVERYTHING
    (move,) = outcome.moves
    assert (move.blocks, sum(move.to.values()), move.unheld) == (before, before, 0)
    assert set(move.to) == {"a", "c"}
    assert outcome == Outcome(node="b", changed=True, weight=100, drained=True, moves=outcome.moves)
    assert cluster.sites["b"].drained.read() == at
    again = cluster.share(at, node="b", drained=True, wait=True)
    assert again == Outcome(node="b", changed=False, weight=100, drained=True)
    back = cluster.share(at, node="b", drained=False)
    assert back == Outcome(node="b", changed=True, weight=100, drained=False)
    assert cluster.sites["b"].drained.read() is None
    cluster.link.until(lambda: cluster.held("b") == before)


def test_a_director_is_drained_still_when_it_starts_again(cluster: Cluster) -> None:
    cluster.share("a", node="b", drained=True, wait=True)
    again = cluster.sites["b"].operator.first(70)
    assert (again.effective, again.weight, again.by) == (0, 70, "a")
    assert cluster.sites["a"].operator.first(70).effective == 70


def test_a_weight_changes_the_share(cluster: Cluster) -> None:
    outcome = cluster.share("a", node="c", weight=300)
    assert outcome == Outcome(node="c", changed=True, weight=300, drained=False)
    cluster.link.until(lambda: cluster.held("c") == BLOCKS * 3 // 5 + 1)
    assert cluster.share("c", weight=300).changed is False
    assert cluster.share("c", weight=100).changed is True


def test_an_order_is_sent_until_it_is_obeyed_and_obeyed_once(cluster: Cluster) -> None:
    cluster.lost = 2
    assert cluster.share("a", node="b", weight=7).weight == 7
    assert len(cluster.orders) >= 3
    assert set(cluster.orders[:3]) == {Order("b", 1, 0, "a", weight=7)}
    assert cluster.link["b"].core.share.revision == 1


def test_a_director_says_when_it_was_not_asked_in_time(cluster: Cluster) -> None:
    cluster.lost = 1000
    with pytest.raises(SaruError, match=r"^after 0\.3 s: b has not answered$"):
        cluster.share("a", node="b", drained=True, limit=0.3)
    assert cluster.held("b")


def test_a_word_in_the_drained_file_that_is_no_name_is_not_said(tmp_path: Path) -> None:
    """A beat with such a word in it would be refused before it is sent."""
    (tmp_path / "saru.drained").write_text("a new disk, back on Monday\n")
    assert Drained(tmp_path, "saru").read() == ""


def test_the_last_one_is_not_drained_unless_it_must_be(cluster: Cluster) -> None:
    for name in "ac":
        cluster.share("b", node=name, drained=True, wait=True)
    assert cluster.held("b") == BLOCKS
    with pytest.raises(SaruError, match=r"the blocks of b now: .* \(drain --force does"):
        cluster.share("a", node="b", drained=True, wait=True)
    with pytest.raises(SaruError, match=r"the blocks of b now: .* \(systemctl stop saru"):
        cluster.leave("b")
    cluster.link.run(KEEPALIVE)  # a learns what b holds
    outcome = cluster.share("a", node="b", drained=True, wait=True, force=True)
    assert outcome.moves == (Move(id=1, blocks=BLOCKS, to={}, unheld=BLOCKS),)


def test_a_drain_that_takes_too_long_says_how_to_undo_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # the disk may take all that time
    cluster.link.lost = lambda _sender, _receiver, message: not hasattr(message, "heard")
    stuck = "after 1 s: a is drained, but not all of its blocks are in other hands .*undrain a$"
    with pytest.raises(SaruError, match=stuck):
        cluster.share("a", node="a", drained=True, wait=True, limit=1)


def test_a_drain_that_nobody_waits_for_any_more_is_on_disk_and_done(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, disk = cluster.sites["a"], threading.Event()
    replace = durable.replace

    def slowly(path: Path, content: bytes) -> None:
        assert disk.wait(60)
        replace(path, content)

    monkeypatch.setattr(durable, "replace", slowly)

    async def work() -> Outcome:
        with pytest.raises(SaruError, match=r"^after 0\.1 s: a has not answered$"):
            await site.operator.share({"node": "a", "drained": True, "limit": 0.1})
        assert not site.host.core.share.drained
        disk.set()
        await cluster.until(lambda: site.host.core.share.drained)
        return await site.operator.share({"node": "a", "drained": True})

    assert cluster.run(work()).changed is False
    assert site.drained.read() == "a"


def test_a_bug_in_a_change_that_nobody_waits_for_is_told(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path, _content: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(durable, "replace", broken)
    told: list[object] = []

    async def work() -> Outcome:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        return await cluster.sites["a"].operator.share({"node": "b", "drained": True, "limit": 0.5})

    with pytest.raises(SaruError, match=r"^after 0\.5 s: b has not answered$"):
        cluster.run(work())
    assert told
    assert {str(error) for error in told} == {"a bug"}


def test_who_leaves_hands_its_blocks_over_first(cluster: Cluster) -> None:
    before = cluster.held("b")
    outcome = cluster.leave("b")
    assert cluster.sites["b"].stopped
    assert [move.blocks for move in outcome.moves] == [before]
    assert cluster.link.held() == EVERYTHING
    cluster.link.run(10**9)
    with pytest.raises(SaruError, match=r"^b has left: its daemon does not run$"):
        cluster.share("a", node="b", drained=True)


def test_who_cannot_leave_in_time_goes_on(cluster: Cluster) -> None:
    cluster.link.lost = lambda _sender, _receiver, message: not hasattr(message, "heard")
    with pytest.raises(SaruError, match=r"^after 0\.3 s: .*a goes on as before"):
        cluster.leave("a", limit=0.3)
    assert not cluster.sites["a"].stopped
    assert cluster.link["a"].core.weight == 100


def test_who_need_not_wait_ends_at_once(cluster: Cluster) -> None:
    assert cluster.leave("b", wait=False).moves == ()
    assert cluster.sites["b"].stopped


def shown(cluster: Cluster, at: str, name: str) -> Director:
    """A director in the status of another one, or of itself."""
    site = cluster.sites[at]
    snapshot = take(
        site.host.core,
        config.load(host=at, given={"cluster": {"nodes": ["a", "b", "c"]}}),
        site.host.clock(),
        Look(
            holders=site.holders(),
            tables=(),
            guard=Guard(ok=True, state="", vip=""),
            counts={},
            late_pushes=0,
            dataplane="none",
        ),
        membership={},
    )
    return next(each for each in snapshot.directors if each.name == name)


@pytest.mark.parametrize("at", ["a", "b"])
def test_status_says_who_holds_nothing_and_why(cluster: Cluster, at: str) -> None:
    assert shown(cluster, at, "b").why == ""
    cluster.share("c", node="b", weight=0)
    cluster.link.run(KEEPALIVE)
    seen = shown(cluster, at, "b")
    assert State.DRAINED in seen.states
    assert seen.why == "its weight is 0 by an operator at c: it shall hold no blocks"
    cluster.share("c", node="b", weight=70)
    cluster.link.until(lambda: cluster.held("b") > 0)
    cluster.link.set_time = KEEPALIVE  # the kernel takes its time
    cluster.share("c", node="b", drained=True)
    cluster.link.run(KEEPALIVE // 2)
    seen = shown(cluster, at, "b")
    assert State.DRAINING in seen.states
    assert seen.weight == 70
    assert seen.why == "drained by an operator at c, until: saru undrain b"
    cluster.link.run(4 * KEEPALIVE)
    assert State.DRAINED in shown(cluster, at, "b").states
    core = cluster.link["c"].core
    cluster.link["c"].do(lambda core: core.weigh(0, cluster.link["c"].clock()))
    cluster.link.run(KEEPALIVE // 2)
    assert core.share.weight == 100
    assert shown(cluster, at, "c").why == "is about to leave, and hands its blocks over"


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, witnesses="c")
    with pytest.raises(UsageError, match=r"^there is no director bb; there are a, b$"):
        cluster.share("a", node="bb", drained=True)
    with pytest.raises(UsageError, match=r"^c is a witness, which holds no blocks$"):
        cluster.share("c", drained=True)
    with pytest.raises(UsageError, match=r"^weight 65536 is not from 0 to 65535$"):
        cluster.share("a", node="b", weight=65536)
    with pytest.raises(UsageError, match=r"^the daemon does not understand the request: Expected"):
        cluster.share("a", node="b", weight="much")
    cluster.link.apart("b")
    cluster.link.run(10**9)
    with pytest.raises(SaruError, match=r"^b has been silent for .*; ask it on its own host$"):
        cluster.share("a", node="b", drained=True)


def test_a_place_that_cannot_be_written_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    cluster.sites["a"].operator._drained = Drained(tmp_path / "nowhere", "a")
    with pytest.raises(SaruError, match=r"^cannot keep .*/nowhere/a.drained: No such file or dir"):
        cluster.share("a", drained=True)
    assert cluster.held("a")
    assert not cluster.link["a"].core.share.drained


class _Deaf(Heard):
    """Others who cannot be asked now, as in a ZooKeeper that does not answer."""

    async def refresh(self) -> None:
        await asyncio.Event().wait()


def test_who_cannot_find_out_in_time_changes_nothing(cluster: Cluster) -> None:
    """Whoever asked has gone by then, and does not expect that something happens still."""
    site = cluster.sites["b"]
    deaf = _Deaf(lambda: site.host.core, site.host.clock, site.order)
    site.operator._shell = dataclasses.replace(site.operator._shell, others=deaf)
    requests: tuple[tuple[str, dict[str, object]], ...] = (
        ("leave", {}),
        ("leave", {"wait": False}),
        ("share", {"drained": True}),
        ("share", {"node": "c", "weight": 1}),
    )
    for what, arguments in requests:
        with pytest.raises(SaruError, match=r"after 0\.1 s: it is not known what the other"):
            getattr(cluster, what)("b", limit=0.1, **arguments)
    cluster.link.run(DEADTIME)
    assert not site.stopped
    assert {h.core.weight for h in cluster.link.hosts.values()} == {100}
    assert cluster.held("b")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Shares and orders: carried out once, by whom they are meant for, and in his present life."""

from __future__ import annotations

import msgspec
import pytest

from saru.config.authkeys import Keys
from saru.core.settings import Division
from saru.core.share import Order, Share
from saru.wire.codec import Codec
from tests.unit.statements import a_beat

SHARE = Share(100)
ORDER = Order("walter", 3, 0, "wendy", drained=True)


def codec(node: str) -> Codec:
    return Codec(node, 1, Keys(1, {1: b"ultramonkey"}), (Division(1, 1024, 0),))


def test_a_drained_director_keeps_its_weight_for_later() -> None:
    drained = SHARE.changed("wendy", drained=True)
    assert drained == Share(100, drained=True, by="wendy", revision=1)
    assert drained.effective == 0
    heavier = drained.changed("wanda", weight=150)
    assert heavier == Share(150, drained=True, by="wanda", revision=2)
    assert heavier.changed("wanda", drained=False).effective == 150


def test_an_order_is_obeyed_once() -> None:
    share = ORDER.obeyed(SHARE, "walter", 3)
    assert share == Share(100, drained=True, by="wendy", revision=1)
    assert ORDER.obeyed(share, "walter", 3) is None
    undrained = share.changed("walter", drained=False)
    assert ORDER.obeyed(undrained, "walter", 3) is None


@pytest.mark.parametrize(("node", "incarnation"), [("wendy", 3), ("walter", 2), ("walter", 4)])
def test_an_order_is_for_one_life_of_one_director(node: str, incarnation: int) -> None:
    assert ORDER.obeyed(SHARE, node, incarnation) is None


def test_of_two_orders_that_cross_one_is_obeyed() -> None:
    other = Order("walter", 3, 0, "wanda", weight=7)
    share = other.obeyed(SHARE, "walter", 3)
    assert share == Share(7, by="wanda", revision=1)
    assert ORDER.obeyed(share, "walter", 3) is None


def test_an_order_travels_and_passes_once() -> None:
    (datagram,) = codec("wendy").encode(ORDER)
    receiver = codec("walter")
    assert receiver.decode(datagram) == ORDER
    assert receiver.decode(datagram) is None
    assert receiver.counters["duplicate"] == 1


@pytest.mark.parametrize(
    "false",
    [
        msgspec.structs.replace(ORDER, node="wal ter"),
        msgspec.structs.replace(ORDER, by=""),
        msgspec.structs.replace(ORDER, incarnation=0),
        msgspec.structs.replace(ORDER, revision=-1),
        msgspec.structs.replace(ORDER, weight=65536),
    ],
)
def test_an_impossible_order_is_refused_on_both_sides(false: Order) -> None:
    sender, receiver = codec("wendy"), codec("walter")
    with pytest.raises(ValueError, match=r"."):
        sender.encode(false)
    datagram = sender._sign(3, msgspec.msgpack.encode(false))
    assert receiver.decode(datagram) is None
    assert receiver.counters["malformed"] == 1


def test_a_change_of_the_share_is_told_at_once() -> None:
    assert a_beat("b", share=SHARE).gist() != a_beat("b", share=SHARE.changed("b")).gist()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams under the receiver's own name: its own, or another daemon's."""

from saru.wire.codec import Codec
from saru.wire.namesakes import LIVES_MAX
from tests.unit.datagrams import beat, codec, counted, random_allocation

TWIN = b"the twin"


def said(by: Codec, seq: int = 1) -> bytes:
    """A beat of this daemon's, sent now."""
    (datagram,) = by.encode(beat(by.node, by.incarnation, seq))
    return datagram


def test_own_datagrams_come_back_and_are_nobodys() -> None:
    walter = codec(life=b"a life..")
    sent = [said(walter, seq) for seq in range(1, 2000)]
    for datagram in (*sent[-3:], *sent[:3], sent[0]):
        assert counted(walter, datagram) == {"own": 1}


def test_own_datagrams_of_before_a_pause_are_own() -> None:
    before = codec(life=b"a life..")
    sent = [said(before, seq) for seq in range(1, 9)]
    after = codec()
    after.go_on(1, before.life, before.sequence)
    for datagram in sent:
        assert counted(after, datagram) == {"own": 1}


def test_own_datagrams_of_an_earlier_life_are_not_a_namesakes() -> None:
    earlier = codec(incarnation=4, life=b"earlier.")
    assert counted(codec(incarnation=5), said(earlier)) == {"earlier_life": 1}


def test_a_namesake_is_told_whatever_its_incarnation() -> None:
    walter = codec(life=b"a life..")
    later = codec(incarnation=9, life=TWIN)
    assert counted(walter, said(later)) == {"namesake": 1}
    assert counted(later, said(walter)) == {"earlier_life": 1}


def test_two_with_one_incarnation_tell_each_other() -> None:
    walter, twin = codec(life=b"a life.."), codec(life=TWIN)
    for seq in (1, 2, 3):
        mine, its = said(walter, seq), said(twin, seq)
        assert counted(walter, its) == {"namesake": 1}
        assert counted(twin, mine) == {"namesake": 1}
        assert counted(walter, mine) == {"own": 1}
    for part in twin.encode(random_allocation(1, 64, 65536, 9)):
        assert counted(walter, part) == {"namesake": 1}


def test_a_copy_of_the_whole_host_is_told_as_soon_as_it_is_ahead() -> None:
    walter, twin = codec(life=TWIN), codec(life=TWIN)
    assert counted(walter, said(twin)) == {"namesake": 1}


def test_a_namesakes_datagrams_do_not_tell_of_it_when_they_are_replayed() -> None:
    walter, twin = codec(), codec(life=TWIN)
    sent = [said(twin, seq) for seq in range(1, 2000)]
    assert counted(walter, sent[0]) == {"namesake": 1}
    assert counted(walter, sent[0]) == {"duplicate": 1}
    assert counted(walter, sent[-1]) == {"namesake": 1}
    assert counted(walter, sent[-2]) == {"overtaken": 1}
    assert counted(walter, sent[1]) == {"late": 1}
    later = codec(incarnation=2, life=b"later...")
    assert counted(walter, said(later)) == {"namesake": 1}
    assert counted(walter, said(twin, 2000)) == {"earlier_life": 1}


def test_one_that_loses_its_state_again_and_again_is_a_namesake_still() -> None:
    """So many lives are not kept; who cannot be told from a replay is taken for one."""
    walter = codec()
    for life in range(1, LIVES_MAX + 1):
        assert counted(walter, said(codec(life=life.to_bytes(8)))) == {"namesake": 1}
    twin = said(codec(life=TWIN))
    assert counted(walter, twin) == counted(walter, twin) == {"namesake": 1}

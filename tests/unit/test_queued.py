# SPDX-License-Identifier: GPL-2.0-or-later
"""Which probes that two accepted count as held by two, where copies may lie in a queue."""

from __future__ import annotations

from tests.vm.queued import QueuedLedger

MS = 1_000_000
NAMES = ("walter", "wendy", "wanda")


def told(*probes: str) -> QueuedLedger:
    """A ledger of probes, 1 s apart; each says who accepted it after how many ms.

    They are one block's, but for those that begin with another's number and a colon.
    """
    ledger = QueuedLedger({name: name for name in NAMES})
    for number, text in enumerate(probes):
        sent = number * 1000 * MS
        block, _, words = text.rpartition(":")
        ledger.sent(int(block or 7), sent)
        for word in words.split():
            name, _, after = word.partition("+")
            ledger.accepted(number, name, sent + int(after) * MS)
    return ledger


def test_a_late_copy_of_a_block_that_has_moved() -> None:
    ledger = told("walter+4 wendy+480", "", "wendy+5", "walter+5")
    assert not ledger.twice()
    assert len(ledger.late()) == 1


def test_the_first_one_goes_on() -> None:
    assert len(told("walter+4 wendy+480", "walter+4").twice()) == 1
    ledger = told("walter+4 wendy+480", "walter+4 wendy+300")
    assert len(ledger.twice()) == 1
    assert len(ledger.undecided()) == 1


def test_too_soon_for_a_move() -> None:
    assert len(told("walter+4 wendy+7", "wendy+5").twice()) == 1
    assert len(told("walter+4 walter+478 wendy+480", "wendy+5").twice()) == 1


def test_three_are_never_late_copies() -> None:
    assert len(told("walter+4 wanda+90 wendy+480", "wendy+5").twice()) == 1


def test_nobody_knows_yet() -> None:
    ledger = told("walter+4 wendy+480", "")
    assert not ledger.twice()
    assert not ledger.late()
    assert len(ledger.undecided()) == 1


def test_an_older_probe_that_is_accepted_still_counts_for_what_comes_after() -> None:
    assert len(told("walter+4 wendy+480", "walter+2000", "wendy+5").twice()) == 1


def test_there_and_back_between_two_probes() -> None:
    older = told("wendy+5", "8: walter+1900", "wendy+49 walter+1435", "", "", "wendy+5")
    assert not older.twice()
    assert len(older.late()) == 1
    younger = told("wendy+5", "", "wendy+1049 walter+2435", "8: walter+1440", "", "wendy+5")
    assert not younger.twice()
    assert len(younger.late()) == 1
    third = told("wanda+5", "8: walter+1900", "wendy+49 walter+1435", "", "", "wendy+5")
    assert not third.twice()
    assert len(third.late()) == 1


def test_not_there_and_back() -> None:
    """Each is the one above but for one thing."""
    held_before = told("walter+5", "8: walter+1900", "wendy+49 walter+1435", "", "", "wendy+5")
    both_before = told("wendy+5 walter+6", "8: walter+1900", "wendy+49 walter+1435", "", "wendy+5")
    nobody_before = told("", "8: walter+1900", "wendy+49 walter+1435", "", "", "wendy+5")
    both_after = told("wendy+5", "8: walter+1900", "wendy+49 walter+1435", "", "wendy+5 walter+6")
    no_queue = told("wendy+5", "8: walter+900", "wendy+49 walter+1435", "8: walter+5", "wendy+5")
    anothers = told("wendy+5", "8: wanda+1900", "wendy+49 walter+1435", "", "", "wendy+5")
    a_longer_way = told("wendy+5", "8: walter+1060", "wendy+49 walter+78", "", "", "wendy+5")
    assert len(held_before.twice()) == 1
    assert len(both_before.twice()) == 2
    assert len(nobody_before.twice()) == 1
    assert len(both_after.twice()) == 2
    assert len(no_queue.twice()) == 1
    assert len(anothers.twice()) == 1
    assert "around it: probe 0, block 7 by ipv4: wendy after 5.0 ms; " in anothers.twice()[0]
    assert len(a_longer_way.twice()) == 1

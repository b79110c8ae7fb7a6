# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration's record: what passes, what does not, and how long a takeover took."""

from __future__ import annotations

import pytest

from deploy.demonstration.record import MS, Counts, Family, Phase, Record, Report

MACS = {"00:00:00:00:00:01": "walter", "00:00:00:00:00:02": "wendy"}
WALTER, WENDY = MACS


def record_of(*accepted: tuple[str, ...]) -> Record:
    """Probes sent at 0, 1, 2… ms into blocks 0, 1, 0, 1…, each accepted by the MACs named."""
    record = Record(MACS)
    for moment, macs in enumerate(accepted):
        number = record.sent(moment % 2, moment * MS)
        for delay, mac in enumerate(macs, 1):
            record.accepted(number, mac, (moment + delay) * MS)
    return record


def judged(record: Record, **options: object) -> Report:
    fields = {"name": "all", "settled": True, "begin": 0, "end": 1000 * MS, **options}
    return record.report(Phase(**fields))  # type: ignore[arg-type]


def test_all_accepted_once() -> None:
    report = judged(record_of((WALTER,), (WENDY,), (WALTER,)))
    assert (report.probes, report.accepted_once, report.blocks_probed) == (3, 3, 2)
    assert report.per_director == {"walter": 2, "wendy": 1}
    assert report.passed()


def test_the_same_director_twice_is_one_director() -> None:
    assert judged(record_of((WALTER, WALTER))).accepted_once == 1


@pytest.mark.parametrize("settled", [True, False])
def test_two_directors_never_pass(settled: bool) -> None:
    report = judged(record_of((WALTER,), (WALTER, WENDY)), settled=settled)
    assert (report.accepted_once, report.accepted_twice) == (1, 1)
    assert report.twice == ("probe 1, block 1 by ipv4: walter after 1.0 ms, wendy after 2.0 ms",)
    assert not report.passed()


def test_a_stranger_counts_under_his_mac() -> None:
    report = judged(record_of((WALTER, "00:00:00:00:00:09")))
    assert report.accepted_twice == 1
    assert report.per_director["00:00:00:00:00:09"] == 1


def test_nobody_passes_only_while_unsettled() -> None:
    record = record_of((), (WALTER,))
    assert not judged(record).passed()
    assert judged(record, settled=False).passed()


def test_both_addresses_are_counted() -> None:
    record = Record(MACS)
    for moment, family in enumerate((Family.IPV4, Family.IPV6, Family.IPV6)):
        number = record.sent(0, moment * MS, family)
        if number < 2:
            record.accepted(number, WALTER, 0)
    report = judged(record)
    assert report.families == {Family.IPV4: Counts(1, 1, 0, 0), Family.IPV6: Counts(2, 1, 1, 0)}
    assert (report.probes, report.accepted_once, report.accepted_never) == (3, 2, 1)
    assert not report.passed()


def test_no_probes_do_not_pass() -> None:
    assert not judged(record_of()).passed()


def test_an_unanswered_connection_does_not_pass() -> None:
    record = record_of((WALTER,))
    phase = Phase("all", True, 0, 1000 * MS)
    assert record.report(phase, [True, True]).passed()
    assert not record.report(phase, [True, False]).passed()


def test_phases_share_no_probe() -> None:
    record = record_of(*[(WALTER,)] * 10)
    first, second = Phase("first", True, 0, 4 * MS), Phase("second", True, 4 * MS, 20 * MS)
    assert [record.report(phase).probes for phase in (first, second)] == [4, 6]


def test_takeover_is_counted_from_the_fault() -> None:
    record = record_of((WALTER,), (), (WALTER,), (), (), (WALTER,))
    assert judged(record, settled=False).takeover_ms is None
    assert judged(record, settled=False, fault=2 * MS).takeover_ms == 2.0
    assert judged(record, settled=False, fault=5 * MS).takeover_ms == 0.0


def test_of_a_return_from_the_first_unanswered_probe() -> None:
    record = record_of((WALTER,), (WALTER,), (), (WALTER,), (), (WALTER,))
    assert judged(record, settled=False, fault=0, planned=True).takeover_ms == 2.0


def test_steady_says_what_is_not() -> None:
    def why(*accepted: tuple[str, ...]) -> str:
        return record_of(*accepted).steady(0, 1000 * MS, 2, MACS.values())

    assert why((WALTER,), (WENDY,)) == ""
    assert "still to be probed" in why((WALTER,))
    assert "nobody" in why((WALTER,), ())
    assert "two directors" in why((WALTER,), (WALTER, WENDY))
    assert "moved" in why((WALTER,), (WENDY,), (WENDY,))
    assert "wendy holds 0" in why((WALTER,), (WALTER,))


def test_numbers_that_were_never_sent_are_ignored() -> None:
    record = record_of((WALTER,))
    record.accepted(7, WENDY, 0)
    record.accepted(-1, WENDY, 0)
    assert judged(record).accepted_once == 1

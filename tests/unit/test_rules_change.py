# SPDX-License-Identifier: GPL-2.0-or-later
"""From what is there to what is wanted, on texts alone."""

from __future__ import annotations

from saru.config import Protocol, RulesMode, Service
from saru.rules.change import Change, Jump, Snapshot, differences, plan
from saru.rules.model import Family, RuleSet, rule_set
from saru.rules.rule import rule

WANTED = rule_set(
    Family.IPV4, [Service("10.0.0.1", Protocol.TCP, (), 1)], RulesMode.SYNC, interface="eth0"
)


def as_saved(rules: RuleSet, before: str = "", other: str = "") -> str:
    """What iptables-save would print, with others' rules before the jump and beside ours."""
    lines = ["# comment", "*filter", ":INPUT ACCEPT [5:6]", ":FORWARD ACCEPT [0:0]"]
    lines += [f":{place.chain} - [0:0]" for place, _ in rules.chains]
    lines += [before] if before else []
    lines += [f"-A {place.hook} {place.jump}" for place, _ in rules.chains]
    lines += [f"-A {place.chain} {each}" for place, rules_ in rules.chains for each in rules_]
    lines += [other] if other else []
    return "\n".join([*lines, "COMMIT", ""])


def test_nothing_to_do() -> None:
    there = Snapshot.read(as_saved(WANTED))
    assert differences(there, WANTED) == []
    assert plan(there, WANTED) == ()


def test_from_nothing() -> None:
    (change,) = plan(Snapshot.read("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"), WANTED)
    assert change.text().splitlines()[-4:] == [
        "-A SARU-FORWARD -i eth0 -o eth0 -j DROP",
        "-I INPUT 1 -j SARU-INPUT",
        "-I FORWARD 1 -j SARU-FORWARD",
        "COMMIT",
    ]
    assert differences(Snapshot({}), WANTED) == [
        "IPv4: filter: chain SARU-INPUT is missing",
        "IPv4: filter: INPUT does not jump to SARU-INPUT",
        "IPv4: filter: chain SARU-FORWARD is missing",
        "IPv4: filter: FORWARD does not jump to SARU-FORWARD",
    ]


def test_a_jump_behind_an_accept_moves_to_the_front() -> None:
    there = Snapshot.read(as_saved(WANTED, before="-A INPUT -i lo -j ACCEPT"))
    (difference,) = differences(there, WANTED)
    assert "rule 1 (-i lo -j ACCEPT) stands before the jump" in difference
    (change,) = plan(there, WANTED)
    jump = rule("-j SARU-INPUT")
    assert change == Change(
        "filter", unjump=(Jump("INPUT", 2, jump),), jump=(Jump("INPUT", 1, jump),)
    )
    assert change.inverse(there).text() == (
        "*filter\n-D INPUT -j SARU-INPUT\n-I INPUT 2 -j SARU-INPUT\nCOMMIT\n"
    )


def test_a_jump_under_a_condition_is_no_jump() -> None:
    text = as_saved(WANTED).replace("-A INPUT -j SARU-INPUT", "-A INPUT -p tcp -j SARU-INPUT")
    there = Snapshot.read(text)
    assert differences(there, WANTED) == ["IPv4: filter: INPUT does not jump to SARU-INPUT"]
    (change,) = plan(there, WANTED)
    assert "-D INPUT -p tcp -j SARU-INPUT\n-I INPUT 1 -j SARU-INPUT\n" in change.text()


def test_order_counts_within_a_chain() -> None:
    chains = tuple((place, tuple(reversed(rules))) for place, rules in WANTED.chains)
    there = Snapshot.read(as_saved(RuleSet(Family.IPV4, chains)))
    assert differences(there, WANTED) == [
        "IPv4: filter: chain SARU-INPUT: its rules stand in another order"
    ]


def test_removal_names_nothing_but_saru() -> None:
    """Jumps from anybody's chain go too, or the kernel would not let go of ours."""
    other = '-A THEIRS -p udp -j SARU-INPUT\n-A THEIRS -m comment --comment "it\'s ok" -j RETURN'
    there = Snapshot.read(as_saved(WANTED, other=other))
    nothing = RuleSet(Family.IPV4, ())
    assert "IPv4: filter: chain SARU-INPUT is there, but nothing asks for it" in differences(
        there, nothing
    )
    (change,) = plan(there, nothing)
    lines = change.text().splitlines()[1:-1]
    assert lines[:2] == ["-D INPUT -j SARU-INPUT", "-D THEIRS -p udp -j SARU-INPUT"]
    assert lines[-2:] == ["-X SARU-INPUT", "-X SARU-FORWARD"]
    assert all("SARU-" in line for line in lines)


def test_undoing_gives_back_what_was_there() -> None:
    old = rule_set(Family.IPV4, [Service("10.0.0.9", Protocol.UDP, (), 4)], RulesMode.SYNC)
    there = Snapshot.read(as_saved(old))
    (change,) = plan(there, WANTED)
    undo = change.inverse(there)
    assert undo.drop == ("SARU-FORWARD",)
    assert dict(undo.fill)["SARU-INPUT"] == dict(old.chains)[old.chains[0][0]]
    assert undo.unjump == (Jump("FORWARD", 1, rule("-j SARU-FORWARD")),)


def test_what_is_no_rule_of_ours_is_no_hindrance() -> None:
    there = Snapshot.read("*nat\n:X - [0:0]\n-A X -m odd 'never closed -j Y\n-A X\nCOMMIT\n")
    assert [str(each) for each in there.rules("nat", "X")] == ["-m odd 'never closed -j Y", ""]

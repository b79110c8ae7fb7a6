# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru.rules.rule import Clause, Rule, parse, rule

options = st.sampled_from(["-s", "-p", "-m", "--id", "--sense", "--comment", "--tcp-flags", "-j"])
values = st.text(
    st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12
).filter(lambda text: not text.startswith("-") and text != "!")
clauses = st.builds(Clause, options, st.lists(values, max_size=2).map(tuple), st.booleans())


@given(st.lists(clauses, max_size=6).map(tuple))
def test_a_rule_survives_its_text(written: tuple[Clause, ...]) -> None:
    assert parse(str(Rule(written))) == Rule(written)


SAME = [
    ("-d 172.17.60.201", "-d 172.17.60.201/32"),
    ("-s 192.168.6.0/255.255.255.0", "-s 192.168.6.0/24"),
    ("--jump DROP", "-j DROP"),
    ("-p 6 -m tcp --syn", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"),
    ("-p icmpv6 -m icmp6 --icmpv6-type echo-request", "-p ipv6-icmp -m icmp6 --icmpv6-type 128"),
    ("-p icmp -m icmp --icmp-type ! echo-request", "-p icmp -m icmp ! --icmp-type 8"),
    ("-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack --ctstate ESTABLISHED,RELATED"),
    ("-m saru --id 1", "-m saru --id 1 --sense src-port"),
    ("-m saru --id 1 --sense src-port --map range", "-m saru --id 1"),
    ("-m saru --id 1 --sense src-addr --map hash", "-m saru --id 1 --sense src-addr"),
    ("-m saru --id 1 -m tcp --dport 80", "-m tcp --dport 80 -m saru --id 1"),
    ("-j ACCEPT -p tcp", "-p tcp -j ACCEPT"),
]

DIFFERENT = [
    ("-d 172.17.60.201", "! -d 172.17.60.201"),
    ("-m saru --id 1", "-m saru ! --id 1"),
    ("-m saru --id 1", "-m saru --id 2"),
    ("-m saru --id 1", "-m saru --id 1 --map hash"),
    ("-m saru --id 1 --sense dst-port", "-m saru --id 1"),
    ("-p tcp -m tcp --tcp-flags SYN,ACK SYN", "-p tcp -m tcp --tcp-flags SYN SYN"),
    ("-m tcp --dport 80 -m udp --sport 80", "-m tcp --sport 80 -m udp --dport 80"),
    ("-j SARU-INPUT", "-g SARU-INPUT"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_texts_of_one_meaning(one: str, other: str) -> None:
    assert parse(one).canonical() == parse(other).canonical()


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_meanings(one: str, other: str) -> None:
    assert parse(one).canonical() != parse(other).canonical()


@pytest.mark.parametrize("text", ["ACCEPT", "-j ACCEPT !", "! tcp -j DROP", "-m comment 'open"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"option|quotation"):
        parse(text)


def test_the_target() -> None:
    assert rule("-p tcp", Clause("-j", ("ACCEPT",))).target == "ACCEPT"
    assert rule("-g OTHER").target == "OTHER"
    assert rule("-p tcp").target == ""

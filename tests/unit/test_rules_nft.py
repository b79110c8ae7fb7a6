# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules in nftables' words, what differs from them, and the transaction that mends it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from saru import cli, config
from saru.config import Config
from saru.core.blocks import Sense
from saru.core.settings import Division
from saru.dataplane.layout import judgement
from saru.rules.model import Family
from saru.rules.nft_change import Found, FoundChain, differences, transaction
from saru.rules.nft_model import Chain, chains, tag, text
from saru.rules.nft_rule import translated
from saru.rules.rule import rule

DIVISIONS = {1: Division(1, 1024, 0), 2: Division(2, 64, 7)}
SERVICE = '[[service]]\nvip = "172.17.60.201"\nports = [80, 443]\n'
SERVICE6 = '[[service]]\nvip = "fd00::201"\nports = [80]\n'
LINK = '[link]\ninterface = "eth0"\nmac = "00:50:56:14:03:40"\n'
MULTICAST = '[link]\ninterface = "eth0"\nmac = "01:00:5e:14:03:40"\nmode = "multicast"\n'
NAT = '[rules]\nreal_servers = ["192.168.6.0/24", "fd00:6::/64"]\n'


def configured(tmp_path: Path, *parts: str) -> Config:
    path = tmp_path / "saru.conf"
    path.write_text("".join(('[director]\nname = "walter"\ndataplane = "nftables"\n', *parts)))
    return config.load(path)


def judged(sense: str, id_: int = 1, version: int = 4, *, about: bool = False) -> str:
    return "counter " + judgement(DIVISIONS[id_], Sense.parse(sense), version, about=about)


@pytest.mark.parametrize(
    ("clauses", "words"),
    [
        (
            "-d 172.17.60.201/32 -p tcp -m tcp --dport 80 -m saru --id 1 -j ACCEPT",
            f"ip daddr 172.17.60.201 meta l4proto tcp tcp dport 80 {judged('src-port')} "
            "counter accept",
        ),
        (
            "-p sctp -m multiport --sports 9,10 -m saru --id 2 --sense dst-port -j RETURN",
            f"meta l4proto sctp sctp sport {{ 9, 10 }} {judged('dst-port', 2)} counter return",
        ),
        (
            "-p tcp -m tcp --tcp-flags SYN,ACK,FIN,RST SYN -m conntrack --ctstate NEW -j DROP",
            "meta l4proto tcp tcp flags & (syn | ack | fin | rst) == syn ct state new counter drop",
        ),
        (
            "-s 192.168.6.0/24 -m addrtype --src-type LOCAL -j RETURN",
            "ip saddr 192.168.6.0/24 fib saddr type local counter return",
        ),
        ("-i eth0 -o eth0 -j DROP", 'iifname "eth0" oifname "eth0" counter drop'),
        (
            "-p icmp -m icmp ! --icmp-type echo-request -j ACCEPT",
            "meta l4proto icmp icmp type != echo-request counter accept",
        ),
        (
            "-p icmp -m icmp --icmp-type echo-request -m saru --id 1 --sense src-addr -j ACCEPT",
            f"meta l4proto icmp icmp type echo-request {judged('src-addr')} counter accept",
        ),
        (
            "-p icmp -m icmp --icmp-type time-exceeded -m saru --id 1 -j ACCEPT",
            f"meta l4proto icmp icmp type time-exceeded {judged('src-port', about=True)} "
            "counter accept",
        ),
    ],
)
def test_a_rule_in_other_words(clauses: str, words: str) -> None:
    assert translated(rule(clauses), Family.IPV4, DIVISIONS) == words


def test_a_clause_without_words_is_a_bug_and_no_gap() -> None:
    with pytest.raises(KeyError):
        translated(rule("-p tcp -m length --length 40 -j ACCEPT"), Family.IPV4, DIVISIONS)


def test_without_services_there_is_nothing(tmp_path: Path) -> None:
    assert chains(configured(tmp_path, LINK)) == ()
    assert text(configured(tmp_path, LINK)) == ""


def test_both_families_stand_in_the_same_chains(tmp_path: Path) -> None:
    found = {each.name: each for each in chains(configured(tmp_path, SERVICE, SERVICE6, LINK, NAT))}
    assert list(found) == ["defragmentation", "input", "forward", "postrouting", "nat"]
    drops = [
        each for each in found["input"].rules if each.endswith("daddr 172.17.60.201 counter drop")
    ]
    assert drops == ["ip daddr 172.17.60.201 counter drop"]
    assert found["input"].rules[-1] == "ip6 daddr fd00::201 counter drop"
    assert found["forward"].rules == ('iifname "eth0" oifname "eth0" counter drop',)
    assert any("masquerade" in each for each in found["nat"].rules)
    assert not any("drop" in each for each in found["nat"].rules)
    hooks = [str(each.hook) for each in found.values()]
    assert hooks[:2] == ["None", "type filter hook input priority 0; policy accept;"]


def test_frames_to_a_multicast_mac_are_for_this_host(tmp_path: Path) -> None:
    assert "multicast" not in text(configured(tmp_path, SERVICE, LINK))
    (marked,) = (
        c for c in chains(configured(tmp_path, SERVICE, MULTICAST)) if c.name == "multicast"
    )
    assert marked.rules == ("ip daddr 172.17.60.201 meta pkttype multicast meta pkttype set host",)


def test_a_tag_changes_with_the_division(tmp_path: Path) -> None:
    """Rules of before a change of blocks or seed are told from those of after."""
    one, other = (
        {tag(rule) for chain in chains(configured(tmp_path, SERVICE, ids)) for rule in chain.rules}
        for ids in ("[[id]]\nblocks = 1024\n", "[[id]]\nblocks = 2048\n")
    )
    assert one - other
    assert other - one


@pytest.fixture
def wanted(tmp_path: Path) -> tuple[Chain, ...]:
    return chains(configured(tmp_path, SERVICE, LINK))


def as_found(wanted: tuple[Chain, ...], **changed: FoundChain) -> Found:
    there = {c.name: FoundChain(c.hook, "accept" if c.hook else "", c.tags) for c in wanted}
    return Found(True, False, {**there, **changed})


def test_nothing_differs_from_what_is_wanted(wanted: tuple[Chain, ...]) -> None:
    assert differences(as_found(wanted), wanted) == []
    assert transaction(as_found(wanted), wanted) == ("", [])
    assert differences(Found(False, False, {}), ()) == []
    assert differences(Found(True, False, {}), ()) == []


def test_each_damage_is_named_and_only_its_chain_made_anew(wanted: tuple[Chain, ...]) -> None:
    _, chain, forward = wanted
    there = as_found(wanted).chains[chain.name]
    moved = dataclasses.replace(there.hook, priority=300) if there.hook else None
    first = f"chain input: missing: {chain.rules[0]}"
    damages = {
        first: dataclasses.replace(there, comments=there.comments[1:]),
        "chain input: 1 rules that nothing asks for": dataclasses.replace(
            there, comments=("", *there.comments)
        ),
        "chain input: its rules stand in another order, or twice": dataclasses.replace(
            there, comments=there.comments[::-1]
        ),
        f"chain input is not at its place: {chain.hook}": dataclasses.replace(there, hook=moved),
    }
    for line, damaged in damages.items():
        found = as_found(wanted, input=damaged)
        assert differences(found, wanted) == [line]
        commands, words = transaction(found, wanted)
        assert chain.text() in commands
        assert forward.text() not in commands
        assert ("delete chain inet saru input" in commands) is ("place" in line)
        assert words == [f"chain input: {len(chain.rules)} rules set"]


def test_what_nothing_asks_for_goes(wanted: tuple[Chain, ...]) -> None:
    """Of Saru's chains, that is."""
    found = as_found(wanted, nat=FoundChain(None, "", ()), theirs=FoundChain(None, "", ("",)))
    assert differences(found, wanted) == ["chain nat is there, but nothing asks for it"]
    commands, words = transaction(found, wanted)
    assert commands == "flush chain inet saru nat\ndelete chain inet saru nat\n"
    assert words == ["chain nat removed"]


def test_a_dormant_table_is_woken(wanted: tuple[Chain, ...]) -> None:
    found = dataclasses.replace(as_found(wanted), dormant=True)
    assert differences(found, wanted) == ["table inet saru is dormant: no packet comes to it"]
    assert transaction(found, wanted)[0] == "add table inet saru\n"


def test_show_says_for_which_data_plane_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = configured(tmp_path, SERVICE)
    file = str(found.path)
    assert cli.run(["--config", file, "rules", "show"]) == 0
    why = '# for the data plane nftables: director.dataplane is "nftables"\n'
    assert capsys.readouterr().out == why + text(found)
    assert cli.run(["--config", file, "rules", "show", "--family", "4"]) == 2
    assert "nftables' rules are one text for both families; no --family" in capsys.readouterr().err
    configured(tmp_path, LINK)
    assert cli.run(["--config", file, "rules", "show"]) == 0
    assert capsys.readouterr().out == f"# {file} has no [[service]]\n"


def test_the_opposite_of_the_match_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the opposite of -m saru: .*! --id 1"):
        translated(rule("-p tcp -m saru ! --id 1 -j DROP"), Family.IPV4, DIVISIONS)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The installer against real tables, legacy and nftables, on any kernel.

The host's kernel has no xt_saru, so another match stands in its place here; with the module the
same is run in guests.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.lab.cache import PROJECT
from saru.config import Protocol, RulesMode, Service
from saru.errors import OutageError
from saru.rules import install, legacy
from saru.rules.change import differences
from saru.rules.model import Family, RuleSet, rule_set
from saru.rules.rule import Clause, Rule, rule

VIP = {Family.IPV4: "172.17.60.201", Family.IPV6: "fd00::201"}
REAL_SERVERS = {Family.IPV4: "192.168.6.0/24", Family.IPV6: "fd00:6::/64"}
PROGRAMS = tuple(
    f"{name}{suffix}" for name in ("iptables", "ip6tables") for suffix in ("", "-save", "-restore")
)


@pytest.fixture(params=install.Variant, autouse=True)
def variant(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> install.Variant:
    """`iptables` and its kin are those of one variant."""
    multi = {"legacy": "xtables-legacy-multi", "nf_tables": "xtables-nft-multi"}[request.param]
    program = shutil.which(multi)
    assert program is not None, f"no {multi}: install iptables"
    for name in PROGRAMS:
        (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(legacy, "LOCK", tmp_path / "lock")
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "lock"))
    variant = install.Variant(request.param)
    assert install.variant(Family.IPV4) is variant
    return variant


@pytest.fixture(params=Family)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


def stand_in(wanted: RuleSet) -> RuleSet:
    """The same rules with `-m mark` where `-m saru` stands."""

    def changed(each: Rule) -> Rule:
        clauses = []
        for clause in each.clauses:
            if clause == Clause("-m", ("saru",)):
                clauses.append(Clause("-m", ("mark",)))
            elif clause.option == "--id":
                clauses.append(Clause("--mark", (hex(int(clause.values[0])),)))
            elif clause.option != "--sense":
                clauses.append(clause)
        return Rule(tuple(clauses))

    return RuleSet(
        wanted.family,
        tuple((place, tuple(map(changed, rules))) for place, rules in wanted.chains),
    )


def everything(family: Family, mode: RulesMode = RulesMode.SYNC) -> RuleSet:
    """All that the model can ask for."""
    services = [
        Service(VIP[family], Protocol.TCP, (80,), 1),
        Service(VIP[family], Protocol.TCP, tuple(range(8000, 8020)), 2),
        Service(VIP[family], Protocol.UDP, (), 1),
        Service(VIP[family], Protocol.SCTP, (9,), 3),
        Service(VIP[family], Protocol.UDPLITE, (9,), 3),
        Service(VIP[family], Protocol.DCCP, (9, 10), 3),
    ]
    servers = [REAL_SERVERS[family]]
    return stand_in(rule_set(family, services, mode, real_servers=servers, interface="eth0"))


def saved(family: Family, *options: str) -> str:
    name = "iptables-save" if family is Family.IPV4 else "ip6tables-save"
    done = subprocess.run([name, *options], check=True, capture_output=True, text=True)
    lines = (line for line in done.stdout.splitlines() if not line.startswith("#"))
    return "\n".join(lines)


def iptables(family: Family, *words: str) -> None:
    name = "iptables" if family is Family.IPV4 else "ip6tables"
    subprocess.run([name, *words], check=True, capture_output=True)


def nothing(family: Family) -> RuleSet:
    return RuleSet(family, ())


@pytest.mark.parametrize("mode", RulesMode)
def test_what_is_applied_reads_back_as_wanted(family: Family, mode: RulesMode) -> None:
    wanted = everything(family, mode)
    assert differences(install._read(family), wanted)
    assert install.apply_sets([wanted])
    assert differences(install._read(family), wanted) == []
    before = saved(family)
    assert install.apply_sets([wanted]) == []
    assert saved(family) == before


def test_everything_else_stays_as_it_was(family: Family) -> None:
    """Other rules keep their order and their counters, whatever is done with Saru's."""
    iptables(family, "-N", "THEIRS")
    iptables(family, "-A", "THEIRS", "-j", "ACCEPT")
    iptables(family, "-A", "INPUT", "-p", "udp", "-j", "THEIRS")
    iptables(family, "-A", "INPUT", "-p", "tcp", "-j", "ACCEPT")
    iptables(family, "-t", "nat", "-A", "POSTROUTING", "-o", "lo", "-j", "ACCEPT")
    iptables(family, "-t", "mangle", "-A", "POSTROUTING", "-p", "udp")
    loopback = "127.0.0.1" if family is Family.IPV4 else "::1"
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with socket.socket(kind, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (loopback, 9))
    tables = ("filter", "nat", "mangle")

    def all_saved() -> list[str]:
        # With the legacy tables every change starts a policy's count anew, iptables' own as well.
        lines = (line for table in tables for line in saved(family, "-c", "-t", table).splitlines())
        return [re.sub(r"^(:\S+ \S+) .*", r"\1", line) for line in lines]

    before = all_saved()
    assert sum(line.startswith("[1:") for line in before) == 3, before
    wanted = everything(family)
    install.apply_sets([wanted])
    assert [line for line in all_saved() if "SARU" not in line] == before
    install.apply_sets([nothing(family)])
    assert all_saved() == before
    assert install.apply_sets([nothing(family)]) == []


def test_damage_is_named_and_mended(family: Family) -> None:
    wanted = everything(family)
    install.apply_sets([wanted])
    damages: tuple[tuple[tuple[str, ...], str], ...] = (
        (("-D", "INPUT", "-j", "SARU-INPUT"), "filter: INPUT does not jump to SARU-INPUT"),
        (("-I", "INPUT", "-j", "SARU-INPUT"), "filter: INPUT jumps to SARU-INPUT 2 times"),
        (("-I", "INPUT", "-p", "tcp", "-j", "ACCEPT"), "stands before the jump to SARU-INPUT"),
        (("-D", "SARU-INPUT", "1"), "filter: chain SARU-INPUT: missing: -d"),
        (("-A", "SARU-INPUT", "-j", "ACCEPT"), "chain SARU-INPUT: not asked for: -j ACCEPT"),
        (("-F",), "filter: INPUT does not jump to SARU-INPUT"),
        (("-t", "nat", "-F", "SARU-POSTROUTING"), "nat: chain SARU-POSTROUTING: missing: -s"),
        (("-t", "mangle", "-F", "POSTROUTING"), "mangle: POSTROUTING does not jump to"),
    )
    for words, named in damages:
        iptables(family, *words)
        found = differences(install._read(family), wanted)
        assert any(named in each for each in found), (words, found)
        assert all(each.startswith(f"{family}: ") for each in found)
        assert install.apply_sets([wanted])
        assert differences(install._read(family), wanted) == []


def test_a_drop_may_stand_before_the_jump(family: Family) -> None:
    wanted = everything(family)
    install.apply_sets([wanted])
    iptables(family, "-I", "INPUT", "-p", "tcp", "-j", "DROP")
    iptables(family, "-I", "FORWARD", "-p", "tcp")
    assert differences(install._read(family), wanted) == []


def test_nothing_is_left_of_a_half_that_failed(family: Family) -> None:
    """mangle comes before nat: when nat refuses, mangle and filter get back what they had."""
    install.apply_sets([everything(family, RulesMode.CONNTRACK)])
    before = saved(family)
    bad = everything(family)
    chains = tuple(
        (place, (*rules, rule("-j CHECKSUM --checksum-fill")) if place.table == "nat" else rules)
        for place, rules in bad.chains
    )
    with pytest.raises(OutageError):
        install.apply_sets([RuleSet(family, chains)])
    assert saved(family) == before


def test_without_the_match_the_error_names_the_mend(family: Family) -> None:
    service = Service(VIP[family], Protocol.TCP, (80,), 1)
    with pytest.raises(OutageError, match="modprobe xt_saru"):
        install.apply_sets([rule_set(family, [service], RulesMode.SYNC)])
    assert "SARU" not in saved(family)


def test_a_lock_that_others_hold_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy, "LOCK", tmp_path / "lock")
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OutageError, match="fuser"), legacy.xtables_lock(0.2):
            pass
    with legacy.xtables_lock(0.2):
        pass


def test_a_comment_that_is_no_utf8_is_nobodys_trouble(family: Family) -> None:
    foreign = b"caf\xe9"
    name = "iptables" if family is Family.IPV4 else "ip6tables"
    options = "-A FORWARD -j ACCEPT -m comment --comment"
    words: list[str | bytes] = [name, *options.split(), foreign]
    subprocess.run(words, check=True, capture_output=True)
    wanted = everything(family)
    assert install.apply_sets([wanted])
    assert not differences(install._read(family), wanted)
    assert install.apply_sets([nothing(family)])
    there = subprocess.run([f"{name}-save"], check=True, capture_output=True).stdout
    assert foreign in there


# --- the programs that do it ----------------------------------------------------------------------


def test_a_program_that_cannot_be_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # or a later one would do
    program = tmp_path / "iptables-save"
    program.unlink()
    program.write_text("no program")
    program.chmod(0o755)
    with pytest.raises(OutageError, match="cannot run iptables-save: Exec format error"):
        install._read(Family.IPV4)


def test_programs_do_not_inherit_a_real_time_priority() -> None:
    script = (
        "import os, sys\n"
        "from saru.rules import install\n"
        "os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))\n"
        "asked = [sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))']\n"
        "print(os.sched_getscheduler(0), install._run(asked))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=PROJECT
    )
    assert list(map(int, said.stdout.split())) == [os.SCHED_RR, os.SCHED_OTHER]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts Saru's rules in, says what differs, and takes them out again.

Every function may be called at any time and again: it changes what differs and nothing else. Rules
for the data plane `nftables` are nftables' own (saru.rules.nft_install). Those for the module are
iptables': a host whose `iptables` is the nftables one is served by `iptables-restore`, one whose
`iptables` is the legacy one by python-iptables (saru.rules.legacy); if a table refuses its change,
the tables before it get back what they had. Rules of the other kind drop every packet, for nobody
fills their tables: they go.
"""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from saru import nft
from saru.config import Config, DataplaneKind
from saru.dataplane.choice import chosen
from saru.errors import OutageError
from saru.link.sysctl import Kept
from saru.rules import nft_install
from saru.rules.change import Change, Snapshot, differences, plan
from saru.rules.model import Family, RuleSet, rule_sets, settings

PATIENCE = 60  # seconds that one run of an iptables program may take
ATTEMPTS = 3  # somebody else may write between our reading and our writing
_NAMES = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_HERE = Path(__file__).resolve().parents[2]


class Variant(enum.StrEnum):
    """Which tables the host's `iptables` writes."""

    LEGACY = "legacy"
    NFTABLES = "nf_tables"


def variant(family: Family) -> Variant:
    """Which one the family's `iptables` is."""
    shown = _run([_NAMES[family], "-V"])
    return Variant.NFTABLES if "(nf_tables)" in shown else Variant.LEGACY


def by_nftables(config: Config) -> bool:
    """Whether the rules are nftables' own: whether the data plane is."""
    return chosen(config.director.dataplane)[0] is DataplaneKind.NFTABLES


def check(config: Config) -> list[str]:
    """What is missing or different, a line each; empty if the rules are as configured."""
    if by_nftables(config):
        _refuse_without_ipv6(config)
        found = nft_install.check(config)
        sets = _no_sets()
    else:
        found = nft_install.check(None) if nft.is_there() else []
        sets = _wanted(config)
    found += (each for wanted in sets for each in differences(_read(wanted.family), wanted))
    found += (each for setting in settings(config) if (each := setting.difference()))
    return found


def apply(config: Config) -> list[str]:
    """Make the rules as configured. Returns what was done, a line each; empty: nothing had to be.

    Raises OutageError, with the mend, if they cannot be put in; then the tables are as before.
    """
    if by_nftables(config):
        _refuse_without_ipv6(config)
        done = nft_install.apply(config) + apply_sets(_no_sets())
    else:
        done = apply_sets(_wanted(config))
        done += nft_install.apply(None) if nft.is_there() else []
    done += _kept(config).hold(settings(config))
    if left := check(config):
        raise OutageError("the rules were put in, yet differ: " + "; ".join(left))
    return done


def remove(config: Config) -> list[str]:
    """Take Saru's chains and the jumps to them out. Returns what was done, a line each."""
    done = nft_install.apply(None) if nft.is_there() else []
    return done + apply_sets(_no_sets()) + _kept(config).restore()


def apply_sets(sets: Iterable[RuleSet]) -> list[str]:
    """Make the rules of each family what its set says. Returns what was done, a line each."""
    written: list[tuple[Family, Change]] = []
    done: list[str] = []
    try:
        for wanted in sets:
            there = _read(wanted.family)
            for change in plan(there, wanted):
                now, before = _carry_out(wanted, change, there)
                written.append((wanted.family, now.inverse(before)))
                done += (f"{wanted.family}: {each}" for each in now.words())
    except OutageError as fault:
        raise _undone(fault, written) from fault
    return done


def _carry_out(wanted: RuleSet, change: Change, before: Snapshot) -> tuple[Change, Snapshot]:
    """Write a change that was planned on what was there `before`; what was written, and on what.

    If somebody else has changed the table in between, it is planned anew.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _write(wanted.family, change)
            break
        except OutageError:
            now = _read(wanted.family)
            if attempt == ATTEMPTS or now.chains == before.chains:
                raise
            left = [each for each in plan(now, wanted) if each.table == change.table]
            before, change = now, left[0] if left else Change(change.table)
    return change, before


def _undone(fault: OutageError, written: Sequence[tuple[Family, Change]]) -> OutageError:
    """The fault, after the tables that had taken their change already got back what they had."""
    try:
        for family, undo in reversed(written):
            _write(family, undo)
    except OutageError as second:
        return OutageError(f"{fault}; and undoing the earlier tables failed as well: {second}")
    return fault


def _wanted(config: Config) -> tuple[RuleSet, ...]:
    """A set for each family of this host; empty where nothing is asked for."""
    asked = {wanted.family: wanted for wanted in rule_sets(config)}
    _refuse_without_ipv6(config)
    return tuple(asked.get(family, RuleSet(family, ())) for family in _families())


def _no_sets() -> tuple[RuleSet, ...]:
    """An empty one for each family; none on a host without iptables, which has no such rules."""
    if shutil.which(_NAMES[Family.IPV4]) is None:
        return ()
    return tuple(RuleSet(family, ()) for family in _families())


def _refuse_without_ipv6(config: Config) -> None:
    families = _families()
    for service in config.services:
        if Family.of(service.vip) not in families:
            raise OutageError(
                f"this kernel runs without IPv6, but there is a service {service.vip}"
            )


def _families() -> tuple[Family, ...]:
    """The families that this kernel has."""
    has_ipv6 = Path("/proc/net/if_inet6").exists()
    return (Family.IPV4, Family.IPV6) if has_ipv6 else (Family.IPV4,)


def _kept(config: Config) -> Kept:
    return Kept(config.daemon.run / "rules.sysctl.json")


def _read(family: Family) -> Snapshot:
    return Snapshot.read(_run([f"{_NAMES[family]}-save"]))


def _write(family: Family, change: Change) -> None:
    if variant(family) is Variant.NFTABLES:
        command = [f"{_NAMES[family]}-restore", "--noflush"]
    else:
        command = [sys.executable, "-m", "saru.rules.legacy", str(family.value)]
    text = change.text()
    try:
        _run(command, text)
    except OutageError as fault:
        names_match = "-m saru" in text
        raise OutageError(_diagnosis(family, str(fault)) if names_match else str(fault)) from fault


def _diagnosis(family: Family, said: str) -> str:
    """Why rules with `-m saru` were refused, and the mend, if the reason is a usual one."""
    if not Path("/sys/module/xt_saru").exists():
        return f"the kernel module xt_saru is not loaded; run `modprobe xt_saru` ({said})"
    try:
        _run([_NAMES[family], "-m", "saru", "--help"])
    except OutageError:
        return (
            f"{_NAMES[family]} cannot load its extension libxt_saru.so; "
            f"run `make -C iptables_ext install` ({said})"
        )
    return said


def _ordinary() -> list[str]:
    """What goes before a command so that it does not inherit the daemon's real-time priority.

    With it the daemon itself would wait for it, on a host with one processor.
    """
    hurried = os.sched_getscheduler(0) != os.SCHED_OTHER
    return ["chrt", "--other", "0"] if hurried and shutil.which("chrt") else []


def _run(command: Sequence[str], text: str = "") -> str:
    """The standard output of a program. Raises OutageError with what it said, if it failed.

    Comments of other people's rules need be no UTF-8; they are written back as they were read.
    """
    path = os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [*_ordinary(), *command],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=PATIENCE,
            # python-iptables imports distutils, which setuptools would load itself in front of.
            env={**os.environ, "PYTHONPATH": path, "SETUPTOOLS_USE_DISTUTILS": "stdlib"},
        )
    except FileNotFoundError:
        raise OutageError(f"there is no {command[0]}; install iptables") from None
    except OSError as fault:
        raise OutageError(f"cannot run {command[0]}: {fault.strerror}") from None
    except subprocess.TimeoutExpired:
        raise OutageError(f"{command[0]} did not end within {PATIENCE} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        raise OutageError(said[0])
    return done.stdout

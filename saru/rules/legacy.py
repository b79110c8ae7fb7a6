# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries out one change on the legacy tables, through python-iptables.

It is a program, `python -m saru.rules.legacy 4|6`, that takes the text of a change on its standard
input, as `iptables-restore --noflush` would: python-iptables turns the process's standard output
aside while it works and keeps tables for the life of the process, which is nothing for a daemon to
have inside. The kernel takes each table as a whole, counters of untouched rules included.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import fcntl
import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

# Left alone, python-iptables asks ldconfig to read every library of the host for the directory of
# the extensions, and gcc and ld for its own library, which lies beside it: half a minute on a slow
# machine.
for _candidate in (sysconfig.get_config_var("MULTIARCH") or "", "../lib64", "."):
    _directory = Path("/usr/lib") / _candidate / "xtables"
    if _directory.is_dir():
        os.environ.setdefault("XTABLES_LIBDIR", str(_directory.resolve()))
_search = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if "xtwrapper" in name else _search(name)

import iptc  # noqa: E402

from saru.errors import OutageError, SaruError, UsageError  # noqa: E402
from saru.rules.rule import PROTOCOL_NUMBERS, Rule, parse  # noqa: E402

LOCK = Path(os.environ.get("XTABLES_LOCKFILE") or "/run/xtables.lock")
LOCK_PATIENCE = 20.0  # seconds; a big iptables-restore holds it for a few
LOCK_PAUSE = 0.05


@contextlib.contextmanager
def xtables_lock(patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Hold the lock that all writers of legacy tables take; python-iptables by itself does not."""
    try:
        lock = os.open(LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise OutageError(f"cannot open {LOCK}: {fault.strerror}; are you root?") from fault
    end = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise OutageError(
                        f"another program has held {LOCK} for {patience:.0f} s; "
                        f"see who: fuser {LOCK}"
                    ) from None
                time.sleep(LOCK_PAUSE)
        yield
    finally:
        os.close(lock)


def restore(text: str, *, ipv6: bool) -> None:
    """Carry out the text of a change: each table at its COMMIT, at once or not at all."""
    table: iptc.Table | None = None
    for line in text.splitlines():
        if line.startswith("*"):
            kind = iptc.Table6 if ipv6 else iptc.Table
            table = kind(line[1:], autocommit=False)
            table.refresh()
        elif table is None:
            raise UsageError(f"{line!r} stands before the name of a table")
        elif line == "COMMIT":
            table.commit()
            table.refresh()
        else:
            _carry_out(table, line, ipv6=ipv6)


def _carry_out(table: iptc.Table, line: str, *, ipv6: bool) -> None:
    if line.startswith(":"):
        chain = line[1:].split()[0]
        if table.is_chain(chain):
            table.flush_entries(chain)
        else:
            table.create_chain(chain)
        return
    verb, chain, *rest = line.split(maxsplit=2)
    words = "".join(rest)
    if verb == "-A":
        iptc.Chain(table, chain).append_rule(_rule(parse(words), ipv6=ipv6))
    elif verb == "-D":
        iptc.Chain(table, chain).delete_rule(_rule(parse(words), ipv6=ipv6))
    elif verb == "-I":
        position, clauses = words.split(maxsplit=1)
        place = int(position) - 1
        iptc.Chain(table, chain).insert_rule(_rule(parse(clauses), ipv6=ipv6), place)
    elif verb == "-F":
        table.flush_entries(chain)
    elif verb == "-X":
        table.delete_chain(chain)
    else:
        raise UsageError(f"{line!r} is no line of a change")


def _rule(rule: Rule, *, ipv6: bool) -> iptc.Rule:
    """The rule as python-iptables builds it."""
    built = iptc.Rule6() if ipv6 else iptc.Rule()
    fields = {
        "-s": "src",
        "-d": "dst",
        "-i": "in_interface",
        "-o": "out_interface",
        "-p": "protocol",
    }
    # A match's options are read against the rule's protocol, so that comes first.
    for clause in rule.clauses:
        if clause.option in fields:
            value = PROTOCOL_NUMBERS.get(clause.values[0], clause.values[0])
            value = ("!" if clause.negated else "") + value
            setattr(built, fields[clause.option], value)
    part: iptc.Match | iptc.Target | None = None
    for clause in rule.clauses:
        if clause.option in fields:
            continue
        if clause.option == "-m":
            part = built.create_match(clause.values[0])
        elif clause.option in ("-j", "-g"):
            part = built.create_target(clause.values[0], goto=clause.option == "-g")
        elif part is None or not clause.option.startswith("--"):
            raise UsageError(f"cannot build {clause} of the rule {rule}")
        else:
            values = ["!", *clause.values] if clause.negated else list(clause.values)
            part.set_parameter(clause.option[2:], values)
    return built


def main() -> int:
    """Read a change, carry it out; what went wrong goes to standard error in one line."""
    try:
        with xtables_lock():
            restore(sys.stdin.read(), ipv6=sys.argv[1:] == ["6"])
    except (SaruError, iptc.IPTCError, iptc.XTablesError, ValueError, AttributeError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

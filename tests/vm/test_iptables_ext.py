# SPDX-License-Identifier: GPL-2.0-or-later
"""The extension: options in, listings and saved rules out, under each kind of iptables."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import apt, cache
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Guest
from tests.vm.conftest import EITHER_KIND, ONE_KERNEL

EXTENSION = PROJECT / "iptables_ext"
COMMANDS = ("iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft")
VIP = "172.17.60.201"

# As lvs-tutorial.txt prints them; the second `!` stands where iptables wants it today.
REFERENCE_INPUT = f"""\
-A INPUT -d {VIP} -p tcp -m saru --id 1 -j ACCEPT
-A INPUT -d {VIP} -p udp -m saru --id 1 -j ACCEPT
-A INPUT -d {VIP} -p icmp -m icmp --icmp-type echo-request \
-m saru --id 1  --sense src-addr -j ACCEPT
-A INPUT -d {VIP} -p icmp -m icmp ! --icmp-type echo-request -j ACCEPT
-A INPUT -d {VIP}  -j DROP
"""
NET = "192.168.6.0/24"
REFERENCE_POSTROUTING = f"""\
-t nat -A POSTROUTING -s {NET} -d {NET} -j ACCEPT
-t mangle -A POSTROUTING -s {NET} -m state --state INVALID -j DROP
-t nat -A POSTROUTING -s {NET} -m state --state ESTABLISHED -j ACCEPT
-t nat -A POSTROUTING -s {NET} -m state --state RELATED -j ACCEPT
-t nat -A POSTROUTING -s {NET} -p tcp -m state --state NEW --tcp-flags SYN,ACK,FIN,RST SYN \
-m saru --id 1 -j MASQUERADE
-t nat -A POSTROUTING -s {NET} -p udp -m state --state NEW -m saru --id 1 -j MASQUERADE
-t nat -A POSTROUTING -s {NET} -p icmp -m icmp --icmp-type echo-request -m state --state NEW \
-m saru --id 1 --sense dst-addr -j MASQUERADE
-t nat -A POSTROUTING -s {NET} -p icmp -m icmp ! --icmp-type echo-request -m state --state NEW \
-j MASQUERADE
-t mangle -A POSTROUTING -s {NET} -j DROP
"""


@pytest.fixture(scope="session")
def upstream_iptables() -> Path:
    """iptables' own source, of this machine's version, with its test runner."""
    asked = ["dpkg-query", "--show", "--showformat=${source:Version}", "iptables"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    final = cache.root() / f"iptables-{version}"
    with cache.locked(final.name):
        if not final.is_dir():
            with cache.made_aside(final) as scratch:
                apt.upstream("iptables", version, scratch)
    return final


@pytest.fixture
def clean(module_guest: Guest) -> Iterator[Guest]:
    """The guest without a rule; whatever a test adds goes after it."""
    yield module_guest
    flush(module_guest)


def flush(guest: Guest) -> None:
    tables = ("filter", "nat", "mangle")
    lines = [f"{command} -t {table} -F" for command in COMMANDS for table in tables]
    guest.run(["sh", "-ec", "\n".join(lines)])


@EITHER_KIND
def test_their_own_runner(clean: Guest, upstream_iptables: Path, kind: str) -> None:
    """iptables-test.py, on what is for both families, and on what is for one."""
    tests = sorted(EXTENSION.glob("*.t"))
    assert [path.name for path in tests] == ["libip6t_saru.t", "libipt_saru.t", "libxt_saru.t"]
    both = (EXTENSION / "libxt_saru.t").read_text()
    clean.write_file("/root/runner/libip6t_both.t", both)  # by its name, for ip6tables
    for path in tests:
        clean.write_file(f"/root/runner/{path.name}", path.read_text())
    names = [f"/root/runner/{name}" for name in ("libip6t_both.t", *(t.name for t in tests))]
    runner = [sys.executable, str(upstream_iptables / "iptables-test.py"), "-H", f"-{kind[0]}"]
    for name in names:
        done = clean.run([*runner, name], timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        total = sum(line.count(";") >= 2 for line in clean.run(["cat", name]).stdout.splitlines())
        assert f"1 test files, {total} unit tests, {total} passed" in done.stdout


def load(guest: Guest, command: str, rules: str) -> None:
    for line in rules.splitlines():
        guest.run([command, *line.split()])


@pytest.mark.parametrize("command", ["iptables-legacy", "iptables-nft"])
def test_reference_input(clean: Guest, command: str) -> None:
    """The reference's INPUT rules load as printed, and are listed as there."""
    load(clean, command, REFERENCE_INPUT)
    listed = clean.run([command, "-L", "INPUT", "-v", "-n"]).stdout.splitlines()[2:]
    ends = [re.sub(r".*0\.0\.0\.0/0 +172\.17\.60\.201", "", line).split() for line in listed]
    assert [" ".join(words) for words in ends] == [
        "saru id 1 sense src-port",
        "saru id 1 sense src-port",
        "icmptype 8 saru id 1 sense src-addr",
        "icmp !type 8",
        "",
    ]


@pytest.mark.parametrize("command", ["iptables-legacy", "iptables-nft"])
def test_reference_postrouting(clean: Guest, command: str) -> None:
    """And its POSTROUTING rules, with the DROPs in mangle."""
    load(clean, command, REFERENCE_POSTROUTING)
    listed = clean.run([command, "-t", "nat", "-L", "POSTROUTING", "-n"]).stdout
    assert listed.count("saru id 1 sense src-port") == 2
    assert listed.count("saru id 1 sense dst-addr") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_saved_rules_come_back(clean: Guest, command: str) -> None:
    """What -save prints, -restore takes, and then -save prints the same; -C and -D find it."""
    options = (
        "--id 1",
        "! --id 2 --sense dst-addr",
        "--id 65535 --sense src-addr,dst-addr,src-port,dst-port --map hash",
        "--id 3 --map range",
    )
    for option in options:
        clean.run([command, "-A", "INPUT", "-m", "saru", *option.split(), "-j", "ACCEPT"])

    def saved() -> list[str]:
        text = clean.run([f"{command}-save", "-t", "filter"]).stdout
        return [line for line in text.splitlines() if line.startswith("-A")]

    before = saved()
    assert len(before) == len(options)
    text = "*filter\n" + "\n".join(before) + "\nCOMMIT\n"
    clean.run([f"{command}-restore"], input=text.encode())
    assert saved() == before
    for option in options:
        for action in ("-C", "-D"):
            clean.run([command, action, "INPUT", "-m", "saru", *option.split(), "-j", "ACCEPT"])
    assert saved() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_listing(clean: Guest, command: str) -> None:
    wanted = {
        "--id 1": "saru id 1 sense src-port",
        "! --id 7": "saru ! id 7 sense src-port",
        "--id 1 --map range": "saru id 1 sense src-port",
        "--id 1 --map hash": "saru id 1 sense src-port map hash",
        "--id 1 --sense dst-port,src-addr": "saru id 1 sense src-addr,dst-port",
        "--id 1 --sense dst-addr --map hash": "saru id 1 sense dst-addr",
    }
    if command.startswith("iptables"):
        wanted["--id 1 --sense src-addr --map range"] = "saru id 1 sense src-addr map range"
    for option in wanted:
        clean.run([command, "-A", "INPUT", "-m", "saru", *option.split(), "-j", "ACCEPT"])
    listed = clean.run([command, "-L", "INPUT", "-n"]).stdout.splitlines()[2:]
    assert [line[line.index("saru") :].strip() for line in listed] == list(wanted.values())


@ONE_KERNEL
@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--id 1 --sense src-port,ports", 'saru: --sense: "ports" is not a field'),
        ("--id 1 --sense src-port,", 'saru: --sense: "" is not a field'),
        ("--id 1 --sense src-port,src-port", 'saru: --sense: "src-port" comes twice'),
        ("--id 1 --map best", 'saru: --map: "best" is not a map; say hash or range'),
        ("--id 1 --sense src-addr,src-port --map range", "--sense names several"),
        ("--id 0", "out of range"),
        ("--sense src-port", "--id"),
    ],
)
def test_errors_name_the_word(module_guest: Guest, option: str, text: str) -> None:
    for command in ("iptables-legacy", "ip6tables-nft"):
        words = [command, "-A", "INPUT", "-m", "saru", *option.split(), "-j", "ACCEPT"]
        done = module_guest.run(words, check=False)
        assert done.returncode == 2
        assert text in done.stderr


@ONE_KERNEL
def test_ipv6_addresses_have_no_range(module_guest: Guest) -> None:
    rule = ["-A", "INPUT", "-m", "saru", "--id", "1", "--sense", "src-addr", "--map", "range"]
    done = module_guest.run(["ip6tables-nft", *rule], check=False)
    assert done.returncode == 2
    assert "cannot divide IPv6 addresses" in done.stderr


PYTHON_IPTABLES = """
import iptc
chain = iptc.Chain(iptc.Table(iptc.Table.FILTER), "INPUT")
rule = iptc.Rule()
rule.protocol = "tcp"
rule.target = iptc.Target(rule, "ACCEPT")
match = iptc.Match(rule, "saru")
match.id = "1"
rule.add_match(match)
chain.append_rule(rule)
found = iptc.Chain(iptc.Table(iptc.Table.FILTER), "INPUT").rules[0].matches[0]
assert (found.id, found.sense) == ("1", "src-port"), found.get_all_parameters()
"""


@ONE_KERNEL
def test_python_iptables(clean: Guest) -> None:
    """It parses saved text again before its final check; the default sense survives that."""
    clean.run([sys.executable, "-c", PYTHON_IPTABLES])
    saved = clean.run(["iptables-legacy-save", "-t", "filter"]).stdout
    assert "-A INPUT -p tcp -m saru --id 1 --sense src-port -j ACCEPT" in saved


@ONE_KERNEL
def test_help(module_guest: Guest) -> None:
    text = module_guest.run(["iptables-nft", "-m", "saru", "--help"]).stdout
    for option in ("--id", "--sense", "--map"):
        assert option in text


def test_install(tmp_path: Path) -> None:
    """`make install` puts the extension and its page where they belong, below DESTDIR."""
    for part in ("kmod/uapi", "iptables_ext"):
        shutil.copytree(PROJECT / part, tmp_path / part)
    root = tmp_path / "root"
    command = ["make", "-C", str(tmp_path / "iptables_ext"), "install", f"DESTDIR={root}"]
    subprocess.run(command, check=True)
    installed = {path.name for path in root.rglob("*") if path.is_file()}
    assert installed == {"libxt_saru.so", "iptables-saru.8"}

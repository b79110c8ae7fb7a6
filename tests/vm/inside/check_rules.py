# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru rules` and the guard with the real match, on legacy or nftables tables.

Runs inside a guest that tests/vm/test_rules.py made a director of; SARU_TEST_VARIANT says which
`iptables` it gets, nft or legacy.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saru import cli, config
from saru.dataplane.module import Module
from saru.link import shared
from saru.rules import install
from saru.rules.guard import Guard

VIP, VIP6 = "172.17.60.201", "fd00:17::201"
PATIENCE = 120.0  # seconds; a look takes about one in an emulated guest
PROGRAMS = [f"ip{v}tables{s}" for v in ("", "6") for s in ("", "-save", "-restore")]
CONFIG = f"""\
[director]
name = "walter"
dataplane = "module"
[link]
interface = "eth0"
mac = "00:50:56:14:03:40"
addresses = ["{VIP}/16", "{VIP6}/64"]
[[service]]
vip = "{VIP}"
protocol = "tcp"
[[service]]
vip = "{VIP}"
protocol = "udp"
[[service]]
vip = "{VIP6}"
protocol = "tcp"
ports = [80, 443]
id = 2
[[id]]
id = 1
[[id]]
id = 2
"""
CONNTRACK = """\
[rules]
mode = "conntrack"
real_servers = ["192.168.6.0/24", "fd00:6::/64"]
"""
FILE = Path("/etc/saru/saru.conf")


def sh(words: str) -> str:
    return subprocess.run(words, shell=True, check=True, capture_output=True, text=True).stdout


def saru(words: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(words.split())
    return code, out.getvalue(), err.getvalue()


def users(number: int) -> int:
    """How many rules of this kernel name the id."""
    code, out, _ = saru(f"table get {number} --json")
    return int(json.loads(out)["users"]) if code == 0 else 0


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Clean tables of one variant, and an interface eth0 that leads to its peer."""
    chosen = os.environ["SARU_TEST_VARIANT"]
    program = shutil.which(f"xtables-{chosen}-multi")
    assert program is not None
    for name in PROGRAMS:
        (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (chosen == "legacy") is ("legacy" in sh("iptables -V"))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(CONFIG, encoding="utf-8")
    sh("ip link add eth0 type veth peer name peer; ip link set peer up")
    yield chosen
    sh("ip link del eth0; rm -rf /run/saru; nft flush ruleset")
    empty = "".join(f"*{table}\nCOMMIT\n" for table in ("filter", "mangle", "nat"))
    for program in ("iptables-restore", "ip6tables-restore"):
        subprocess.run([program], input=empty, text=True, check=True)


def test_apply_check_remove() -> None:
    sh("iptables -A INPUT -p udp --dport 694 -j ACCEPT")
    listing = "iptables-save -t filter | grep '^[-*]'"
    before = sh(listing)
    code, out, _ = saru("rules check")
    assert code == 1
    assert "IPv4: filter: INPUT does not jump to SARU-INPUT\n" in out
    code, out, err = saru("rules apply")
    assert code == 0, err
    assert "IPv6: filter: chain SARU-INPUT: 12 rules set\n" in out
    assert saru("rules check") == (0, "the rules are in place\n", "")
    listed = sh("iptables -L SARU-INPUT -v -n")
    assert "saru id 1 sense src-port" in listed
    assert "saru id 1 sense src-addr" in listed
    assert users(1) > 0
    assert users(2) > 0
    assert saru("rules apply") == (0, "the rules are in place; nothing had to be done\n", "")
    sh("iptables -D SARU-INPUT 2")
    missing = f"chain SARU-INPUT: missing: -d {VIP}/32 -p udp -m saru --id 1 -j ACCEPT\n"
    assert saru("rules check") == (1, f"IPv4: filter: {missing}", "")
    code, out, _ = saru("rules apply")
    assert (code, out.splitlines()) == (0, ["IPv4: filter: chain SARU-INPUT: 11 rules set"])
    assert saru("rules remove")[0] == 0
    assert sh(listing) == before
    until(lambda: users(1) == 0, "the kernel's count of rules")


def test_what_is_shown_can_be_fed_to_iptables_restore() -> None:
    for family, program in (("4", "iptables-restore"), ("6", "ip6tables-restore")):
        code, text, _ = saru(f"rules show --family {family}")
        assert code == 0
        subprocess.run([program, "--noflush"], input=text, text=True, check=True)
    assert saru("rules check") == (0, "the rules are in place\n", "")


def test_with_connection_tracking_and_lvs_nat() -> None:
    """Every rule that the model knows loads, and the sysctl comes and goes."""
    loose = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose")
    assert loose.read_text().strip() == "1"
    FILE.write_text(CONFIG + CONNTRACK, encoding="utf-8")
    code, _, err = saru("rules apply")
    assert code == 0, err
    assert loose.read_text().strip() == "0"
    loose.write_text("1")
    code, out, _ = saru("rules check")
    assert code == 1
    assert out.startswith("sysctl net.netfilter.nf_conntrack_tcp_loose is 1, not 0, or ")
    assert saru("rules apply")[0] == 0
    assert saru("rules remove")[0] == 0
    assert loose.read_text().strip() == "1"


@contextlib.contextmanager
def without_extension() -> Iterator[None]:
    """iptables cannot load libxt_saru.so inside."""
    directory = Path(sh("pkg-config --variable xtlibdir xtables").strip())
    shutil.move(directory / "libxt_saru.so", "/root/libxt_saru.so")
    try:
        yield
    finally:
        shutil.move("/root/libxt_saru.so", directory / "libxt_saru.so")


def test_a_missing_extension_is_named_with_its_mend() -> None:
    with without_extension():
        code, _, err = saru("rules apply")
    assert code == 1
    assert "libxt_saru.so; run `make -C iptables_ext install`" in err
    assert len(err.splitlines()) == 1
    assert "SARU" not in sh("iptables-save -t filter")


class Told:
    """What the guard tells, and what it logs."""

    def __init__(self) -> None:
        self.changes: list[bool] = []
        self.lines: list[str] = []

    def change(self, ok: bool, why: str) -> None:
        self.changes.append(ok)
        self.lines.append(why)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.changes} {self.lines}"
            await asyncio.sleep(0.05)


async def guarded(told: Told, scenario: Callable[[Told], object]) -> None:
    """Run a scenario under a guard that has found all well."""
    dataplane = Module()
    await dataplane.open()
    guard = Guard(config.load(), dataplane)
    running = asyncio.create_task(guard.run(told.change))
    try:
        await told.until(lambda: told.changes == [True], "its first word")
        assert (await guard.status()).ok
        await scenario(told)  # type: ignore[misc]
        # Notices of what went may come late, and it looks once more.
        end = time.monotonic() + PATIENCE
        well = (True, "up on eth0", ())
        while (found := await guard.status()) and (found.ok, found.vip, found.lacking) != well:
            assert time.monotonic() < end, f"{found} {told.changes} {told.lines}"
            await asyncio.sleep(0.1)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await dataplane.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Rules and link as configured, and an ear for the guard."""
    install.apply(config.load())
    shared.up(config.load())
    told = Told()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.lines.append(record.getMessage())

    logger = logging.getLogger("saru")
    monkeypatch.setattr(logger, "handlers", [Ear()])
    logger.setLevel(logging.INFO)
    return told


LOSSES = {
    "nft": [
        "nft flush ruleset",
        "iptables -D INPUT -j SARU-INPUT",
        "iptables -I INPUT -p tcp -j ACCEPT",
    ],
    "legacy": ["iptables -F; iptables -X", "iptables -D INPUT -j SARU-INPUT"],
}


def test_rules_that_go_take_the_vip_with_them_and_come_back(told: Told, variant: str) -> None:
    async def scenario(told: Told) -> None:
        for number, loss in enumerate(LOSSES[variant], 1):
            sh(loss)
            expected = [True, *[False, True] * number]
            await told.until(lambda expected=expected: told.changes == expected, loss)  # type: ignore[misc]
            assert await asyncio.to_thread(install.check, config.load()) == []
            async with asyncio.timeout(PATIENCE):
                while await asyncio.to_thread(shared.check, config.load()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    asyncio.run(guarded(told, scenario))
    said = "\n".join(told.lines)
    assert f"walter: eth0: {VIP}/16 removed: " in said
    assert f"walter: eth0: {VIP}/16 added: rules in place" in said
    assert "walter: rules put back: IPv4: filter: " in said


def test_without_rules_the_vip_stays_off(told: Told) -> None:
    """What cannot be put back is said, and tried again until it can."""

    async def scenario(told: Told) -> None:
        with without_extension():
            sh("iptables -F; iptables -X")
            complaint = "cannot put the rules back"
            await told.until(lambda: complaint in "\n".join(told.lines), complaint)
            assert told.changes[-1] is False
            assert VIP not in sh("ip addr show eth0")
        await told.until(lambda: told.changes[-1], "the rules' return")
        assert VIP in sh("ip addr show eth0")

    asyncio.run(guarded(told, scenario))


def test_a_mask_that_goes_is_put_back_and_nothing_else_happens(told: Told) -> None:
    async def scenario(told: Told) -> None:
        sh("nft delete table netdev saru-link-eth0")
        await told.until(lambda: "the mask put in" in "\n".join(told.lines), "the mask's return")
        assert await asyncio.to_thread(shared.check, config.load()) == []

    asyncio.run(guarded(told, scenario))
    assert told.changes == [True]
    assert not any("removed" in line for line in told.lines)


def test_without_the_module_its_mend_is_named() -> None:
    # The kernel lets go of rules that were flushed some time later.
    until(lambda: subprocess.run(["rmmod", "xt_saru"]).returncode == 0, "the module to go")
    code, _, err = saru("rules apply")
    assert code == 1
    assert "run `modprobe xt_saru`" in err
    assert len(err.splitlines()) == 1
    sh("insmod /root/xt_saru.ko")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Configurations that nobody writes on purpose: one short line for each fault, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru.config import load
from saru.errors import ConfigError

ENDLESS = "is nested too deep, or has a number of too many digits; take that out"
NO_HOST = "is no host's address; write a unicast address"
LINK = '[link]\ninterface = "eth0"\nmac = "00:50:56:14:03:40"\naddresses = ["{}"]'

FAULTS = {
    "a = " + "[" * 5000 + "]" * 5000: [ENDLESS],
    "a = " + "{a=" * 900 + "1" + "}" * 900: [ENDLESS],
    "[times]\nkeepalive = " + "9" * 5000: [ENDLESS],
    "[times]\nkeepalive = 0x" + "f" * 5000: [
        "times.keepalive: a huge number is no duration; write a number of seconds, "
        'or a text such as "100ms", "2s" or "1m"'
    ],
    "[heartbeat]\nport = 0x" + "f" * 5000: [
        "heartbeat.port: a huge number is out of range; write a whole number from 1 to 65535"
    ],
    "[heartbeat]\nport = " + "9" * 4000: [
        f"heartbeat.port: {'9' * 120}… is out of range; write a whole number from 1 to 65535"
    ],
    f'[log]\nfacility = "{"x" * 5000}"': [
        f'log.facility: "{"x" * 120}…" is no place to log to; write "-" (the terminal), a syslog '
        'facility such as "daemon" or "local0", or a path that begins with /'
    ],
    '[log]\nfacility = "/a\\u0000b"': [
        'log.facility: "/a\\x00b" has signs that cannot be printed; write it without them'
    ],
    '[daemon]\nrun = "/a\\nb"': [
        'daemon.run: "/a\\nb" has signs that cannot be printed; write it without them'
    ],
    '["a\\nb"]': [
        "a\\nb: unknown section; the sections are cluster, daemon, director, heartbeat, id, link, "
        "log, ping, rules, service, times, zookeeper"
    ],
    '[log]\n"a\\u001b[31m" = 1': [
        "log.a\\x1b[31m: unknown key; the keys of [log] are debug, facility"
    ],
    'service = [1, "x"]': [
        "service[1]: 1 is no table; write a line [[service]] above its keys",
        'service[2]: "x" is no table; write a line [[service]] above its keys',
    ],
    '[[service]]\nvip = "127.0.0.1"': [
        'service[1].vip: "127.0.0.1" never leaves its host; write one that clients can reach'
    ],
    '[[service]]\nvip = "::ffff:10.0.0.1"': [
        'service[1].vip: "::ffff:10.0.0.1" is an IPv4 address; write 10.0.0.1'
    ],
    '[[service]]\nvip = "fe80::1%eth0"': [
        'service[1].vip: "fe80::1%eth0" names an interface; write the address alone'
    ],
    '[[service]]\nvip = "255.255.255.255"': [f'service[1].vip: "255.255.255.255" {NO_HOST}'],
    LINK.format("10.0.0.1/0"): [
        'link.addresses: "10.0.0.1/0" has the whole world as its network; write its length'
    ],
    LINK.format("fe80::1%eth1/64"): [
        'link.addresses: "fe80::1%eth1" names an interface; write the address alone'
    ],
}


@pytest.mark.parametrize(("text", "errors"), FAULTS.items(), ids=range(len(FAULTS)))
def test_one_line_for_each_fault(tmp_path: Path, text: str, errors: list[str]) -> None:
    path = tmp_path / "saru.conf"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, host="walter")
    assert caught.value.errors == [f"{path}: {error}" for error in errors]


@pytest.mark.parametrize("name", ["a\\u0000b", "\\u202eeth0", "a\\u0007"])
def test_an_interfaces_name_can_be_printed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "saru.conf"
    path.write_text(f'[heartbeat]\ninterfaces = ["{name}"]')
    with pytest.raises(ConfigError, match=r"heartbeat.interfaces: \"\S+\" is no interface; write"):
        load(path, host="walter")


def test_every_port_by_name_is_read_at_once(tmp_path: Path) -> None:
    """And what Windows' editors put in front of a file is no fault."""
    path = tmp_path / "saru.conf"
    text = f'[[service]]\nvip = "10.0.0.1"\nports = {list(range(1, 65536))}\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(load(path, host="walter").services[0].ports) == 65535

# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: defaults, the sample, and every fault told at once with its key and mend."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru import config
from saru.config import (
    Config,
    HeartbeatMode,
    Link,
    LinkMode,
    Protocol,
    RulesMode,
    Service,
    authkeys,
    duration,
    load,
    sections,
)
from saru.config.duration import HOUR, MS, SECOND
from saru.core.settings import Division, Quorum
from saru.errors import ConfigError

DEPLOY = Path(__file__).parents[2] / "deploy"
THREE = '[cluster]\nnodes = ["walter", "wendy", "wanda"]\n'


@pytest.fixture(autouse=True)
def no_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in this machine's /etc/saru is of no concern here."""
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "no" / "saru.conf")
    monkeypatch.setattr(sections, "DEFAULT_AUTHKEYS", tmp_path / "no" / "authkeys")


def load_text(tmp_path: Path, text: str, host: str = "walter") -> Config:
    path = tmp_path / "saru.conf"
    path.write_text(text)
    return load(path, host=host)


def errors_of(tmp_path: Path, text: str) -> list[str]:
    """The faults of a file, without the file's name in front."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    place = f"{tmp_path / 'saru.conf'}: "
    assert all(error.startswith(place) for error in caught.value.errors)
    assert str(caught.value) == "\n".join(caught.value.errors)
    assert caught.value.exit_status == 2
    return [error.removeprefix(place) for error in caught.value.errors]


def test_defaults_without_a_file() -> None:
    found = load()
    assert found.path is None
    assert found.director.name == socket.gethostname()
    assert found.director.weight == 100
    assert found.director.dataplane is config.DataplaneKind.AUTO
    assert found.cluster.quorum is Quorum.NONE
    assert found.ids == (Division(1, 1024, 0),)
    assert found.times == config.Times(
        keepalive=2 * SECOND,
        warntime=5 * SECOND,
        deadtime=10 * SECOND,
        initdead=20_404_040_406,
        join_delay=30 * SECOND,
    )
    assert found.times.initdead >= 2 * found.settings().lease_plus
    assert found.heartbeat.mode is HeartbeatMode.MULTICAST
    assert (found.heartbeat.group, found.heartbeat.port) == ("225.0.0.7", 694)
    assert (found.services, found.link, found.warnings) == ((), None, ())


def test_the_defaults_say_what_they_do_not_guarantee() -> None:
    caveats = load().caveats()
    for words in ("no ", "two of them accept the same block", "not authenticated"):
        assert any(words in caveat for caveat in caveats)
    assert len(caveats) == 4


def test_a_whole_configuration_has_no_caveats(tmp_path: Path) -> None:
    keys = tmp_path / "authkeys"
    found = load_text(tmp_path, f'{THREE}[heartbeat]\nauthkeys = "{keys}"\n')
    assert found.caveats() == []
    assert found.heartbeat.authkeys == keys
    assert found.cluster.quorum is Quorum.MAJORITY


def test_authkeys_in_its_usual_place_is_found() -> None:
    sections.DEFAULT_AUTHKEYS.parent.mkdir()
    sections.DEFAULT_AUTHKEYS.touch()
    assert load().heartbeat.authkeys == sections.DEFAULT_AUTHKEYS


def test_the_usual_file_is_read_when_it_is_there() -> None:
    config.DEFAULT_PATH.parent.mkdir()
    config.DEFAULT_PATH.write_text("[director]\nweight = 7\n")
    found = load()
    assert found.director.weight == 7
    assert found.path == config.DEFAULT_PATH


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: there is no such file; write one, or name"):
        load(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_the_sample_passes_as_it_stands() -> None:
    found = load(DEPLOY / "saru.conf")
    assert found.warnings == ()


def test_the_sample_passes_with_every_key_in_force(tmp_path: Path) -> None:
    sample = (DEPLOY / "saru.conf").read_text()
    text = re.sub(r"^#(\[|\w+ = )", r"\1", sample, flags=re.MULTILINE)
    found = load_text(tmp_path, text)
    bare = load()
    assert found.services == (Service("172.17.60.201", Protocol.TCP, (80, 443), 1),)
    assert found.link == Link("eth0", "00:50:56:14:03:40", LinkMode.UNICAST, ("172.17.60.201/16",))
    assert found.cluster.witnesses == ("wanda",)
    # What the sample shows as defaults are the defaults.
    assert found.ids == bare.ids
    assert found.rules.mode is bare.rules.mode
    assert (found.log, found.daemon) == (bare.log, bare.daemon)
    for key in ("keepalive", "warntime", "deadtime", "join_delay"):
        assert getattr(found.times, key) == getattr(bare.times, key)
    for key in ("mode", "group", "port", "ttl", "peers"):
        assert getattr(found.heartbeat, key) == getattr(bare.heartbeat, key)


def test_the_sample_of_authkeys_wants_a_secret_first() -> None:
    sample = (DEPLOY / "authkeys.sample").read_bytes()
    with pytest.raises(ConfigError, match="no line says which key signs"):
        authkeys.parse(sample, "sample")
    filled = re.sub(rb"^#(auth|1 )", rb"\1", sample, flags=re.MULTILINE)
    assert authkeys.parse(filled, "sample").secrets == {1: b"SECRET"}


FAULTS = {
    "[cluster]\nname = ''": 'cluster.name: "" is no name; write 1 to 63 letters',
    "[cluster]\nmembership = 'zookeper'": (
        'cluster.membership: "zookeper" is not known; write "heartbeat"'
    ),
    "[cluster]\nnodes = 'walter'": 'cluster.nodes: "walter" is no list; write ["walter"]',
    "[cluster]\nnodes = ['walter', 'walter']": 'cluster.nodes: "walter" comes twice; name it once',
    "[cluster]\nnodes = ['walter', 7]": "cluster.nodes: 7 is no name",
    f"[cluster]\nnodes = ['walter', '{'w' * 64}']": "cluster.nodes: ",
    "[cluster]\nnodes = ['wendy']": (
        'cluster.nodes: this director, "walter", is not among them; '
        "add it, or set director.name to one of them"
    ),
    f"[cluster]\nnodes = ['walter', {', '.join(repr(f'n{n}') for n in range(255))}]": (
        "cluster.nodes: 256 nodes are too many; name at most 255"
    ),
    THREE + "witnesses = ['wilma']": (
        'cluster.witnesses: "wilma" is not in cluster.nodes; add it there'
    ),
    THREE + "witnesses = ['walter', 'wendy', 'wanda']": (
        "cluster.witnesses: all nodes are witnesses; leave one that can hold blocks"
    ),
    THREE + "quorum = 'some'": ('cluster.quorum: "some" is not known; write "majority" or "none"'),
    "[cluster]\nquorum = 'majority'": (
        'cluster.quorum: "majority" of no voters; name them in cluster.nodes'
    ),
    "[times]\nkeepalive = 0": "times.keepalive: 0 is out of range; write a time from 10ms to",
    "[times]\nkeepalive = 'soon'": "times.keepalive: 'soon' is no duration; write a number of",
    "[times]\nkeepalive = true": "times.keepalive: True is no duration",
    "[times]\nkeepalive = inf": "times.keepalive: inf is no duration",
    "[times]\nkeepalive = -1": "times.keepalive: -1 is no duration",
    "[times]\nkeepalive = 1\ndeadtime = 2.999": (
        "times.deadtime: 2.999s is less than 3 x keepalive (1s): two lost beats would look like "
        "death; write 3s or more"
    ),
    "[times]\ndeadtime = 10\ninitdead = 20.39": (
        "times.initdead: 20.39s is less than 2.04 x deadtime (10s): leases of before a restart "
        "could still run; write 20.4s or more"
    ),
    "[times]\nwarntime = 11": (
        "times.warntime: 11s is not between keepalive (2s) and deadtime (10s); "
        "write a time between them, or leave it out"
    ),
    "[times]\nwarntime = 1": "times.warntime: 1s is not between keepalive (2s)",
    "[times]\njoin_delay = '25h'": 'times.join_delay: "25h" is out of range; write a time from',
    "[[id]]\nid = 0": "id[1].id: 0 is out of range; write a whole number from 1 to 65535",
    "[[id]]\nid = 65536": "id[1].id: 65536 is out of range",
    "[[id]]\nid = true": "id[1].id: True is out of range",
    "[[id]]\n[[id]]\nid = 1": "id[2].id: 1 comes twice; give each [[id]] a number of its own",
    "[[id]]\nblocks = 1000": "id[1].blocks: 1000 is no power of two; write 512 or 1024",
    "[[id]]\nblocks = 1": "id[1].blocks: 1 is out of range; write a whole number from 2 to 65536",
    "[[id]]\nblocks = 131072": "id[1].blocks: 131072 is out of range",
    "[[id]]\nseed = 4294967296": "id[1].seed: 4294967296 is out of range",
    "[id]\nid = 1": "id: there may be several; write [[id]] above its keys",
    "".join(f"[[id]]\nid = {n + 1}\n" for n in range(256)): "id[256].id: 256 ids are too many",
    "[director]\nname = 'wal ter'": 'director.name: "wal ter" is no name',
    '[director]\ndataplane = "ipset"': 'director.dataplane: "ipset" is not known; write "auto" or'
    ' "module" or "nftables"',
    "[director]\nweight = 65536": "director.weight: 65536 is out of range",
    "[director]\nweight = 1.5": "director.weight: 1.5 is out of range; write a whole number from 0",
    "[heartbeat]\ninterfaces = ['much-too-long-a-name']": (
        'heartbeat.interfaces: "much-too-long-a-name" is no interface; write a name of 1 to 15'
    ),
    "[heartbeat]\ninterfaces = ['a b']": 'heartbeat.interfaces: "a b" is no interface',
    "[heartbeat]\nmode = 'broadcast'": (
        'heartbeat.mode: "broadcast" is not known; write "multicast" or "unicast"'
    ),
    "[heartbeat]\nmode = 'unicast'": (
        'heartbeat.peers: mode "unicast" has nobody to send to; name the others here'
    ),
    "[heartbeat]\npeers = ['10.0.0.2']": (
        'heartbeat.peers: are of no use to mode "multicast"; write mode = "unicast"'
    ),
    "[heartbeat]\nmode = 'unicast'\npeers = ['wendy']": (
        'heartbeat.peers: "wendy" is no IP address; write one such as 10.0.0.2 or fd00::2'
    ),
    "[heartbeat]\nmode = 'unicast'\npeers = ['225.0.0.7']": (
        'heartbeat.peers: "225.0.0.7" is no host\'s address; write a unicast address'
    ),
    "[heartbeat]\ngroup = '10.0.0.7'": 'heartbeat.group: "10.0.0.7" is no multicast group',
    "[heartbeat]\nport = 0": "heartbeat.port: 0 is out of range; write a whole number from 1",
    "[heartbeat]\nport = 65536": "heartbeat.port: 65536 is out of range",
    "[heartbeat]\nttl = 256": "heartbeat.ttl: 256 is out of range",
    "[heartbeat]\nauthkeys = 'keys'": (
        'heartbeat.authkeys: "keys" is no absolute path; write one that begins with /'
    ),
    "[[service]]\nports = [80]": "service[1].vip: is missing; write the VIP",
    "[[service]]\nvip = '172.17.60.301'": 'service[1].vip: "172.17.60.301" is no IP address',
    "[[service]]\nvip = '172.17.60.201/16'": 'service[1].vip: "172.17.60.201/16" is no IP address',
    "[[service]]\nvip = '10.0.0.1'\nprotocol = 'icmp'": (
        'service[1].protocol: "icmp" has no ports; drop it: ICMP to a VIP is always looked after'
    ),
    "[[service]]\nvip = '10.0.0.1'\nprotocol = 'tpc'": (
        'service[1].protocol: "tpc" is not known; write "tcp" or "udp" or'
    ),
    "[[service]]\nvip = '10.0.0.1'\nports = [70000]": "service[1].ports: 70000 is out of range",
    "[[service]]\nvip = '10.0.0.1'\nports = ['http']": 'service[1].ports: "http" is out of range',
    "[[service]]\nvip = '10.0.0.1'\nports = [80, 80]": "service[1].ports: 80 comes twice",
    "[[service]]\nvip = '10.0.0.1'\nid = 2": (
        "service[1].id: there is no id 2; add an [[id]] with id = 2"
    ),
    "[[service]]\nvip = 'fd00::1'\nports = [80, 81]\n[[service]]\nvip = 'fd00:0::1'\nports=[80]": (
        "service[2].ports: an earlier [[service]] has the same VIP, protocol and port; drop one"
    ),
    "[rules]\nmode = 'stateless'": (
        'rules.mode: "stateless" is not known; write "sync" or "conntrack"'
    ),
    "[rules]\nreal_servers = ['192.168.6.4/24']": (
        'rules.real_servers: "192.168.6.4/24" has host bits set; write 192.168.6.0/24'
    ),
    "[rules]\nreal_servers = ['lan']": 'rules.real_servers: "lan" is no network',
    "[link]\nmac = '00:50:56:14:03:40'": (
        "link.interface: is missing; name the interface that the VIP lives on"
    ),
    "[link]\ninterface = 'eth0'": "link.mac: is missing; write one that all directors share",
    "[link]\ninterface = 'eth0'\nmac = '00:50:56'": 'link.mac: "00:50:56" is no MAC address',
    "[link]\ninterface = 'eth0'\nmac = '01:50:56:14:03:40'": (
        "link.mac: 01:50:56:14:03:40 is a multicast MAC (its first byte is odd); "
        'write a unicast one, or mode = "multicast"'
    ),
    "[link]\ninterface = 'eth0'\nmac = '00:00:00:00:00:00'": "link.mac: is all zeros; write one",
    "[link]\ninterface = 'eth0'\nmode = 'multicast'\nmac = '00:50:56:14:03:40'": (
        'link.mac: 00:50:56:14:03:40 is no multicast MAC, as mode "multicast" needs'
    ),
    "[link]\ninterface = 'eth0'\nmac = '00:50:56:14:03:40'\naddresses = ['x']": (
        'link.addresses: "x" is no address; write one such as 172.17.60.201/16'
    ),
    "[log]\nfacility = 'demon'": 'log.facility: "demon" is no place to log to; write "-"',
    "[log]\ndebug = 'yes'": 'log.debug: "yes" is neither true nor false; write one of them',
    "[daemon]\nrun = 'run/saru'": 'daemon.run: "run/saru" is no absolute path',
    "[times]\ndedtime = 4": "times.dedtime: unknown key; did you mean times.deadtime?",
    "[director]\ndeadtime = 4": "director.deadtime: unknown key; did you mean times.deadtime?",
    "[log]\nxyz = 4": "log.xyz: unknown key; the keys of [log] are debug, facility",
    "deadtime = 4": "deadtime: unknown key; did you mean times.deadtime?",
    "[tmes]\nx = 4": "tmes: unknown section; did you mean [times]?",
    "[xyz]": "xyz: unknown section; the sections are cluster, daemon, director,",
    "times = 4": "times: 4 is no table; write a line [times] above its keys",
    "id = [4]": "id[1]: 4 is no table; write a line [[id]] above its keys",
    "[cluster\n": "is not TOML: Expected ']' at the end of a table declaration (at line 1, column",
}


@pytest.mark.parametrize(("text", "error"), FAULTS.items(), ids=FAULTS.values())
def test_a_fault_is_told_with_its_key_and_its_mend(tmp_path: Path, text: str, error: str) -> None:
    (told,) = errors_of(tmp_path, text)
    assert told.startswith(error)
    assert ";" in told or told.endswith("?")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = """
    [times]
    keepalive = 2
    deadtime = 1
    initdead = 2
    warntime = 3
    [[id]]
    blocks = 3
    seed = -1
    [director]
    weight = "heavy"
    [logs]
    """
    told = errors_of(tmp_path, text)
    assert {error.partition(":")[0] for error in told} == {
        *("times.deadtime", "times.initdead", "times.warntime", "id[1].blocks", "id[1].seed"),
        *("director.weight", "logs"),
    }


def test_one_wrong_time_is_not_held_against_the_others(tmp_path: Path) -> None:
    text = "[times]\nkeepalive = 1\ndeadtime = 'x'\ninitdead = 6\nwarntime = 2"
    (told,) = errors_of(tmp_path, text)
    assert told.startswith("times.deadtime: ")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saru.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(tmp_path / "saru.conf")


@pytest.mark.parametrize(
    ("text", "keepalive", "deadtime", "warntime"),
    [
        ("keepalive = '100ms'", 100, 500, 250),
        ("deadtime = '500ms'", 100, 500, 250),
        ("keepalive = '100ms'\ndeadtime = '300ms'\nwarntime = '300ms'", 100, 300, 300),
        ("keepalive = 0.1\ndeadtime = 0.4", 100, 400, 200),
    ],
)
def test_times_follow_from_each_other(
    tmp_path: Path, text: str, keepalive: int, deadtime: int, warntime: int
) -> None:
    times = load_text(tmp_path, f"[times]\n{text}\n").times
    found = (times.keepalive, times.deadtime, times.warntime)
    assert found == (keepalive * MS, deadtime * MS, warntime * MS)


def test_the_smallest_start_up_wait_is_never_less_than_two_leases(tmp_path: Path) -> None:
    found = load_text(tmp_path, "[times]\ndeadtime = 10\ninitdead = 20.4\n")
    assert found.times.initdead == 2 * found.settings().lease_plus


def test_two_voters_are_warned_that_they_need_each_other(tmp_path: Path) -> None:
    text = "[cluster]\nnodes = ['walter', 'wendy']\n"
    assert load_text(tmp_path, text).cluster.quorum is Quorum.NONE
    found = load_text(tmp_path, text + "quorum = 'majority'\n")
    (warning,) = found.warnings
    assert warning.startswith('cluster.quorum: a "majority" of two voters is both')


def test_a_vip_that_nothing_puts_up_is_warned_of(tmp_path: Path) -> None:
    text = "[[service]]\nvip = '10.0.0.9'\n[link]\ninterface = 'eth1'\nmac = '00:50:56:14:03:40'\n"
    assert not load_text(tmp_path, text).warnings
    assert not load_text(tmp_path, text + "addresses = ['10.0.0.9/24']\n").warnings
    (warning,) = load_text(tmp_path, text + "addresses = ['10.0.0.8/24']\n").warnings
    assert warning.startswith("link.addresses: the VIP 10.0.0.9 of a service is not among them")


def test_the_settings_of_the_core_are_in_order(tmp_path: Path) -> None:
    text = THREE + "witnesses = ['wendy']\n[[id]]\nid = 9\n[[id]]\nid = 2\nblocks = 16\nseed = 5\n"
    found = load_text(tmp_path, text)
    made = found.settings()
    assert made.nodes == ("walter", "wanda", "wendy")
    assert made.witnesses == ("wendy",)
    assert made.divisions == (Division(2, 16, 5), Division(9, 1024, 0))
    assert made.deadtime == 10 * SECOND
    assert not found.witness
    assert load_text(tmp_path, text, host="wendy").witness


def test_order_and_way_of_writing_do_not_change_the_digest(tmp_path: Path) -> None:
    one = load_text(tmp_path, "[cluster]\nnodes = ['walter', 'wendy']\n[times]\nkeepalive = 2\n")
    two = load_text(tmp_path, "[cluster]\nnodes = ['wendy', 'walter']\n[times]\ndeadtime = '10s'\n")
    assert one.settings().digest() == two.settings().digest()


def test_the_command_line_goes_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "saru.conf"
    path.write_text("[times]\njoin_delay = 5\nkeepalive = 1\n[log]\ndebug = false\n")
    log: dict[str, object] = {"debug": True, "facility": "-"}
    found = load(path, given={"times": {"join_delay": "7s"}, "log": log})
    assert found.times.join_delay == 7 * SECOND
    assert found.times.keepalive == SECOND
    assert found.log == config.Log(facility="-", debug=True)
    with pytest.raises(ConfigError, match=r"log\.facility: "):
        load(path, given={"log": {"facility": "nowhere"}})


def test_addresses_of_the_link_are_the_vips(tmp_path: Path) -> None:
    text = """
    [[service]]
    vip = "172.17.60.201"
    [[service]]
    vip = "172.17.60.201"
    protocol = "udp"
    ports = [53]
    [[service]]
    vip = "FD00:0:0::201"
    [link]
    interface = "eth0"
    mac = "00-50-56-14-03-4F"
    [rules]
    mode = "conntrack"
    """
    found = load_text(tmp_path, text)
    assert found.link is not None
    assert found.link.addresses == ("172.17.60.201/32", "fd00::201/128")
    assert found.link.mac == "00:50:56:14:03:4f"
    assert found.services[0].ports == ()
    assert found.rules.mode is RulesMode.CONNTRACK


@given(st.integers(0, 100 * HOUR))
def test_a_duration_is_read_as_it_is_written(ns: int) -> None:
    assert duration.parse(duration.text(ns)) == ns


@pytest.mark.parametrize(
    ("written", "ns"),
    [
        ("100ms", 100 * MS),
        ("2s", 2 * SECOND),
        ("2 s", 2 * SECOND),
        ("1.5", 1500 * MS),
        ("1m", 60 * SECOND),
        ("2h", 2 * HOUR),
        ("250us", 250_000),
        (0.1, 100 * MS),
        (3, 3 * SECOND),
        (0, 0),
        (1e-3, MS),
    ],
)
def test_durations(written: object, ns: int) -> None:
    assert duration.parse(written) == ns


@pytest.mark.parametrize("wrong", ["", "s", "-1s", "1 year", "1,5s", None, [], True, "1e3", "٣s"])
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match='write a number of seconds, or a text such as "100ms"'):
        duration.parse(wrong)

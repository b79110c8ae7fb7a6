# SPDX-License-Identifier: GPL-2.0-or-later
"""[zookeeper]: what follows from what, and every fault with its key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru import config
from saru.config import sections
from saru.config.duration import SECOND
from saru.config.tree import Zookeeper
from saru.core.settings import Membership
from saru.errors import ConfigError

BY = '[cluster]\nmembership = "zookeeper"\nnodes = ["walter", "wendy", "wanda"]\n'
HOSTS = '[zookeeper]\nhosts = ["zk1", "zk2:2182", "[fd00::1]:2183"]\n'


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in this machine's /etc/saru is of no concern here."""
    monkeypatch.setattr(sections, "DEFAULT_AUTHKEYS", tmp_path / "no" / "authkeys")


def load(folder: Path, text: str, host: str = "walter") -> config.Config:
    path = folder / "saru.conf"
    path.write_text(text)
    return config.load(path, host=host)


def errors(folder: Path, text: str, host: str = "walter") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, host)
    return [error.partition("saru.conf: ")[2] for error in caught.value.errors]


def test_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, BY + HOSTS)
    assert found.zookeeper == Zookeeper(
        hosts=("zk1:2181", "zk2:2182", "[fd00::1]:2183"),
        session_timeout=10 * SECOND,
        root="/saru",
        failsafe=False,
        digest=None,
        tls=None,
    )
    settings = found.settings()
    assert settings.membership is Membership.ZOOKEEPER
    assert not settings.failsafe
    assert found.warnings == ()
    (caveat,) = found.caveats()
    assert "no zookeeper.digest" in caveat
    closed = load(tmp_path, BY + HOSTS + 'digest = "/etc/saru/zookeeper"\n')
    assert closed.caveats() == []
    beats = load(tmp_path, BY + HOSTS + 'digest = "/etc/saru/zookeeper"\nfailsafe = true\n')
    (caveat,) = beats.caveats()
    assert "no authkeys" in caveat


def test_the_section_may_wait_for_its_day(tmp_path: Path) -> None:
    found = load(tmp_path, HOSTS + "failsafe = true\n")
    assert found.settings().membership is Membership.HEARTBEAT
    assert not found.settings().failsafe


def test_session_timeout_follows_deadtime(tmp_path: Path) -> None:
    found = load(tmp_path, BY + HOSTS + "[times]\ndeadtime = 4\n")
    assert found.zookeeper.session_timeout == 4 * SECOND
    short = load(tmp_path, BY + HOSTS + 'session_timeout = "3s"\n')
    assert "zookeeper.session_timeout" in short.warnings[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BY, "zookeeper.hosts: is missing; write hosts = "),
        (BY + '[zookeeper]\nhosts = ["zk1:0"]\n', 'zookeeper.hosts: "zk1:0" is no server; write'),
        (BY + '[zookeeper]\nhosts = ["-zk"]\n', 'zookeeper.hosts: "-zk" is no server; write'),
        (BY + '[zookeeper]\nhosts = ["[zk]:1"]\n', 'zookeeper.hosts: "[zk]:1" is no server; write'),
        (BY + HOSTS + 'root = "saru"\n', 'zookeeper.root: "saru" is no znode for this; write'),
        (BY + HOSTS + 'root = "/a/../b"\n', 'zookeeper.root: "/a/../b" is no znode for this'),
        (BY + HOSTS + 'root = "/zookeeper/x"\n', "zookeeper.root: "),
        (BY + HOSTS + "session_timeout = 0\n", "zookeeper.session_timeout: 0 is out of range"),
        (BY + HOSTS + 'ca = "/ca.pem"\n', "zookeeper.ca: is of no use without TLS; write tls"),
        (BY + HOSTS + 'tls = true\nkey = "/k"\n', "zookeeper.certificate: is missing; name"),
        (BY + HOSTS + 'tls = true\ncertificate = "/c"\n', "zookeeper.key: is missing; name"),
        (BY + HOSTS + 'digest = "saru:secret"\n', "zookeeper.digest: "),
        (BY + HOSTS + "failsafe = 1\n", "zookeeper.failsafe: 1 is neither true nor false"),
        (
            BY + HOSTS + "failsafe = true\n[times]\nkeepalive = 1\ndeadtime = 3\n",
            "zookeeper.failsafe: needs a deadtime of 4 x keepalive or more, 4s",
        ),
        (
            BY + 'witnesses = ["walter"]\n' + HOSTS,
            'cluster.membership: this node, "walter", is a witness, and has no part',
        ),
        (
            BY + 'witnesses = ["wendy", "wanda"]\n' + HOSTS,
            "cluster.witnesses: with 2 of 3 nodes as witnesses",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_key_and_its_mend(tmp_path: Path, text: str, told: str) -> None:
    found = errors(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith(told), found

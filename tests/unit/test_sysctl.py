# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings under /proc/sys, on a directory that stands in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru.errors import OutageError
from saru.link import sysctl
from saru.link.sysctl import Kept, Setting

LOOSE = Setting("net/loose", "0", "or it is loose", module="some_module")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net").mkdir()
    monkeypatch.setattr(sysctl, "ROOT", tmp_path)
    return tmp_path / "net"


def test_the_name_is_sysctls() -> None:
    assert Setting("net/ipv4/conf/eth0.100/arp_ignore", "1", "").name == (
        "net.ipv4.conf.eth0/100.arp_ignore"
    )


def test_what_differs(root: Path) -> None:
    assert LOOSE.difference() == (
        "sysctl net.loose does not exist; it needs `modprobe some_module`"
    )
    (root / "loose").write_text("1\n")
    assert LOOSE.difference() == "sysctl net.loose is 1, not 0, or it is loose"
    (root / "loose").write_text("0\n")
    assert LOOSE.difference() is None
    (root / "loose").write_text("2\n")
    assert Setting("net/loose", "0", "", also=("2",)).difference() is None


def test_what_was_found_comes_back(root: Path, tmp_path: Path) -> None:
    """Whoever holds it how often: the first value found is the one that is given back."""
    kept = Kept(tmp_path / "run" / "kept.json")
    (root / "loose").write_text("7\n")
    assert kept.hold([LOOSE]) == ["sysctl net.loose = 0"]
    assert kept.hold([LOOSE]) == []
    (root / "loose").write_text("5\n")
    assert Kept(tmp_path / "run" / "kept.json").hold([LOOSE]) == ["sysctl net.loose = 0"]
    assert kept.restore() == ["sysctl net.loose = 7"]
    assert (root / "loose").read_text() == "7"
    assert kept.restore() == []


def test_what_cannot_be_set_is_named(root: Path) -> None:
    (root / "loose").mkdir()
    with pytest.raises(OutageError, match=r"cannot set sysctl net\.loose to 0: .* are you root"):
        LOOSE.write("0")

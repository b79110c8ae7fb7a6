# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has gone by ZooKeeper does not go back to beats by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru.errors import SaruError
from saru.state import earlier_membership


def test_there_is_no_way_back_but_the_operators(tmp_path: Path) -> None:
    state = tmp_path / "state"
    earlier_membership.remember(state, "saru", zookeeper=False)
    earlier_membership.remember(state, "saru", zookeeper=True)
    earlier_membership.remember(state, "saru", zookeeper=True)
    with pytest.raises(SaruError, match=r"saru\.zookeeper says so") as why:
        earlier_membership.remember(state, "saru", zookeeper=False)
    assert "stop the daemons of all directors" in str(why.value)
    earlier_membership.remember(state, "other", zookeeper=False)
    (state / "saru.zookeeper").unlink()
    earlier_membership.remember(state, "saru", zookeeper=False)


def test_a_state_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(SaruError, match="cannot keep"):
        earlier_membership.remember(tmp_path / "state", "saru", zookeeper=True)

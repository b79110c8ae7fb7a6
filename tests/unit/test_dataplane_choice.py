# SPDX-License-Identifier: GPL-2.0-or-later
"""Which data plane a host has, and that a daemon stays with the one that it began with."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru import config
from saru.config import DataplaneKind
from saru.dataplane import choice
from saru.rules import install


def test_a_module_that_is_loaded_later_is_no_affair_of_a_running_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guard would put in rules for a data plane that this daemon does not use."""
    loaded = tmp_path / "xt_saru"
    monkeypatch.setattr(choice, "LOADED", loaded)
    began, why = choice.fixed(config.load(given={}))
    assert (began.director.dataplane, why) == (
        DataplaneKind.NFTABLES,
        "the kernel module xt_saru is not loaded",
    )
    loaded.mkdir()
    assert choice.chosen(DataplaneKind.AUTO)[0] is DataplaneKind.MODULE
    assert install.by_nftables(began)

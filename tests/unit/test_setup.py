# SPDX-License-Identifier: GPL-2.0-or-later
"""`deploy/setup prune` removes from the cache what nobody has asked for in a month, alone."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from deploy.lab import cache
from deploy.lab.cache import PROJECT

MONTH = 31 * 24 * 3600


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - MONTH,) * 2)


def test_what_was_not_used_for_long_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARU_CACHE", str(tmp_path))
    builds, venvs, locks = (tmp_path / name for name in ("builds", "venvs", "locks"))
    for name in ("old", "asked-again", "new"):
        with cache.locked(name), cache.made_aside(builds / name) as scratch:
            (scratch / "product").touch()
    age(*builds.iterdir(), locks / "old", locks / "asked-again")
    with cache.locked("asked-again"):
        pass
    for name in ("old", "new"):
        (venvs / f"{name}.made").mkdir(parents=True)
        (venvs / name).symlink_to(venvs / f"{name}.made")
    kernels, accelerator = tmp_path / "kernels", tmp_path / "accelerator-6.1"
    kernels.mkdir()
    accelerator.touch()
    age(venvs / "old.made", kernels, accelerator)

    subprocess.run([PROJECT / "deploy/setup", "prune"], check=True)

    assert {path.name for path in builds.iterdir()} == {"asked-again", "new"}
    assert {path.name for path in venvs.iterdir()} == {"new", "new.made"}
    assert kernels.is_dir()
    assert not accelerator.exists()

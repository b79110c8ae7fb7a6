# SPDX-License-Identifier: GPL-2.0-or-later
"""`deploy/setup`: registries that stumble, and what is removed from the cache."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from deploy.lab import cache
from deploy.lab.cache import PROJECT

LONG_AGO = 40 * 24 * 3600


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - LONG_AGO,) * 2)


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


def put(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("stumbles", [0, 2, 3])
def test_what_a_registry_refuses_is_asked_for_again(tmp_path: Path, stumbles: int) -> None:
    """On a machine that lacks every package."""
    tools, calls = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    put(tools / "dpkg-query", "exit 1")
    put(tools / "sleep", f"echo sleep $1 >> {calls}")
    fails = f'[ "$(grep -c update {calls})" -gt {stumbles} ] || {{ echo no route; exit 100; }}'
    put(tools / "apt-get", f'echo "$*" >> {calls}\n{fails}')
    done = subprocess.run(
        [PROJECT / "deploy/setup", "peers"],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SARU_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = calls.read_text().splitlines()
    assert [line for line in said if "sleep" in line] == ["sleep 10", "sleep 30"][:stumbles]
    assert sum("update" in line for line in said) == min(stumbles, 2) + 1
    assert said[-1].endswith(
        "update" if stumbles > 2 else "install --yes --no-install-recommends keepalived"
    )
    assert done.returncode == (1 if stumbles > 2 else 0), done.stderr
    assert done.stderr.count("no route") == stumbles

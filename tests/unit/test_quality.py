# SPDX-License-Identifier: GPL-2.0-or-later
"""The sources themselves: style, types, and builds without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from deploy.lab import kernels
from deploy.lab.cache import PROJECT

SCRIPTS = ("deploy/demo", "deploy/setup", "deploy/lab/lab", "tests/run", "tests/apart", ".ci/run")


def run(*words: str) -> None:
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"`{' '.join(words)}` says\n{done.stdout}{done.stderr}"


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", ".")


def test_ruff_would_format_nothing() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_mypy_strict_finds_nothing() -> None:
    # Without a cache: one that another run is writing to was seen to make errors up.
    nowhere = f"--cache-dir={os.devnull}"
    run(sys.executable, "-m", "mypy", nowhere, "--strict", "saru", "deploy", "tests")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_are_executable(script: str) -> None:
    run("bash", "-n", script)
    assert (PROJECT / script).stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("version", kernels.VERSIONS)
def test_the_module_builds_without_a_warning(version: str) -> None:
    """With the kernel's extra warnings (W=1), and sparse looking on."""
    module = kernels.build_module(kernels.fetch(version), checks=True)
    log = next(p for p in module.parents if (p / "build.log").exists()) / "build.log"
    text = log.read_text()
    assert re.search(r"^\s*CHECK\s.*match\.c$", text, re.M), f"sparse did not run:\n{text}"
    found = [line for line in text.splitlines() if re.search(r"\b(warning|error)\b", line)]
    assert not found, "\n".join(found)


def test_the_extension_builds_without_a_warning() -> None:
    """Its Makefile makes every warning an error."""
    extension = kernels.build_extension()
    log = next(p for p in extension.parents if (p / "build.log").exists()) / "build.log"
    text = log.read_text()
    assert "-Wall -Wextra -Werror" in text
    assert "warning" not in text

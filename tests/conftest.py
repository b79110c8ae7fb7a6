# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for all tests: the quick ones first."""

from __future__ import annotations

from pathlib import Path

import pytest

ORDER = ("unit", "sim", "net", "bench", "vm")
LAST = "test_demo.py"
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the random faults go on, and which ones they are."""
    group = parser.getgroup("nemesis")
    group.addoption(
        "--nemesis", type=float, default=300, metavar="SECONDS", help="for each cluster (300)"
    )
    group.addoption(
        "--nemesis-guests", type=float, default=45, metavar="SECONDS", help="in the lab (45)"
    )
    group.addoption("--nemesis-seed", type=int, metavar="N", help="the same faults once more")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the directories in ORDER, each as it was collected, and the demonstration at the end."""
    items.sort(key=lambda item: _place(item.path))


def _place(path: Path) -> tuple[int, bool]:
    room = path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else ""
    return ORDER.index(room) if room in ORDER else -1, path.name == LAST

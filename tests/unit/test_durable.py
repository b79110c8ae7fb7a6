# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are written whole, also where the disk takes only a part at a time."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from saru import durable


def test_a_file_of_which_only_a_part_fits_does_not_replace_the_old_one(tmp_path: Path) -> None:
    """What fits is taken without an error; only the next write is refused."""
    path = tmp_path / "file"
    durable.replace(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            durable.replace(path, b"a new content")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"

# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are written whole, also where the disk takes only a part at a time."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saru.daemon.lock import Lock, owners
from saru.errors import OutageError, SaruError
from saru.link.sysctl import Kept
from saru.state import durable


@contextmanager
def room_for(most: int) -> Iterator[None]:
    """In here no file grows beyond so many bytes, as on a disk that is almost full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_file_of_which_only_a_part_fits_does_not_replace_the_old_one(tmp_path: Path) -> None:
    """What fits is taken without an error; only the next write is refused."""
    path = tmp_path / "file"
    durable.replace(path, b"old")
    with room_for(10), pytest.raises(OSError, match="File too large"):
        durable.replace(path, b"a new content")
    assert path.read_bytes() == b"old"


def test_what_was_kept_for_later_outlives_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "run" / "kept.json"
    durable.keep(path, b'{"net/loose": "7"}')
    full = f"cannot write {path}: File too large; are you root, and is there room?"
    with room_for(10), pytest.raises(OutageError) as caught:
        durable.keep(path, b'{"net/loose": "7", "net/more": "8"}')
    assert str(caught.value) == full
    assert path.read_bytes() == b'{"net/loose": "7"}'
    durable.discard(path)
    durable.discard(path)
    path.mkdir()
    with pytest.raises(OutageError, match=f"cannot remove {path}: Is a directory; are you root"):
        durable.discard(path)


@pytest.mark.parametrize("content", ["", "[1]", '{"net/loose": 7}', '{"net/lo'])
def test_what_was_kept_and_is_damaged_is_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "kept.json").write_text(content)
    assert Kept(tmp_path / "kept.json").restore() == []


def test_a_lock_that_cannot_be_written_is_given_back_and_named(tmp_path: Path) -> None:
    with room_for(0), pytest.raises(SaruError) as caught:
        Lock.of_cluster(tmp_path, "saru")
    assert str(caught.value) == (
        f"cannot take the lock {tmp_path}/saru.lock: File too large; "
        "daemon.run can name another place"
    )
    assert owners(tmp_path) == []

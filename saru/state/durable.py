# SPDX-License-Identifier: GPL-2.0-or-later
"""Small files that outlive a power cut: whole, in their old state or in the new one."""

from __future__ import annotations

import os
from pathlib import Path

from saru.errors import OutageError


def replace(path: Path, content: bytes) -> None:
    """Write `content` to `path`, on disk when this returns. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        rest = memoryview(content)
        while rest:  # a disk that is almost full takes a part, and refuses only the next one
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    _sync(path.parent)


def keep(path: Path, content: bytes) -> None:
    """As `replace`, and make the directory if it is missing. Raises OutageError."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace(path, content)
    except OSError as fault:
        raise OutageError(
            f"cannot write {path}: {fault.strerror}; are you root, and is there room?"
        ) from fault


def discard(path: Path) -> None:
    """Remove what `keep` kept, if it is there. Raises OutageError."""
    try:
        if path.exists():  # a file system that is read-only refuses even what is not there
            path.unlink()
    except OSError as fault:
        raise OutageError(f"cannot remove {path}: {fault.strerror}; are you root?") from fault


def remove(path: Path) -> None:
    """Remove `path`, if it is there, for good. Raises OSError."""
    path.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

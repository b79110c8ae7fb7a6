# SPDX-License-Identifier: GPL-2.0-or-later
"""Files with secrets: mode 600 or 400, of root or of the user that reads them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from saru.errors import ConfigError

_SIZE_MAX = 1 << 20


def read(path: Path) -> bytes:
    """The content of the file. Raises ConfigError if it is not there, or others may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as fault:
        mends = {FileNotFoundError: "write one, mode 600", PermissionError: "run it as root"}
        mend = mends.get(type(fault), "mend that")
        raise ConfigError([f"{path}: cannot be read: {fault.strerror}; {mend}"]) from None
    try:
        _check(path, os.fstat(descriptor))
        return os.read(descriptor, _SIZE_MAX)
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result) -> None:
    """Refuse a file that others may read or write. Looks at the open file, not at its name."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError([f"{path}: is no regular file; name one"])
    errors = []
    mode = stat.S_IMODE(status.st_mode)
    if mode not in (0o600, 0o400):
        errors.append(f"{path}: is mode {mode:03o}, not 600; chmod 600 {path}")
    if status.st_uid not in (0, os.geteuid()):
        errors.append(f"{path}: belongs to user {status.st_uid}; chown root {path}")
    if errors:
        raise ConfigError(errors)

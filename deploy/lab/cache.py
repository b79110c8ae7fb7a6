# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache directory: what is downloaded or built once and used again.

It is `$SARU_CACHE`, else `$XDG_CACHE_HOME/saru`, else `~/.cache/saru`. Whatever stands in
it under its final name is complete: it is made aside and renamed.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


class LabError(Exception):
    """The lab cannot do what was asked; the text says what is wrong and what mends it."""


def say(text: str) -> None:
    """A line of progress about something that takes its time."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def root() -> Path:
    """The cache directory, made if it is not there."""
    chosen = os.environ.get("SARU_CACHE")
    if not chosen:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        chosen = os.path.join(base, "saru")
    path = Path(chosen).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock `name`: one process at a time makes a thing, others wait for it."""
    directory = root() / "locks"
    directory.mkdir(exist_ok=True)
    with open(directory / name, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made_aside(final: Path) -> Iterator[Path]:
    """A scratch directory beside `final` that takes its name at the end, or goes on an error."""
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(final)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def content_key(directories: Iterable[Path], *words: str) -> str:
    """A key of 16 hex digits: changes with any source file under `directories`, or any word."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for directory in directories:
        for path in sorted(sources(directory)):
            digest.update(str(path.relative_to(directory.parent)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def sources(directory: Path) -> Iterator[Path]:
    """The source files under `directory`: build products left in the tree are none."""
    products = (".o", ".ko", ".so", ".mod", ".mod.c", ".cmd", ".symvers", ".order", ".pyc")
    for path in directory.rglob("*"):
        if path.is_file() and not path.name.endswith(products):
            yield path

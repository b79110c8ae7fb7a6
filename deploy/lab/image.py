# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-only disks that are laid over directories of the host in the guest.

Starting a Python program opens some hundred small files. Over 9p each costs a guest several
trips to the host: half as long again as from these disks, and several times as long when the
host is busy.
One holds Python's libraries, the other the package `saru` of this checkout, compiled.
"""

import compileall
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import cache
from deploy.lab.cache import PROJECT, LabError

PROGRAM = "mkfs.erofs"


@dataclass(frozen=True)
class Image:
    """A disk: its directories 0, 1, … stand for `directories` of the host."""

    path: Path
    directories: tuple[Path, ...]


def build() -> list[Image]:
    """The disks for the interpreter that runs this and for this checkout, in the cache."""
    libraries, package = _libraries(), (PROJECT / "saru",)
    return [
        _build("python", libraries, _listing_key(libraries)),
        _build("saru", package, cache.content_key(package, str(PROJECT), sys.version)),
    ]


def _build(name: str, directories: tuple[Path, ...], key: str) -> Image:
    path = cache.root() / "builds" / f"{name}-{key}"
    with cache.locked(path.name):
        if not path.is_dir():
            with cache.made_aside(path) as scratch:
                staging = scratch / "staging"
                for number, directory in enumerate(directories):
                    _copy(directory, staging / str(number))
                _make(scratch / "image", staging)
                shutil.rmtree(staging)
    return Image(path / "image", directories)


def _copy(directory: Path, staged: Path) -> None:
    shutil.copytree(directory, staged, symlinks=True)
    compileall.compile_dir(staged, stripdir=str(staged), prependdir=str(directory), quiet=2)


def _libraries() -> tuple[Path, ...]:
    """Where the standard library and the environment's packages lie, links resolved."""
    standard = Path("/usr/lib") / f"python3.{sys.version_info.minor}"
    packages = Path(sysconfig.get_path("purelib")).resolve()
    outside = sys.prefix == sys.base_prefix
    return (standard,) if outside else (standard, packages)


def _listing_key(directories: tuple[Path, ...]) -> str:
    """Changes with the packages that are there: one that comes or goes touches its directory."""
    words = [str(directory) for directory in directories]
    for directory in directories:
        words += sorted(f"{entry.name} {entry.stat().st_mtime_ns}" for entry in directory.iterdir())
    return cache.content_key([], *words)


def _make(image: Path, staging: Path) -> None:
    # Times are kept: Python takes compiled files only for sources of the very same age.
    command = [PROGRAM, "--quiet", "--preserve-mtime", str(image), str(staging)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise LabError(f"no {PROGRAM}: run deploy/setup packages") from error
    if done.returncode:
        raise LabError(f"{PROGRAM} failed: {done.stderr.strip()}")

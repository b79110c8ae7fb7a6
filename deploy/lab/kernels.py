# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's stock kernels, unpacked into the cache, and what is built against them.

    kernels/RELEASE/                the unpacked packages, the image's inner ELF file `vmlinux`
    kernels/VERSION -> RELEASE      the newest release of VERSION when it was fetched
    builds/KEY/                     a build; KEY changes with the sources and the kernel

Run as a program: `python -m deploy.lab.kernels fetch|module|extension [VERSION...]`.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import apt, cache, vmlinux
from deploy.lab.cache import PROJECT, LabError

VERSIONS = ("6.1", "6.12")
ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Kernel:
    """One stock kernel in the cache."""

    version: str
    """As asked for, such as `6.1`."""
    release: str
    """As the kernel itself says in `uname -r`."""
    image: Path
    """The kernel's ELF file."""
    modules: Path
    """Its directory of modules, with the indexes that modprobe reads."""
    headers: Path
    """What `make -C` takes to build a module for it."""
    compiler: str
    """The compiler it was built with, such as `gcc-12`."""


def fetch(version: str) -> Kernel:
    """The kernel `version`, fetched first if the cache lacks it."""
    if version not in VERSIONS:
        raise LabError(f"no kernel {version}: the lab knows {' and '.join(VERSIONS)}")
    base = cache.root() / "kernels"
    link = base / version
    with cache.locked(f"kernel-{version}"):
        if not link.is_dir():
            release = _newest(version)
            if not (base / release).is_dir():
                cache.say(f"fetching Debian's kernel {release}")
                with cache.made_aside(base / release) as scratch:
                    _unpack(scratch, base / release, release)
            link.unlink(missing_ok=True)
            link.symlink_to(release)
    return _describe(version, link.resolve())


def _newest(version: str) -> str:
    for package in apt.offered(f"linux-image-{ARCHITECTURE}"):
        if package.version.startswith(version + "."):
            named = re.search(rf"linux-image-(\S+-{ARCHITECTURE})", package.depends)
            if named:
                return named.group(1)
    raise LabError(f"this machine's mirror offers no linux-image-{ARCHITECTURE} {version}")


def _unpack(scratch: Path, final: Path, release: str) -> None:
    """Unpack image, headers and build tools, and make them usable where they will stand."""
    headers = apt.offered(f"linux-headers-{release}")[0]
    common, kbuild = (
        re.search(pattern, headers.depends)
        for pattern in (r"linux-headers-\S+-common", r"linux-kbuild-[^ ,]+")
    )
    if common is None or kbuild is None:
        raise LabError(f"linux-headers-{release} depends on something else than it used to")
    names = (f"linux-image-{release}", common.group(), kbuild.group())
    for package in (headers, *(apt.offered(name)[0] for name in names)):
        apt.unpack(package, scratch)
    (scratch / "vmlinux").write_bytes(vmlinux.unpack(scratch / f"boot/vmlinuz-{release}"))
    _relocate(scratch / "usr/src", final / "usr/src")
    _unpack_modules(_modules_base(scratch, release) / "lib/modules" / release)
    subprocess.run(["depmod", "-b", str(_modules_base(scratch, release)), release], check=True)
    shutil.rmtree(scratch / "usr/share", ignore_errors=True)


def _unpack_modules(modules: Path) -> None:
    """Unpack each packed module once here, instead of slowly in every emulated guest."""
    packed = [str(path) for path in modules.rglob("*.ko.xz")]
    for start in range(0, len(packed), 500):
        subprocess.run(["xz", "--decompress", *packed[start : start + 500]], check=True)


def _modules_base(directory: Path, release: str) -> Path:
    """What depmod calls the base directory: `lib/modules/RELEASE` lies below it."""
    merged = directory / "usr"
    return merged if (merged / "lib/modules" / release).is_dir() else directory


def _relocate(source: Path, final: Path) -> None:
    """Point the makefiles of the headers at where they will stand instead of /usr/src."""
    for makefile in source.glob("linux-headers-*/**/Makefile"):
        if makefile.is_symlink():
            continue
        text = makefile.read_text()
        moved = text.replace("/usr/src/linux-headers-", f"{final}/linux-headers-")
        if moved != text:
            makefile.write_text(moved)


def _describe(version: str, directory: Path) -> Kernel:
    release = directory.name
    headers = directory / "usr/src" / f"linux-headers-{release}"
    compiler = "gcc"
    for line in (headers / ".config").read_text().splitlines():
        if line.startswith("CONFIG_GCC_VERSION="):
            compiler = f"gcc-{int(line.partition('=')[2]) // 10000}"
    return Kernel(
        version,
        release,
        directory / "vmlinux",
        _modules_base(directory, release) / "lib/modules" / release,
        headers,
        compiler,
    )


def build_module(
    kernel: Kernel, checks: bool = False, source: Path = PROJECT / "kmod", name: str = "xt_saru"
) -> Path:
    """The module `name` in `source` for `kernel`; make's output lies beside it in `build.log`.

    With `checks` the build runs with W=1 and sparse, and the log is for reading.
    """
    words = [kernel.release, "checks" if checks else "plain"]
    extra = ["W=1", "C=1"] if checks else []
    command = [
        *("make", "-C", str(kernel.headers), f"CC={kernel.compiler}"),
        # The headers carry no kernel with type information for pahole to work from.
        *("CONFIG_DEBUG_INFO_BTF_MODULES=", *extra, "modules"),
    ]
    return _build([source], words, command, f"{source.name}/{name}.ko", by_kernel=True)


def build_extension() -> Path:
    """`libxt_saru.so`, the extension of iptables, for this machine."""
    sources = [PROJECT / "kmod", PROJECT / "iptables_ext"]
    return _build(sources, [], ["make", "libxt_saru.so"], "iptables_ext/libxt_saru.so")


def _build(
    sources: list[Path], words: list[str], command: list[str], product: str, by_kernel: bool = False
) -> Path:
    """Build copies of `sources`, which lie side by side as in the project, in the cache."""
    built = cache.root() / "builds" / f"{Path(product).stem}-{cache.content_key(sources, *words)}"
    with cache.locked(built.name):
        if not built.is_dir():
            cache.say(f"building {Path(product).name}{' for ' + words[0] if words else ''}")
            with cache.made_aside(built) as scratch:
                for source in sources:
                    for path in cache.sources(source):
                        copy = scratch / path.relative_to(source.parent)
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(path, copy)
                where = (scratch / product).parent
                at = [f"M={where}"] if by_kernel else ["-C", str(where)]
                log = _make([command[0], *at, *command[1:]])
                (scratch / "build.log").write_text(log)
                if not (scratch / product).is_file():
                    raise LabError(f"{' '.join(command)} made no {product}:\n{log}")
    return built / product


def _make(command: list[str]) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    if done.returncode:
        raise LabError(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def main(words: list[str]) -> int:
    """The program: prints the path of each thing it made or found."""
    actions = {"fetch": lambda k: k.image, "module": build_module}
    try:
        if words[:1] == ["extension"]:
            print(build_extension())
        elif words and words[0] in actions:
            for version in words[1:] or VERSIONS:
                print(actions[words[0]](fetch(version)))
        else:
            print("usage: kernels fetch|module|extension [VERSION...]", file=sys.stderr)
            return 2
    except LabError as error:
        print(f"kernels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

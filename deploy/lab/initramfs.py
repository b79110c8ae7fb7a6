# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's initial file system: finds the host's root file system and starts the agent.

It holds busybox, the few modules that the road there needs, and the script below.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

from deploy.lab import cache
from deploy.lab.cache import LabError
from deploy.lab.kernels import Kernel

BUSYBOX = Path("/bin/busybox")
# crc32c_generic is what libcrc32c, and so erofs, asks the kernel for by another name.
MODULES = (
    *("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console", "virtio_net"),
    *("virtio_blk", "crc32c_generic", "erofs"),
)

# What the kernel does not know of its command line is handed to us as arguments and
# environment: saru_name; saru_agent, saru_modules (paths on the host); saru_shown (more paths);
# saru_shares (TAG:PATH for each directory of the host that the guest may write to);
# saru_disks (DISK/DIRECTORY:PATH for each directory of a disk and what it is laid over).
SCRIPT = """#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "init: $module failed"; done
if [ -n "$saru_probe" ]; then
    echo "saru-probe-ok" > /dev/ttyS0
    poweroff -f
fi
ip link set lo up
hostname "$saru_name"
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=65536,cache=loose host /lower
mount -t tmpfs -o mode=755 upper /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root
cd /root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts -o ptmxmode=666 devpts dev/pts
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t debugfs debug sys/kernel/debug
mkdir -p run/lock run/netns
for shown in $saru_shown; do
    mkdir -p .$shown
    mount -o bind /lower$shown .$shown
done
for share in $saru_shares; do
    mkdir -p .${share#*:}
    mount -t 9p -o trans=virtio,version=9p2000.L,cache=none ${share%%:*} .${share#*:}
done
for covered in $saru_disks; do
    from=${covered%%:*}
    disk=${from%%/*}
    if [ ! -d /disks/$disk ]; then
        mkdir /disks/$disk
        mount -t erofs -o ro /dev/$disk /disks/$disk
    fi
    mount -o bind /disks/$from .${covered#*:}
done
mkdir -p lib/modules/$(uname -r)
mount -o bind ./$saru_modules lib/modules/$(uname -r)
echo "$saru_name" > etc/hostname
echo "127.0.0.1 localhost $saru_name" > etc/hosts
umount /sys /proc
exec switch_root /root /usr/bin/python3 -I -S $saru_agent
"""


def build(kernel: Kernel) -> Path:
    """The initial file system for `kernel`, in the cache."""
    if not BUSYBOX.is_file():
        raise LabError(f"no {BUSYBOX}: run deploy/setup packages (it installs busybox-static)")
    key = cache.content_key([], kernel.release, SCRIPT, " ".join(MODULES))
    path = cache.root() / "builds" / f"initramfs-{key}"
    with cache.locked(path.name):
        if not path.is_dir():
            with cache.made_aside(path) as scratch:
                (scratch / "initramfs.cpio").write_bytes(b"".join(_archive(kernel)))
    return path / "initramfs.cpio"


def _archive(kernel: Kernel) -> Iterator[bytes]:
    for name in ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "disks", "root"):
        yield _entry(name, stat.S_IFDIR | 0o755)
    yield _entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield _entry("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))
    yield _entry("init", stat.S_IFREG | 0o755, SCRIPT.encode())
    yield _entry("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes())
    order = load_order(kernel, MODULES)
    for path in order:
        yield _entry(f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes())
    names = "\n".join(path.name for path in order) + "\n"
    yield _entry("modules/order", stat.S_IFREG | 0o644, names.encode())
    yield _entry("TRAILER!!!", 0)


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One file as `newc` cpio has it: hex fields, name and data padded to four bytes."""
    named = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(named), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + named
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def load_order(kernel: Kernel, names: tuple[str, ...]) -> list[Path]:
    """The files of the modules `names` and all they depend on, in the order to load them.

    A module that is built into the kernel has no file; a name that is neither is an error.
    """
    depends: dict[str, tuple[str, list[str]]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        depends[_plain(file)] = (file, [_plain(other) for other in needed.split()])
    builtin = {
        _plain(line) for line in (kernel.modules / "modules.builtin").read_text().splitlines()
    }
    order: list[str] = []

    def add(name: str) -> None:
        if name in builtin:
            return
        if name not in depends:
            raise LabError(f"kernel {kernel.release} has no module {name}")
        file, needed = depends[name]
        # Listed with the immediate needs first: the last is the one that stands alone.
        for other in reversed(needed):
            add(other)
        if file not in order:
            order.append(file)

    for name in names:
        add(name)
    return [kernel.modules / file for file in order]


def _plain(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")

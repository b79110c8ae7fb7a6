# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU: the command line of a guest, and whether KVM is of use on this host."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import cache, channel, initramfs
from deploy.lab.cache import LabError
from deploy.lab.kernels import Kernel

PROGRAM = "qemu-system-x86_64"
PROBE_SECONDS = 10
PROBE_TOKEN = b"saru-probe-ok"
ALWAYS = (
    # Whatever goes wrong in the kernel ends the guest, and QEMU with it.
    "panic=-1 oops=panic panic_on_warn=1 console=ttyS0 quiet loglevel=4 "
    # Where programs lie differs with every start otherwise, and emulation translates them anew.
    "norandmaps mitigations=off random.trust_cpu=on net.ifnames=0 no_timer_check"
)


@dataclass(frozen=True)
class Nic:
    """A network card: `tap` exists already, in the namespace that the guest's QEMU runs in."""

    tap: str
    mac: str


def base_command(kernel: Kernel, accel: str, memory_mb: int, cpus: int) -> list[str]:
    """The machine alone: no disk, no network, no monitor."""
    # Five-level page tables cost an emulated guest time and buy it nothing.
    model = "host" if accel == "kvm" else "max,la57=off"
    return [
        *(PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "pc,usb=off,smbus=off,hpet=on,vmport=off", "-accel", accel, "-cpu", model),
        *("-m", str(memory_mb), "-smp", str(cpus)),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs.build(kernel))),
    ]


def command(
    kernel: Kernel,
    accel: str,
    directory: Path,
    *,
    memory_mb: int,
    cpus: int,
    nics: Sequence[Nic],
    shares: Sequence[Path],
    disks: Sequence[Path],
    icount: bool,
    append: str,
) -> list[str]:
    """The whole command line of a guest whose sockets and logs lie in `directory`."""
    words = base_command(kernel, accel, memory_mb, cpus)
    # Emulated, the time stamp counter is the host's, whose rate a guest on a busy host
    # misjudges; the HPET's rate is given. With icount all clocks are one.
    clock = "clocksource=hpet" if accel == "tcg" and not icount else ""
    words += ["-append", f"{ALWAYS} {clock} {append}"]
    if icount:
        words += ["-icount", "shift=0"]
    words += [
        "-fsdev",
        "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        "-chardev",
        f"socket,id=console,path={directory}/console,server=on,wait=off,"
        f"logfile={directory}/console.log",
        *("-serial", "chardev:console"),
        *("-device", f"virtio-serial-pci,max_ports={channel.PORTS + 1}"),
    ]
    for number in range(channel.PORTS):
        name = f"agent.{number}"
        words += ["-chardev", f"socket,id=a{number},path={directory}/{name},server=on,wait=off"]
        words += ["-device", f"virtserialport,chardev=a{number},name=saru.{number}"]
    for number, disk in enumerate(disks):
        words += ["-drive", f"if=none,id=d{number},format=raw,readonly=on,file={disk}"]
        words += ["-device", f"virtio-blk-pci,drive=d{number}"]
    for number, share in enumerate(shares):
        words += ["-fsdev", f"local,id=s{number},path={share},security_model=none"]
        words += ["-device", f"virtio-9p-pci,fsdev=s{number},mount_tag=share{number}"]
    for number, nic in enumerate(nics):
        words += ["-netdev", f"tap,id=n{number},ifname={nic.tap},script=no,downscript=no"]
        words += ["-device", f"virtio-net-pci,netdev=n{number},mac={nic.mac},romfile="]
    return words


def accelerator(kernel: Kernel) -> str:
    """`kvm` if this kernel boots under it on this host, else `tcg`.

    Asked once for each boot of the host; `$SARU_ACCEL` overrules.
    """
    chosen = os.environ.get("SARU_ACCEL", "")
    if chosen:
        if chosen not in ("kvm", "tcg"):
            raise LabError(f"SARU_ACCEL={chosen}: it can be kvm or tcg")
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with cache.locked(f"kvm-{kernel.release}"):
        answer = _remembered(kernel)
        if not answer:
            cache.say(f"trying kernel {kernel.release} under KVM")
            answer = "kvm" if _probe(kernel) else "tcg"
            remember(kernel, answer)
    return answer


def _note(kernel: Kernel) -> Path:
    return cache.root() / f"accelerator-{kernel.release}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _remembered(kernel: Kernel) -> str:
    try:
        boot, answer = _note(kernel).read_text().split()
    except (FileNotFoundError, ValueError):
        return ""
    return answer if boot == _boot_id() else ""


def remember(kernel: Kernel, answer: str) -> None:
    """Note what works, until this host boots again."""
    _note(kernel).write_text(f"{_boot_id()} {answer}\n")


def _probe(kernel: Kernel) -> bool:
    """Boot the kernel to its initial file system under KVM: it may abort or hang there."""
    words = base_command(kernel, "kvm", 192, 1)
    words += ["-serial", "stdio", "-append", f"{ALWAYS} saru_probe=1"]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
        )
    except FileNotFoundError as error:
        raise LabError(f"no {PROGRAM}: run deploy/setup packages") from error
    except subprocess.TimeoutExpired:
        return False
    return PROBE_TOKEN in done.stdout

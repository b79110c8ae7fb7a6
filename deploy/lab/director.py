# SPDX-License-Identifier: GPL-2.0-or-later
"""What turns a guest into a director: the module, the extension, and the program `saru`."""

import shlex
import subprocess
import sys

from deploy.lab import kernels
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Guest
from deploy.lab.kernels import Kernel

WRAPPER = "/usr/local/bin/saru"
BEGIN = "set -e\n"
"""How a script starts that `file` and `script` add lines to."""


def prepare(guest: Guest) -> None:
    """Load xt_saru into the guest, install libxt_saru.so, and put `saru` on its path."""
    guest.run(["sh", "-s"], input=(BEGIN + script(guest.kernel)).encode())


def script(kernel: Kernel) -> str:
    """`prepare`, as lines for a shell: in an emulated guest one long script beats many short.

    `saru` runs from this checkout, with the interpreter that runs this.
    """
    module = kernels.build_module(kernel)
    extension = kernels.build_extension()
    depends = _said(["modinfo", "--field", "depends", str(module)]).replace(",", " ").split()
    directory = _said(["pkg-config", "--variable", "xtlibdir", "xtables"]).strip()
    wrapper = (
        "#!/bin/sh\n"
        f"PYTHONPATH={PROJECT}${{PYTHONPATH:+:$PYTHONPATH}} exec {sys.executable} -m saru "
        '"$@"\n'
    )
    lines = [f"modprobe -a {' '.join(depends)}"] if depends else []
    lines += [
        shlex.join(["insmod", str(module)]),
        shlex.join(["cp", str(extension), directory]),
        file(WRAPPER, wrapper, 0o755),
    ]
    return "\n".join(lines)


def file(path: str, text: str, mode: int = 0o644) -> str:
    """Lines for a shell that write a file, which nobody sees with a wider mode than `mode`."""
    return (
        f"mkdir -p {shlex.quote(path.rpartition('/')[0])}\n"
        f"(umask 077; cat > {shlex.quote(path)}) <<'END-OF-FILE'\n"
        f"{text.rstrip()}\nEND-OF-FILE\n"
        f"chmod {mode:o} {shlex.quote(path)}\n"
    )


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

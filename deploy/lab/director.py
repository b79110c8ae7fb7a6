# SPDX-License-Identifier: GPL-2.0-or-later
"""What turns a guest into a director: the module, the extension, and the program `saru`."""

import subprocess
import sys
from pathlib import Path

from deploy.lab import kernels
from deploy.lab.cache import PROJECT
from deploy.lab.guest import Guest

WRAPPER = Path("/usr/local/bin/saru")


def prepare(guest: Guest) -> None:
    """Load xt_saru into the guest, install libxt_saru.so, and put `saru` on its path.

    `saru` runs from this checkout, with the interpreter that runs this.
    """
    module = kernels.build_module(guest.kernel)
    extension = kernels.build_extension()
    depends = _said(["modinfo", "--field", "depends", str(module)]).replace(",", " ").split()
    directory = _said(["pkg-config", "--variable", "xtlibdir", "xtables"]).strip()
    wrapper = (
        "#!/bin/sh\n"
        f"PYTHONPATH={PROJECT}${{PYTHONPATH:+:$PYTHONPATH}} exec {sys.executable} -m saru "
        '"$@"\n'
    )
    guest.write_file(str(WRAPPER), wrapper, mode=0o755)
    script = 'set -e; for m in $2; do modprobe $m; done; insmod "$0"; cp "$1" "$3"/'
    guest.run(["sh", "-c", script, str(module), str(extension), " ".join(depends), directory])


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

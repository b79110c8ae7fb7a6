# SPDX-License-Identifier: GPL-2.0-or-later
"""A real systemd in a guest, with a journal.

It is the first process of a PID namespace and sees the guest as it is, but for control groups of
its own. Of the host's units it knows those named here alone, so it is up in a second and starts
none of the host's services; what is to be run is put into /etc/systemd/system, which is empty.
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.lab.cache import PROJECT
from deploy.lab.guest import Done, Guest

UNITS = (
    *("sysinit.target", "basic.target", "sockets.target", "multi-user.target"),
    *("network-online.target", "shutdown.target", "systemd-journald.service"),
    *("systemd-journald.socket", "systemd-journald-dev-log.socket"),
)
"""What a service needs that has the default dependencies and logs to the journal."""
FIRST = r"""
set -e
mount --make-rprivate /
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tmpfs -o mode=755 units /etc/systemd/system
# With a file that is empty, or none, it would be this host's first boot, which takes longer.
rm -f /etc/machine-id
tr -d - < /proc/sys/kernel/random/boot_id > /etc/machine-id
mkdir -p /run/units/sockets.target.wants
for unit in "$@"; do
    where=/run/units
    ln -s "/lib/systemd/system/$unit" "$where/"
    case $unit in *.socket) ln -s "/lib/systemd/system/$unit" "$where/sockets.target.wants/" ;; esac
done
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system:/run/units
export SYSTEMD_GENERATOR_PATH=/nowhere
exec /lib/systemd/systemd --system --unit=basic.target
"""
BOOT = r"""
said=/run/systemd-said
apart="unshare --mount --pid --fork --mount-proc"
setsid $apart bash -c "$0" first "$@" </dev/null >$said 2>&1 &
until pid=$(pgrep --oldest --exact systemd) &&
    nsenter --target="$pid" --mount --pid systemctl --quiet is-active basic.target 2>/dev/null
do
    kill -0 $! 2>/dev/null || { cat $said; exit 1; }
    sleep 0.1
done
echo "$pid"
"""


class Systemd:
    """The systemd of a guest; it is up when this has been made, and ends with the guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._first = guest.run(["bash", "-c", BOOT, FIRST, *UNITS]).stdout.strip()

    def run(self, script: str, *, check: bool = True) -> Done:
        """Run lines for a shell in its midst; the current directory is this project's."""
        among = ["nsenter", f"--target={self._first}", "--mount", "--pid", f"--wdns={PROJECT}"]
        return self._guest.run([*among, "bash", "-c", script], check=check)

    def facts(self, unit: str, *names: str) -> Mapping[str, str]:
        """Properties of a unit, as `systemctl show` has them."""
        shown = self.run(f"systemctl show --property={','.join(names)} {unit}").stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

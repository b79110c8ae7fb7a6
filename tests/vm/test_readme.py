# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command in README.md is run, as it stands there: here, and where its block says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import cache, director, kernels
from deploy.lab.cache import PROJECT
from deploy.lab.channel import Process
from deploy.lab.guest import Guest
from saru.status import State
from tests.vm.readme import KINDS, README, ROOMS, blocks, in_room

PATIENCE = 600.0
"""Seconds that a command may take on a busy host."""


def test_every_block_says_where_it_is_run() -> None:
    assert len(re.findall(r"^```", README.read_text(), re.M)) == 2 * len(blocks())
    for block in blocks():
        if block.kind == "text":
            continue
        assert block.note.startswith(KINDS[block.kind]), f"who runs this?\n{block.text}"
        if block.note.startswith(("run: ", "file: ")):
            assert block.room() in ROOMS, f"nobody runs {block.note}"


def test_what_is_run_elsewhere_is_run_there() -> None:
    elsewhere = [block for block in blocks() if block.note.startswith("run elsewhere: ")]
    assert elsewhere
    for block in elsewhere:
        text = (PROJECT / block.note.removeprefix("run elsewhere: ")).read_text()
        for command in block.commands():
            assert command in text, f"{block.note} does not: {command}"


def test_every_state_of_a_director_is_explained() -> None:
    table = README.read_text().partition("| state | what it is |")[2].partition("\n\n")[0]
    explained = [word for row in table.splitlines() for word in re.findall(r"`(\w+)`", row[:40])]
    assert sorted(set(explained) & set(State)) == sorted(State)


def test_what_is_named_in_the_text_exists() -> None:
    for path in re.findall(r"`((?:deploy|tests|kmod|iptables_ext)/[\w./]+)`", README.read_text()):
        assert (PROJECT / path).exists(), path


# --- director ---------------------------------------------------------------------------------


@pytest.fixture
def walter() -> Iterator[Guest]:
    """A director with the interfaces that the README speaks of, and no configuration yet."""
    with Guest.boot("walter") as guest:
        director.prepare(guest)
        interfaces = [f"link add eth{n} type dummy\nlink set eth{n} up" for n in range(3)]
        interfaces.append("addr add 192.168.6.11/24 dev eth1")
        guest.run(["ip", "-batch", "-"], input="\n".join(interfaces).encode())
        yield guest


def wait_for(pattern: str, process: Process) -> None:
    until = time.monotonic() + PATIENCE
    while not re.search(pattern, process.stdout + process.stderr):
        said = process.stdout + process.stderr
        assert time.monotonic() < until, f"never said {pattern}: {said}"
        time.sleep(0.1)


def test_a_director_as_the_readme_sets_it_up(walter: Guest) -> None:
    left: list[Process] = []
    for block in in_room("director"):
        if block.note.startswith("file: "):
            walter.write_file(block.note.split()[2], block.text)
            continue
        if block.note.endswith("without daemon"):
            for process in left:
                process.kill()
                process.wait(PATIENCE)
        until = re.search(r'until "(.*)"', block.note)
        for command in block.commands():
            if until:
                left.append(walter.start_command(["bash", "-c", f"exec {command}"]))
                wait_for(until.group(1), left[-1])
            else:
                walter.run(["bash", "-c", command], timeout=PATIENCE)
    assert len(left) == 2


def test_the_configurations_are_sound(tmp_path: Path) -> None:
    sound = [b for b in blocks() if b.note == "check: config" or b.note.endswith("saru.conf")]
    assert len(sound) == 6
    for number, block in enumerate(sound):
        path = tmp_path / f"{number}.conf"
        # A path that need not be there on this host.
        path.write_text(re.sub(r"^authkeys.*\n", "", block.text, flags=re.M))
        named = ["unshare", "--uts", "sh", "-c", 'hostname walter && exec "$0" "$@"']
        words = [*named, sys.executable, "-m", "saru", "config", "check"]
        subprocess.run([*words, str(path)], cwd=PROJECT, check=True)


# --- nftables ---------------------------------------------------------------------------------

# A configuration of its own at the usual place, which this host does not see.
OWN_ETC = r"""
set -e
layer=$1 configuration=$2
mount -t tmpfs tmpfs "$layer"
mkdir "$layer/upper" "$layer/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$layer/upper,workdir=$layer/work" overlay /etc
mount -t tmpfs tmpfs /run
mkdir -p /etc/saru
cp "$configuration" /etc/saru/saru.conf
ip link set lo up
exec bash -e -x
"""


def test_a_director_without_the_module(tmp_path: Path) -> None:
    """Configured as the one with it, but for the data plane."""
    (example,) = (b.text for b in in_room("director") if b.note.endswith("saru.conf"))
    assert 'dataplane = "module"' in example
    text = example.replace('dataplane = "module"', 'name = "walter"\ndataplane = "nftables"')
    configuration, layer, programs = tmp_path / "saru.conf", tmp_path / "layer", tmp_path / "bin"
    configuration.write_text(text)
    layer.mkdir()
    programs.mkdir()
    saru = programs / "saru"
    saru.write_text(f'#!/bin/sh\nexec {sys.executable} -m saru "$@"\n')
    saru.chmod(0o755)
    commands = [command for block in in_room("nftables") for command in block.commands()]
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
    words = ["bash", "-c", OWN_ETC, "etc", str(layer), str(configuration)]
    done = subprocess.run(
        ["unshare", "--mount", "--net", *words], input="\n".join(commands), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
        env={**os.environ, **path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


# --- install ----------------------------------------------------------------------------------

# A copy-on-write layer over the root directory; `uname -r` has the headers of a stock kernel.
LAYER = r"""
set -e
layer=$1 project=$2 cache=$3 headers=$4
mount -t tmpfs -o size=2g tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" overlay "$layer/root"
cd "$layer/root"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
resolver=$(readlink -f /etc/resolv.conf || true)
case $resolver in /run/*) install -D "$resolver" ".$resolver" ;; esac
mkdir -p ".$cache"
mount --rbind "$cache" ".$cache"
mkdir -p "lib/modules/$(uname -r)" tmp/saru
ln -sfn "$headers" "lib/modules/$(uname -r)/build"
cp -a "$project/." tmp/saru/
# There is no systemd to talk to: it does as when an image is made.
exec chroot . env SYSTEMD_OFFLINE=1 bash -c 'cd /tmp/saru && exec bash -e -x'
"""


def test_an_installation_as_the_readme_does_it(tmp_path: Path) -> None:
    script = []
    for block in in_room("install"):
        if block.note.startswith("file: "):
            path = block.note.split()[2]
            script.append(
                f"mkdir -p {os.path.dirname(path)}\ncat > {path} <<'END'\n{block.text}END"
            )
        else:
            script += block.commands()
    script += [
        "systemd-analyze verify --man=no saru.service",
        "test -e /etc/systemd/system/multi-user.target.wants/saru.service",
        "/usr/local/bin/saru --version",
        "iptables -m saru --help | grep -- --sense",
        "find /lib/modules -name 'xt_saru.ko*' | grep dkms",
        "echo all done",
    ]
    source = tmp_path / "project"
    names = ("README.md", "pyproject.toml", "LICENSE", "saru", "kmod", "iptables_ext", "deploy")
    for name in names:
        _copy(PROJECT / name, source / name)
    layer = tmp_path / "layer"
    layer.mkdir()
    headers = kernels.fetch("6.1").headers
    words = ["bash", "-c", LAYER, "layer", str(layer), str(source), str(cache.root()), str(headers)]
    done = subprocess.run(
        ["unshare", "--mount", *words],
        input="\n".join(script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("all done")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.o", "*.ko", "__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)

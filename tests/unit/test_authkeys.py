# SPDX-License-Identifier: GPL-2.0-or-later
"""The authkeys file: Linux-HA's format, guarded, every fault with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from saru.config import authkeys
from saru.errors import ConfigError


def errors_of(content: bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        authkeys.parse(content, "keys")
    return caught.value.errors


def test_a_file_from_a_linux_ha_cluster_serves_as_it_stands() -> None:
    keys = authkeys.parse(b"auth 2\n2 sha1 ultramonkey\n", "keys")
    assert keys == authkeys.Keys(signing=2, secrets={2: b"ultramonkey"})


def test_several_keys_comments_and_blank_lines() -> None:
    keys = authkeys.parse(b"# ours\n\n 1 sha256 old\n\t2 md5   new  \nauth 1\n", "keys")
    assert keys == authkeys.Keys(signing=1, secrets={1: b"old", 2: b"new"})


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", 'keys: no line says which key signs; write "auth 1", for example'),
        (b"1 sha256 a\n", 'keys: no line says which key signs; write "auth 1", for example'),
        (b"auth 3\n1 sha256 a\n", 'keys:1: there is no key 3; write a line "3 sha256 SECRET"'),
        (
            b"auth 1\n1 crc\n",
            'keys:2: method "crc" has no secret; write "1 sha256 SECRET"',
        ),
        (
            b"auth 1\n1 sha3 x\n",
            'keys:2: key 1 has no known method; write "1 sha256 SECRET"',
        ),
        (b"auth 1\n1\n", 'keys:2: key 1 has no known method; write "1 sha256 SECRET"'),
        (
            b"auth 1\n1 sha256\n",
            'keys:2: key 1 has no secret; write "1 sha256 SECRET", one word',
        ),
        (
            b"auth 1\n1 sha256 two words\n",
            'keys:2: key 1 has blanks in its secret; write "1 sha256 SECRET", one word',
        ),
        (
            b"auth 1\n1 sha256 a\n1 sha256 b\n",
            "keys:3: key 1 comes twice; number each key anew",
        ),
        (
            b"auth 1\nauth 2\n1 sha256 a\n",
            "keys:2: auth comes twice; keep one line that names the signing key",
        ),
        (
            b"auth 1 2\n1 sha256 a\n",
            'keys:1: auth names one key, the one that signs; write "auth 1", for example',
        ),
        (
            b"auth 0\n1 sha256 a\n",
            'keys:1: "0" is no key number; write a number from 1 to 255',
        ),
        (
            b"auth 1\n256 sha256 a\n1 sha256 b\n",
            'keys:2: "256" is no key number; write a number from 1 to 255',
        ),
        (
            b"auth 1\n\xff\xfe sha256 a\n1 sha256 b\n",
            'keys:2: "\\xff\\xfe" is no key number; write a number from 1 to 255',
        ),
    ],
)
def test_each_fault_names_its_line_and_the_mend(content: bytes, error: str) -> None:
    assert errors_of(content) == [error]


def test_all_faults_are_told_at_once() -> None:
    assert len(errors_of(b"auth x\n0 sha256 a\n1 crc\n")) == 3


def test_no_secret_is_ever_shown() -> None:
    keys = authkeys.parse(b"auth 1\n1 sha256 ultramonkey\n", "keys")
    assert "ultramonkey" not in repr(keys)
    assert "monkey" not in "".join(errors_of(b"auth 1\n1 sha256 ultra monkey\n"))
    assert "monkey" not in "".join(errors_of(b"auth 1\n1 ultramonkey\n"))
    assert "monkey" not in "".join(errors_of(b"auth 1\nultramonkey\n"))


def write(path: Path, mode: int) -> Path:
    path.write_bytes(b"auth 1\n1 sha256 secret\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_guarded_file_is_read(tmp_path: Path, mode: int) -> None:
    assert authkeys.load(write(tmp_path / "authkeys", mode)).secrets == {1: b"secret"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602, 0o700, 0o4600])
def test_a_file_that_is_not_mode_600_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "authkeys", mode)
    with pytest.raises(ConfigError, match=f"is mode {mode:03o}, not 600; chmod 600 {path}"):
        authkeys.load(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "authkeys", 0o600)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to user 65534; chown root"):
        authkeys.load(path)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; write one, mode 600"):
        authkeys.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="is no regular file; name one"):
        authkeys.load(tmp_path)


def test_without_a_file_there_is_the_key_that_everybody_knows() -> None:
    assert authkeys.load(None) == authkeys.NO_SECRET

# SPDX-License-Identifier: GPL-2.0-or-later
"""What may be wrong between a configuration and ZooKeeper is told at the start, in one line."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import topology
from deploy.lab.zookeeper import Ensemble
from saru.config.duration import MS
from saru.config.tree import Tls, Zookeeper
from saru.errors import ConfigError, OutageError, SaruError
from saru.membership import entrance
from saru.membership.keeper import Keeper
from saru.membership.znode import Tie
from tests.net.ensembles import ensemble, run, settings, until

SECURE = 2281
NAME = topology.zookeeper_address("zk1")
ROOT = ("/saru/entrance",)


@pytest.fixture(name="folder", scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's certificate and a director's, and an authority of somebody else."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other"):
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={ca}", "-days", "2"),
            *("-keyout", f"{ca}.key", "-out", f"{ca}.pem"),
        )
    for name in ("server", "director"):
        (folder / "names").write_text(f"subjectAltName=IP:{NAME}\n")
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days"),
            *("2", "-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem"),
        )
        both = (folder / f"{name}.key").read_text() + (folder / f"{name}.pem").read_text()
        (folder / f"{name}-both.pem").write_text(both)
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture(name="server", scope="module")
def secure_server(folder: Path) -> Iterator[Ensemble]:
    """One that is asked in the clear on one port, and by TLS, with certificates, on another."""
    more = {
        "secureClientPort": SECURE,
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location": folder / "server-both.pem",
        "ssl.keyStore.type": "PEM",
        "ssl.trustStore.location": folder / "ca.pem",
        "ssl.trustStore.type": "PEM",
        "ssl.clientAuth": "need",
    }
    with ensemble(1, more) as made:
        yield made


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for long."""
    monkeypatch.setattr(entrance, "PATIENCE", 4)


def told(server: Ensemble, error: type[SaruError], zookeeper: Zookeeper) -> str:
    """What is said of a configuration at the start."""
    with pytest.raises(error) as why:
        enter(server, zookeeper)
    return str(why.value)


def enter(server: Ensemble, zookeeper: Zookeeper) -> None:
    with server.inside():
        run(entrance.enter(zookeeper, ROOT))


def tls(folder: Path, ca: str = "ca", *, certificate: bool = True) -> Tls:
    return Tls(
        ca=folder / f"{ca}.pem",
        certificate=folder / "director.pem" if certificate else None,
        key=folder / "director.key" if certificate else None,
        check_hostname=True,
    )


def secured(server: Ensemble, found: Tls, host: str = NAME) -> Zookeeper:
    made = settings(server, tls=found)
    return Zookeeper(
        hosts=(f"{host}:{SECURE}",),
        session_timeout=1500 * MS,  # a server's first handshakes are slow
        root=made.root,
        failsafe=False,
        digest=None,
        tls=found,
    )


def test_nobody_is_there(server: Ensemble) -> None:
    elsewhere = settings(server)
    elsewhere = Zookeeper(
        hosts=(f"{NAME}:2999", "no-such-host.invalid:2181"),
        session_timeout=400 * MS,
        root="/saru",
        failsafe=False,
        digest=None,
        tls=None,
    )
    text = told(server, OutageError, elsewhere)
    assert "zookeeper.hosts" in text
    assert f"{NAME}:2999: " in text
    assert "there is no host of that name" in text


def test_tls_that_serves(server: Ensemble, folder: Path) -> None:
    enter(server, secured(server, tls(folder)))

    async def work() -> None:
        keeper = Keeper(secured(server, tls(folder)), (), lambda _: None, 60_000 * MS)
        with server.inside():
            keeper.open()
        await until("a session by TLS", lambda: keeper.tie is Tie.CONNECTED)
        await keeper.close(5)

    run(work())


def test_tls_that_does_not(server: Ensemble, folder: Path) -> None:
    assert "its certificate is refused" in told(
        server, OutageError, secured(server, tls(folder, "other"))
    )
    plain = settings(server, tls=tls(folder))
    assert "does it speak TLS?" in told(server, OutageError, plain)
    without = secured(server, tls(folder, certificate=False))
    assert f"{NAME}:{SECURE}: " in told(server, OutageError, without)
    (folder / "director.key").chmod(0o644)
    assert "is mode 644, not 600" in told(server, ConfigError, secured(server, tls(folder)))
    (folder / "director.key").chmod(0o600)
    damaged = Tls(folder / "names", None, None, check_hostname=True)
    assert "zookeeper.ca" in told(server, ConfigError, secured(server, damaged))


def test_a_digest_keeps_others_out(server: Ensemble, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path, text in ((ours, "saru:one\n"), (theirs, "saru:two\n")):
        path.touch(0o600)
        path.write_text(text)
    root = ("/closed", "/closed/saru")
    with server.inside():
        run(entrance.enter(settings(server, digest=ours), root))
        run(entrance.enter(settings(server, digest=ours), root))
        for other in (theirs, None):
            with pytest.raises(SaruError) as why:
                run(entrance.enter(settings(server, digest=other), root))
            assert why.value.exit_status == 1
            assert "zookeeper.digest" in str(why.value)
            assert "two" not in str(why.value)
    theirs.chmod(0o640)
    text = told(server, ConfigError, settings(server, digest=theirs))
    assert "is mode 640, not 600" in text
    ours.write_text("no colon\n")
    assert "USER:PASSWORD" in told(server, ConfigError, settings(server, digest=ours))
    assert "cannot be read" in told(server, ConfigError, settings(server, digest=tmp_path / "no"))


def test_a_server_without_a_quorum_says_so() -> None:
    with ensemble(3) as made:
        for server in made.servers[1:]:
            server.kill()
        text = told(made, OutageError, settings(made))
        assert "its ensemble has no quorum" in text

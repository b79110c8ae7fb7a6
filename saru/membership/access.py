# SPDX-License-Identifier: GPL-2.0-or-later
"""Who this director is to ZooKeeper: its digest, its certificate, and whom it trusts."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from saru.config import guarded
from saru.config.tree import Tls, Zookeeper
from saru.errors import ConfigError


def credentials(zookeeper: Zookeeper) -> tuple[tuple[str, str], ...]:
    """What to authenticate with. Raises ConfigError if the file is not as it should be."""
    if zookeeper.digest is None:
        return ()
    text = guarded.read(zookeeper.digest).decode("utf-8", "replace").strip()
    user, colon, secret = text.partition(":")
    if not (user and colon and secret) or len(text.split()) != 1:
        raise ConfigError([f"{zookeeper.digest}: is not one line USER:PASSWORD; write that"])
    return (("digest", text),)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The TLS settings, as kazoo makes them. Raises ConfigError if a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.check_hostname
    try:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        what = f"zookeeper.ca: {tls.ca}"
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
        if tls.certificate is not None and tls.key is not None:
            what = f"zookeeper.key: {tls.key}"
            guarded.read(tls.key)
            what = f"zookeeper.certificate: {tls.certificate} with {tls.key}"
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as fault:  # ssl's errors are such
        why = fault.strerror or str(fault)
        raise ConfigError([f"{what}: cannot be used: {why}; name files of PEM"]) from None
    return context


def tls_options(tls: Tls) -> Mapping[str, object]:
    """The TLS settings, as kazoo takes them."""
    return {
        "ca": tls.ca and str(tls.ca),
        "certfile": tls.certificate and str(tls.certificate),
        "keyfile": tls.key and str(tls.key),
        "verify_certs": True,
        "check_hostname": tls.check_hostname,
    }

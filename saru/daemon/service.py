# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting the daemon that the configuration asks for."""

from __future__ import annotations

import logging
import os
import signal

from saru.config import Config, authkeys
from saru.daemon import lock, log, realtime
from saru.daemon.daemon import Daemon
from saru.daemon.heartbeat import HeartbeatDaemon
from saru.daemon.zookeeper import ZookeeperDaemon
from saru.link import shared
from saru.rules import install
from saru.state import earlier_lease, earlier_membership

logger = logging.getLogger("saru")


def run(config: Config, debug: bool, log_facility: str | None, *, prepare: bool = False) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises SaruError for what it cannot run without."""
    where = log.destination(
        log_facility, debug=debug, configured=config.log.facility, environment=os.environ
    )
    # Who reads this daemon's pid in the lock may ask it to read its keys again: it is about to.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ids = () if config.witness else [division.id for division in config.ids]
    with lock.held(config.daemon.run, config.cluster.name, ids):
        log.set_up(where, debug=debug or config.log.debug)
        if prepare:
            _prepare(config)
        daemon = _made(config)
        for text in (*config.warnings, *config.caveats()):
            logger.warning("%s", text)
        realtime.run(log.aside(daemon.main()), wanted=config.daemon.realtime)


def _prepare(config: Config) -> None:
    """Put rules and link in order as their commands do, without the start of a program for each:
    after a pause every moment counts. Rules first, so that no packet comes in unjudged."""
    if config.witness:
        return
    done = install.apply(config)
    if config.link is not None:
        done += shared.up(config)
    for line in done:
        logger.info("%s: %s", config.director.name, line)


def _made(config: Config) -> Daemon:
    state, cluster = config.daemon.state, config.cluster.name
    zookeeper = config.by_zookeeper
    keys = authkeys.load(config.heartbeat.authkeys)
    earlier_membership.remember(state, cluster, zookeeper=zookeeper)
    earlier = earlier_lease.remember(state, cluster, config.times.deadtime)
    if zookeeper:
        return ZookeeperDaemon(config, keys, earlier)
    return HeartbeatDaemon(config, keys, earlier)

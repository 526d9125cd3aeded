"""Resident memory of idle connections, each with one subscription."""

from __future__ import annotations

import time

from bench.case import Case, Figures, Row, Settings, at_most
from bench.errors import Invalid
from bench.servers import Server
from bench.swarm import Opened, swarm_worker
from bench.wire import sub
from bench.workers import Team

CONNECTIONS = 5_000
FIRST_CONNECTIONS = 100
"""Opened before the first reading, so that what a server sets up once is not counted."""
SETTLE_S = 1.0


def subscribe(number: int) -> bytes:
    return sub(b"devices.device%05d.command" % number, 1)


def measure(server: Server, settings: Settings) -> Figures:
    connections = settings.scaled(CONNECTIONS)
    with Team() as team:
        first = team.start(swarm_worker, server.target, settings.scaled(FIRST_CONNECTIONS), subscribe)
        first.ask("open")
        before = server.rss_bytes()
        idle = team.start(swarm_worker, server.target, connections, subscribe)
        opened: Opened = idle.ask("open")
        if opened.refused:
            raise Invalid(f"{opened.refused} clients refused")
        time.sleep(SETTLE_S)
        after = server.rss_bytes()
    return {"bytes": (after - before) / connections}


CASES = (
    Case(
        "idle connections",
        (Row("bytes", "memory of an idle connection with one subscription", "B", at_most(0.25)),),
        measure,
        fresh=True,
        rounds_max=3,
    ),
)

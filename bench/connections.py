"""Ten thousand clients that come, hear one message, go and come back, and what a third client notices of it."""

from __future__ import annotations

import time

from bench.case import Case, Figures, Goal, Row, Settings, at_most
from bench.errors import Invalid
from bench.probe import Meanwhile
from bench.servers import Server
from bench.swarm import FanOut, Opened, swarm_worker
from bench.wire import sub
from bench.workers import Team

CLIENTS = 10_000
SUBJECT = b"broadcast"
PAYLOAD_BYTES = 128
AFTERMATH_S = 1.0
"""How long the third client watches after all others vanished."""


def subscribe(number: int) -> bytes:
    return sub(SUBJECT, 1)


def measure_crowd(server: Server, settings: Settings) -> Figures:
    """All connect at once, one publish reaches all of them (again and again), all vanish at once."""
    clients = settings.scaled(CLIENTS)
    figures: Figures = {}
    with Team() as team:
        pings = Meanwhile(team, server.target)
        crowd = team.start(swarm_worker, server.target, clients, subscribe)
        with pings:
            opened: Opened = crowd.ask("open")
        if opened.refused:
            raise Invalid(f"{opened.refused} of {clients} clients refused")
        figures["connect_s"] = opened.seconds
        figures["connect_ping_us"] = pings.latencies.p99_us
        with pings:
            messages, seconds = crowd.ask(FanOut(SUBJECT, PAYLOAD_BYTES, settings.seconds))
        figures["fanout_rate"] = messages * clients / seconds
        figures["fanout_ping_us"] = pings.latencies.p99_us
        with pings:
            crowd.kill()
            time.sleep(min(AFTERMATH_S, settings.seconds))
        figures["vanish_ping_us"] = pings.latencies.p99_us
        figures["vanish_longest_us"] = pings.latencies.longest_us
    return figures


def measure_reconnect(server: Server, settings: Settings) -> Figures:
    """All are connected, the server is killed and started anew, all come back at once."""
    clients = settings.scaled(CLIENTS)
    with Team() as team:
        crowd = team.start(swarm_worker, server.target, clients, subscribe)
        crowd.ask("open")
        server.restart()
        crowd.ask("close")
        opened: Opened = crowd.ask("open")
    return {"seconds": opened.seconds, "refused": float(opened.refused)}


CASES = (
    Case(
        "10,000 clients",
        (
            Row("connect_ping_us", "third client's PING p99 while 10,000 connect", "us", at_most(1.25)),
            Row("fanout_ping_us", "PING p99 while publishes reach 10,000", "us", at_most(1.25)),
            Row("vanish_ping_us", "PING p99 while 10,000 vanish", "us", at_most(1.25)),
            Row("vanish_longest_us", "longest PING while 10,000 vanish", "us"),
            Row("connect_s", "time until the last is subscribed", "s"),
            Row("fanout_rate", "deliveries a second, one publish at a time", "/s"),
        ),
        measure_crowd,
        rounds_max=3,
    ),
    Case(
        "10,000 reconnect",
        (
            Row("seconds", "time until the last of 10,000 is subscribed after a restart", "s", at_most(1.5)),
            Row("refused", "clients refused", "", Goal("value", 0, at_most=True)),
        ),
        measure_reconnect,
        fresh=True,
        rounds_max=3,
    ),
)

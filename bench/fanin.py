"""Many publishers, each at its own slow pace, into one wildcard subscriber: what a message costs that comes alone."""

from __future__ import annotations

import random
import time

from bench.case import Case, Figures, Row, Settings, at_most
from bench.errors import Invalid
from bench.load import counter
from bench.servers import Server
from bench.swarm import Swarm
from bench.wire import Target, barrier, msg_bytes, pub, sub
from bench.workers import Link, Team

PUBLISHERS = 2_000
RATES = (2_000, 10_000)
SECONDS_MIN = 2.0
"""Few messages: a shorter stretch would measure timers and housekeeping."""
PAYLOAD_BYTES = 128
LATE_MAX = 1.1


def subject(device: int) -> bytes:
    return b"telemetry.site%02d.device%04d.temperature" % (device % 20, device)


def fleet(link: Link, target: Target, publishers: int) -> None:
    """Worker: for each (messages a second in all, seconds) publishes at random moments from random connections.

    The moments are drawn from a fixed seed: every server gets the same ones. Answers (messages, seconds taken).
    """
    swarm = Swarm(target, publishers, lambda number: b"")
    opened = swarm.open()
    if opened.refused:
        raise Invalid(f"{opened.refused} of {publishers} clients refused")
    sockets = list(swarm.sockets.values())
    for sock in sockets:
        sock.setblocking(True)
    frames = [pub(subject(device), b"x" * PAYLOAD_BYTES) for device in range(publishers)]
    link.send("ready")
    now, sleep = time.monotonic, time.sleep
    while True:
        rate, seconds = link.receive()
        draw = random.Random(rate)
        plan: list[tuple[float, int]] = []
        moment = draw.expovariate(rate)
        while moment < seconds:
            plan.append((moment, draw.randrange(publishers)))
            moment += draw.expovariate(rate)
        started = now()
        for moment, device in plan:
            wait = started + moment - now()
            if wait > 0:
                sleep(wait)
            sockets[device].send(frames[device])
        for sock in sockets:
            barrier(sock)
        link.send((len(plan), now() - started))


def measure(server: Server, settings: Settings) -> Figures:
    publishers = settings.scaled(PUBLISHERS)
    seconds = max(settings.seconds, SECONDS_MIN) if settings.scale >= 1 else settings.seconds
    frame_bytes = msg_bytes(subject(0), 1, PAYLOAD_BYTES)
    figures: Figures = {}
    with Team() as team:
        subscriber = team.start(counter, server.target, [sub(b"telemetry.>", 1)])
        subscriber.receive()
        devices = team.start(fleet, server.target, publishers)
        devices.receive()
        owed_bytes = 0
        for rate in RATES:
            cpu_s = server.cpu_s()
            messages, took_s = devices.ask((rate, seconds))
            cpu_s = server.cpu_s() - cpu_s
            owed_bytes += messages * frame_bytes
            subscriber.ask(owed_bytes)
            if took_s > seconds * LATE_MAX + 0.3:
                raise Invalid(f"{messages} messages took {took_s:.1f} s instead of {seconds:.1f}")
            figures[f"cpu_us_{rate}"] = cpu_s / messages * 1e6
    return figures


CASES = (
    Case(
        "fan-in 2,000 publishers",
        (
            Row("cpu_us_2000", "server CPU per message at 2,000/s", "us", at_most(0.6)),
            Row("cpu_us_10000", "server CPU per message at 10,000/s", "us", at_most(0.75)),
        ),
        measure,
    ),
)

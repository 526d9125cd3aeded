"""A million subscriptions of one client, literal or with wildcards: memory, SUB/s, cold matches, and their end."""

from __future__ import annotations

import functools
import random
import select
import socket
import time
from collections.abc import Sequence

from bench.case import Case, Figures, Row, Settings, at_least, at_most
from bench.errors import Invalid, Lost
from bench.load import BUFFER_BYTES, SERVER_PINGS_MAX, SILENCE_S
from bench.probe import Meanwhile
from bench.servers import Server
from bench.wire import PING, Target, barrier, connect, msg_bytes, pub, sub
from bench.workers import Link, Team

SUBSCRIPTIONS = 1_000_000
COLD_MESSAGES = 200_000
FIRST_SID = 1_000_000
"""All sids have seven digits, so that frames have one size."""
SETTLE_S = 0.5
AFTERMATH_S = 1.0


def _place(number: int) -> tuple[int, int, int]:
    """Site, device and metric of a subscription's number: 100 sites, 10 metrics a device."""
    return number % 100, number // 1000, number // 100 % 10


def literal(number: int) -> tuple[bytes, bytes]:
    """The pattern of a subscription and a subject that matches it alone."""
    subject = b"telemetry.site%02d.device%03d.metric%d" % _place(number)
    return subject, subject


def wildcard(number: int) -> tuple[bytes, bytes]:
    """Half of them end in `*`, half have it in the middle."""
    site, device, metric = _place(number)
    if number % 2:
        return (
            b"telemetry.site%02d.*.device%03d.metric%d" % (site, device, metric),
            b"telemetry.site%02d.x.device%03d.metric%d" % (site, device, metric),
        )
    prefix = b"telemetry.site%02d.device%03d.metric%d." % (site, device, metric)
    return prefix + b"*", prefix + b"x"


KINDS = {"literal": literal, "wildcard": wildcard}


@functools.lru_cache(maxsize=1)
def prepared(kind: str, count: int, messages: int) -> tuple[bytes, bytes, bytes, int]:
    """All SUB frames; PUB frames that match one each; PUB frames that match none; bytes delivered for the former."""
    name = KINDS[kind]
    frames = b"".join([sub(name(number)[0], FIRST_SID + number) for number in range(count)])
    picked = random.Random(1).sample(range(count), messages)
    subjects = [name(number)[1] for number in picked]
    delivered = sum(msg_bytes(subject, FIRST_SID, 1) for subject in subjects)
    hits = b"".join([pub(subject, b"x") for subject in subjects])
    # One token more: the same way down the tree, and nothing there.
    misses = b"".join([pub(subject + b".none", b"x") for subject in subjects])
    return frames, hits, misses, delivered


def owner(link: Link, target: Target, frames: bytes) -> None:
    """Worker: subscribes everything, answers the seconds; then takes the bytes it is told to and answers when."""
    sock = connect(target)
    started = time.monotonic()
    sock.sendall(frames)
    barrier(sock)
    link.send(time.monotonic() - started)
    buffer = bytearray(BUFFER_BYTES)
    total = 0
    while True:
        owed: int = link.receive()
        link.send("reading")
        while total < owed:
            readable, _, _ = select.select([sock], [], [], SILENCE_S)
            if not readable:
                raise Lost(f"{owed - total} of {owed} bytes are missing")
            got = sock.recv_into(buffer, 0, socket.MSG_TRUNC)
            if not got:
                raise Invalid("the subscriber was cut by the server")
            total += got
        if total - owed not in range(0, SERVER_PINGS_MAX * len(PING) + 1, len(PING)):
            raise Lost(f"{total - owed} bytes too much")
        link.send(time.monotonic())


def once(link: Link, target: Target, blobs: Sequence[bytes]) -> None:
    """Worker: for each blob's index sends it and waits for the PONG; answers (start, PONG)."""
    sock = connect(target)
    link.send("ready")
    while True:
        blob = blobs[link.receive()]
        started = time.monotonic()
        sock.sendall(blob)
        barrier(sock)
        link.send((started, time.monotonic()))


def measure(kind: str, server: Server, settings: Settings) -> Figures:
    count, messages = settings.scaled(SUBSCRIPTIONS), settings.scaled(COLD_MESSAGES)
    frames, hits, misses, delivered_bytes = prepared(kind, count, messages)
    with Team() as team:
        pings = Meanwhile(team, server.target)
        publisher = team.start(once, server.target, (hits, misses))
        publisher.receive()
        before = server.rss_bytes()
        subscriber = team.start(owner, server.target, frames)
        seconds = subscriber.receive()
        time.sleep(min(SETTLE_S, settings.seconds))
        grown = server.rss_bytes() - before
        started, ended = publisher.ask(1)
        miss_s = ended - started
        subscriber.ask(delivered_bytes)
        started, ponged = publisher.ask(0)
        hit_s = max(ponged, subscriber.receive()) - started
        with pings:
            subscriber.kill()
            time.sleep(min(AFTERMATH_S, settings.seconds))
    return {
        "bytes": grown / count,
        "sub_rate": count / seconds,
        "miss_ns": miss_s / messages * 1e9,
        "hit_ns": hit_s / messages * 1e9,
        "vanish_ping_us": pings.latencies.p99_us,
        "vanish_longest_us": pings.latencies.longest_us,
    }


def case(kind: str) -> Case:
    rows = (
        Row("bytes", f"memory of a {kind} subscription", "B", at_most(0.4)),
        Row("miss_ns", "time per message to a cold subject that matches none", "ns", at_most(1.0)),
        Row("hit_ns", "time per message to a cold subject that matches one", "ns", at_most(1.0)),
        Row("sub_rate", "SUB a second", "/s", at_least(1.0)),
        Row("vanish_ping_us", "third client's PING p99 while their client vanishes", "us", at_most(1.25)),
        Row("vanish_longest_us", "longest PING meanwhile", "us"),
    )
    return Case(f"1,000,000 {kind}", rows, functools.partial(measure, kind), fresh=True, rounds_max=3)


CASES = (case("literal"), case("wildcard"))

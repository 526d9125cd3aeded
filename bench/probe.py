"""A third client: how long the server takes to answer a PING while something else goes on.

The prober sends on a schedule and does not wait for answers, so that a stall of 100 ms shows as a hundred late
answers and not as one.
"""

from __future__ import annotations

import collections
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import Invalid
from bench.wire import PING, PONG, Target, connect
from bench.workers import Link, Team

INTERVAL_S = 0.001
SETTLE_S = 0.02


@dataclass(frozen=True)
class Latencies:
    """Percentiles of one stretch."""

    p50_us: float
    p99_us: float
    longest_us: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latencies:
        if not seconds:
            raise Invalid("no answers at all")
        ordered = sorted(seconds)
        return cls(
            p50_us=percentile(ordered, 0.50) * 1e6,
            p99_us=percentile(ordered, 0.99) * 1e6,
            longest_us=ordered[-1] * 1e6,
            count=len(ordered),
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of an ordered sequence lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def prober(link: Link, target: Target) -> None:
    """Worker: pings from "start" to "stop"; then waits for what is outstanding and answers every latency."""
    sock = connect(target)
    link.send("ready")
    while link.receive() == "start":
        link.send(_probe(link, sock))


def _probe(link: Link, sock: socket.socket) -> list[float]:
    now, driver = time.monotonic, link.fileno()
    sent: collections.deque[float] = collections.deque()
    latencies: list[float] = []
    received = b""
    pinging = True
    link.send("started")
    due = now()
    while pinging or sent:
        if pinging and now() >= due:
            sock.sendall(PING)
            sent.append(now())
            # A prober that was not scheduled does not catch up: its own lateness is not the server's.
            due = max(due + INTERVAL_S, now())
        wait = max(0.0, due - now()) if pinging else 5.0
        readable, _, _ = select.select([driver, sock.fileno()], [], [], wait)
        if not readable and not pinging:
            raise Invalid("a PING was not answered within 5 s")
        if sock.fileno() in readable:
            part = sock.recv(65536)
            arrived = now()
            if not part:
                raise Invalid("the prober was cut by the server")
            received += part
            whole = len(received) // len(PONG) * len(PONG)
            for start in range(0, whole, len(PONG)):
                if received.startswith(PONG, start):  # the other frame of this size is the server's own PING
                    latencies.append(arrived - sent.popleft())
            received = received[whole:]
        if driver in readable:
            link.receive()
            pinging = False
    return latencies


class Meanwhile:
    """`with Meanwhile(team, target) as pings: ...; pings.latencies` afterwards."""

    def __init__(self, team: Team, target: Target) -> None:
        self._worker = team.start(prober, target)
        self._worker.receive()
        self._latencies: Latencies | None = None

    def __enter__(self) -> Meanwhile:
        self._worker.ask("start")
        time.sleep(SETTLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.send("stop")
        self._latencies = Latencies.of(self._worker.receive())

    @property
    def latencies(self) -> Latencies:
        """Of the stretch that ended last."""
        assert self._latencies is not None, "still going on"
        return self._latencies

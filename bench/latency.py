"""Request and reply, one at a time, alone and while another client publishes.

Requester and responder are two connections of one process: in strict turn neither ever waits for the other's CPU, and
what is left is the server.
"""

from __future__ import annotations

import socket
import time

from bench.case import Case, Figures, Row, Settings, at_most
from bench.errors import Invalid, Lost
from bench.load import PacedLoad, counter, paced_publisher
from bench.probe import Latencies
from bench.servers import Server
from bench.wire import Target, connect, msg_bytes, pub, sub
from bench.workers import Link, Team

SERVICE = b"service.echo"
PAYLOAD = b"x" * 16
WARM_UP_REQUESTS = 200
BUSY_MESSAGES_PER_S = 500_000
TICKS_PER_S = 1000
BUSY_SUBJECT = b"busy"
BUSY_PAYLOAD_BYTES = 128
LATE_MAX = 1.15
"""A paced publisher that needed this much longer than planned was not served at its rate."""


def requester(link: Link, target: Target, seconds: float) -> None:
    """Worker: requests one at a time for `seconds`, each with a reply subject of its own; answers the latencies."""
    client = connect(target, first=sub(b"_INBOX.bench.*", 1))
    responder = connect(target, first=sub(SERVICE, 1))
    link.send("ready")
    link.receive()
    now = time.perf_counter
    latencies: list[float] = []
    number = 1_000_000  # replies keep one length
    end = now() + seconds
    while now() < end or len(latencies) <= WARM_UP_REQUESTS:
        number += 1
        inbox = b"_INBOX.bench.%d" % number
        request = pub(SERVICE, PAYLOAD, inbox)
        expected = b"MSG %b 1 %b %d\r\n%b\r\n" % (SERVICE, inbox, len(PAYLOAD), PAYLOAD)
        reply = pub(inbox, PAYLOAD)
        answer = b"MSG %b 1 %d\r\n%b\r\n" % (inbox, len(PAYLOAD), PAYLOAD)
        started = now()
        client.sendall(request)
        if (got := responder.recv(4096)) != expected and got.replace(b"PING\r\n", b"") != expected:
            _resume(responder, got, expected)
        responder.sendall(reply)
        if (got := client.recv(4096)) != answer and got.replace(b"PING\r\n", b"") != answer:
            _resume(client, got, answer)
        latencies.append(now() - started)
    link.send(latencies[WARM_UP_REQUESTS:])


def _resume(sock: socket.socket, got: bytes, expected: bytes) -> None:
    """The rare read that was not the whole message and nothing else: a PING of the server first, or a part."""
    while len(got := got.replace(b"PING\r\n", b"")) < len(expected):
        part = sock.recv(4096)
        if not part:
            raise Invalid("cut by the server")
        got += part
    if got != expected:
        raise Lost(f"expected {expected!r}, received {got!r}")


def measure_alone(server: Server, settings: Settings) -> Figures:
    with Team() as team:
        worker = team.start(requester, server.target, settings.seconds)
        worker.receive()
        cpu_s = server.cpu_s()
        latencies = worker.ask("go")
        cpu_s = server.cpu_s() - cpu_s
    result = Latencies.of(latencies)
    return {"p50_us": result.p50_us, "p99_us": result.p99_us, "cpu_us": cpu_s / len(latencies) * 1e6}


def measure_busy(server: Server, settings: Settings) -> Figures:
    """The same while a paced publisher and its subscriber keep the server busy; all of that arrives too."""
    target = server.target
    per_tick = BUSY_MESSAGES_PER_S // TICKS_PER_S
    block = pub(BUSY_SUBJECT, b"x" * BUSY_PAYLOAD_BYTES) * per_tick
    with Team() as team:
        subscriber = team.start(counter, target, [sub(BUSY_SUBJECT, 1)])
        subscriber.receive()
        busy = team.start(paced_publisher, target)
        busy.receive()
        worker = team.start(requester, target, settings.seconds)
        worker.receive()
        lead_s = settings.warm_up_s
        busy.send(PacedLoad((block,), TICKS_PER_S, settings.seconds + 2 * lead_s))
        time.sleep(lead_s)
        latencies = worker.ask("go")
        ticks, took_s = busy.receive()
        subscriber.ask(ticks * per_tick * msg_bytes(BUSY_SUBJECT, 1, BUSY_PAYLOAD_BYTES))
    if took_s > ticks / TICKS_PER_S * LATE_MAX:
        raise Invalid(f"the paced publisher was held to {ticks * per_tick / took_s:,.0f} messages a second")
    result = Latencies.of(latencies)
    return {"p50_us": result.p50_us, "p99_us": result.p99_us}


CASES = (
    Case(
        "request-reply",
        (
            Row("p50_us", "request-reply one at a time, p50", "us", at_most(0.8)),
            Row("p99_us", "p99", "us", at_most(1.0)),
            Row("cpu_us", "server CPU per request", "us"),
        ),
        measure_alone,
    ),
    Case(
        "request-reply busy",
        (
            Row("p99_us", "request-reply p99 beside 500,000 messages/s", "us", at_most(1.25)),
            Row("p50_us", "p50", "us"),
        ),
        measure_busy,
    ),
)

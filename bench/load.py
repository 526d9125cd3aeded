"""The loader: processes that send prebuilt bytes and count received bytes. Nothing is parsed while a load runs.

`publisher` and `counter` are workers (bench.workers); `Flow` joins one publisher with the counters of one measurement
and proves that every message arrived: the publisher ends with PING and PONG, and each subscriber must have received
exactly the bytes of the MSG frames it is owed. The server's own PINGs are the one thing that may come besides.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.errors import Invalid, Lost
from bench.tls_stream import TlsStream
from bench.wire import PING, Target, barrier, connect, connect_tls, msg_bytes, pub, sub
from bench.workers import Link, Team, Worker

BLOCK_BYTES = 256 * 1024
BUFFER_BYTES = 1024 * 1024
WAKE_BYTES = 64 * 1024
"""How much must be pending before a subscriber reads."""
SILENCE_S = 5.0
"""A subscriber that is owed bytes and receives none for this long has lost them."""
POLL_S = 0.5
SERVER_PINGS_MAX = 3
"""PINGs a server may have sent to a subscriber that does not answer, within one round."""


class Source(Protocol):
    """Where a publisher's bytes come from: the same block each time, or one that changes cheaply."""

    data: bytes | bytearray
    messages: int

    def advance(self) -> None:
        """Called after each send, before the next."""


class Block:
    """Copies of one PUB frame, filling about `BLOCK_BYTES`."""

    def __init__(self, subject: bytes, payload_bytes: int, block_bytes: int = BLOCK_BYTES) -> None:
        frame = pub(subject, b"x" * payload_bytes)
        self.messages = max(1, block_bytes // len(frame))
        self.data: bytes | bytearray = frame * self.messages

    def advance(self) -> None:
        pass


@dataclass(frozen=True)
class Sent:
    """A publisher's answer: how many messages, first byte and PONG by the monotonic clock, and its own CPU."""

    messages: int
    started_s: float
    ponged_s: float
    cpu_s: float


@dataclass(frozen=True)
class Received:
    """A counter's answer: when the last byte came, and its own CPU so far."""

    last_s: float
    cpu_s: float


def publisher(link: Link, target: Target, source: Source) -> None:
    """Worker: for each number of seconds it is sent, publishes at full speed that long; answers `Sent`."""
    sock = _open(target)
    send, now = sock.sendall, time.monotonic
    link.send("ready")
    while True:
        seconds: float = link.receive()
        cpu = time.process_time()
        blocks = 0
        started = now()
        end = started + seconds
        while True:
            send(source.data)
            source.advance()
            blocks += 1
            if now() >= end:
                break
        barrier(sock)
        link.send(Sent(blocks * source.messages, started, now(), time.process_time() - cpu))


@dataclass(frozen=True)
class PacedLoad:
    """What `paced_publisher` is asked for: so many times a second, for so long."""

    blocks: tuple[bytes, ...]
    """Sent in turn, one a tick."""
    ticks_per_s: int
    seconds: float


def paced_publisher(link: Link, target: Target) -> None:
    """Worker: sends a block of a `PacedLoad` each tick, by the clock (late ticks are caught up).

    Answers (ticks, seconds taken until the PONG): a server that keeps up takes `seconds`.
    """
    sock = connect(target)
    now, sleep = time.monotonic, time.sleep
    link.send("ready")
    while True:
        load: PacedLoad = link.receive()
        ticks = int(load.seconds * load.ticks_per_s)
        started = now()
        for tick in range(ticks):
            wait = started + tick / load.ticks_per_s - now()
            if wait > 0:
                sleep(wait)
            sock.sendall(load.blocks[tick % len(load.blocks)])
        barrier(sock)
        link.send((ticks, now() - started))


def counter(link: Link, target: Target, subscriptions: Sequence[bytes]) -> None:
    """Worker: one connection per item of `subscriptions` (SUB frames), counting bytes.

    For each number it is sent (bytes that every connection must have received since the start) it waits until they
    have, and answers `Received`.
    """
    poll = select.epoll()
    totals: dict[int, int] = {}
    readers: dict[int, Callable[[], int]] = {}
    buffer = bytearray(BUFFER_BYTES)
    sockets = [_open(target, frames) for frames in subscriptions]
    for sock in sockets:
        totals[sock.fileno()] = 0
        readers[sock.fileno()] = _reader(sock, buffer)
        poll.register(sock.fileno(), select.EPOLLIN)
    _wake_at(sockets, WAKE_BYTES)
    driver = link.fileno()
    poll.register(driver, select.EPOLLIN)
    link.send("ready")
    expected: int | None = None
    last = now = time.monotonic()
    while True:
        for fd, _ in poll.poll(POLL_S):
            if fd == driver:
                expected = link.receive()
                _wake_at(sockets, 1)
                now = time.monotonic()
            else:
                totals[fd] += readers[fd]()
                last = now = time.monotonic()
        if expected is not None:
            if min(totals.values()) >= expected:
                _check_exact(totals, expected)
                link.send(Received(last, time.process_time()))
                expected = None
                _wake_at(sockets, WAKE_BYTES)
            elif time.monotonic() - now > SILENCE_S:
                short = {fd: expected - total for fd, total in totals.items() if total < expected}
                raise Lost(f"{len(short)} of {len(totals)} subscribers lack {sum(short.values())} bytes")


def _wake_at(sockets: Sequence[socket.socket | TlsStream], pending_bytes: int) -> None:
    """Have the kernel report a socket once so much is pending: many subscribers read in large pieces or not at all.

    Without it a subscriber wakes for every write of the server, and a hundred of them take the CPU that the server
    would have used. Not with TLS: there it made nats-server slower, which writes ever smaller pieces then.
    """
    for sock in sockets:
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, pending_bytes)


def _check_exact(totals: dict[int, int], expected: int) -> None:
    allowed = {expected + pings * len(PING) for pings in range(SERVER_PINGS_MAX + 1)}
    wrong = [total - expected for total in totals.values() if total not in allowed]
    if wrong:
        raise Lost(f"{len(wrong)} of {len(totals)} subscribers received too much: {wrong[:5]} bytes")


def _open(target: Target, first: bytes = b"") -> socket.socket | TlsStream:
    return connect_tls(target, first=first) if target.tls else connect(target, first=first)


def _reader(stream: socket.socket | TlsStream, buffer: bytearray) -> Callable[[], int]:
    """A function that takes what has arrived and returns how many bytes it was."""
    if isinstance(stream, TlsStream):
        count = stream.count

        def read_tls() -> int:
            got = count()
            if got < 0:
                raise Invalid("a subscriber was cut by the server")
            return got

        return read_tls

    recv_into, room = stream.recv_into, len(buffer)

    def read() -> int:
        # MSG_TRUNC: the kernel counts and drops the bytes without copying them, so that the loader costs less.
        got = recv_into(buffer, room, socket.MSG_TRUNC)
        if not got:
            raise Invalid("a subscriber was cut by the server")
        return got

    return read


@dataclass(frozen=True)
class Run:
    """One stretch of load, all of it delivered."""

    messages: int
    seconds: float
    """From the first byte sent to the last byte received; to the publisher's PONG where nobody subscribes."""
    loader_cpu_s: float


class Flow:
    """One publisher at full speed and any number of subscribers to the same messages, in two processes."""

    def __init__(
        self, team: Team, target: Target, source: Source, *, subscribers: int, pattern: bytes, frame_bytes: int
    ) -> None:
        self._frame_bytes = frame_bytes
        self._owed_bytes = 0
        self._counter: Worker | None = None
        self._counter_cpu_s = 0.0
        if subscribers:
            self._counter = team.start(counter, target, [sub(pattern, 1)] * subscribers)
            self._counter.receive()
        self._publisher = team.start(publisher, target, source)
        self._publisher.receive()

    @classmethod
    def of_block(
        cls, team: Team, target: Target, *, subscribers: int, payload_bytes: int, subject: bytes = b"foo"
    ) -> Flow:
        """The common case: every message alike."""
        return cls(
            team,
            target,
            Block(subject, payload_bytes),
            subscribers=subscribers,
            pattern=subject,
            frame_bytes=msg_bytes(subject, 1, payload_bytes),
        )

    def run(self, seconds: float) -> Run:
        """Publish for `seconds` and wait until everybody has everything."""
        sent: Sent = self._publisher.ask(seconds)
        if self._counter is None:
            return Run(sent.messages, sent.ponged_s - sent.started_s, sent.cpu_s)
        self._owed_bytes += sent.messages * self._frame_bytes
        received: Received = self._counter.ask(self._owed_bytes)
        cpu_s, self._counter_cpu_s = received.cpu_s - self._counter_cpu_s, received.cpu_s
        ended = max(received.last_s, sent.ponged_s)
        return Run(sent.messages, ended - sent.started_s, sent.cpu_s + cpu_s)

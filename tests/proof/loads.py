"""Loads that go on for long, against a daemon whose memory must stay flat. Bytes are prebuilt from a seed.

Used by the share that the tests run and by `python -m tests.proof`, which runs the whole."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from tests.peers import DEADLINE_S, Daemon, Peer, natslite_server

PARTS = 10
"""Memory is looked at so often."""
WARM_UP_PARTS = 5
"""The match cache (16 MiB) and buffers have their size after these."""
GROWTH_BYTES_MAX = 1024 * 1024
"""From then on. A byte lost per message would be 5 MB of ten million, 24 bytes per connection 1.2 MB of 100,000."""


@dataclass
class Flatness:
    """Resident memory of the daemon after each part of a load."""

    rss_bytes: list[int] = field(default_factory=list)

    @property
    def growth_bytes(self) -> int:
        return self.rss_bytes[-1] - self.rss_bytes[WARM_UP_PARTS - 1]

    def check(self) -> None:
        mib = [round(size / 2**20, 2) for size in self.rss_bytes]
        assert self.growth_bytes <= GROWTH_BYTES_MAX, f"memory grows: {mib} MiB"


@contextlib.contextmanager
def watched(*flags: str) -> Iterator[tuple[Daemon, Flatness]]:
    """A daemon to load. At the end its memory is judged, and it must end in peace."""
    flatness = Flatness()
    with natslite_server(*flags) as daemon:
        yield daemon, flatness
        assert daemon.stop() == 0
        assert not [line for line in daemon.lines if "fault" in line or "Traceback" in line]
    flatness.check()


# ---- messages

BLOCK_MESSAGES = 2_000
BURST_BYTES = 16 * 1024 * 1024


def block(chance: Random, number: int) -> tuple[bytes, int]:
    """Publishes of all kinds, and how many bytes they make for the subscriber of `t.>` with sid 1."""
    said, due = [], 0
    for i in range(BLOCK_MESSAGES):
        payload = b"x" * chance.choice([0, 1, 16, 16, 16, 100, 1000])
        # half of them seen once or a few times
        subject = b"t.%d.%d" % (number, chance.randrange(10_000)) if i % 2 else b"t.hot.%d" % chance.randrange(100)
        kind = chance.randrange(16)
        if kind == 0:
            header = b"NATS/1.0\r\nA: %d\r\n\r\n" % i
            sizes = b"%d %d" % (len(header), len(header) + len(payload))
            said.append(b"HPUB %b %b\r\n%b%b\r\n" % (subject, sizes, header, payload))
            due += len(b"HMSG %b 1 %b\r\n\r\n" % (subject, sizes)) + len(header) + len(payload)
        elif kind == 1:
            said.append(b"PUB %b reply.to %d\r\n%b\r\n" % (subject, len(payload), payload))
            due += len(b"MSG %b 1 reply.to %d\r\n\r\n" % (subject, len(payload))) + len(payload)
        else:
            said.append(b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload))
            due += len(b"MSG %b 1 %d\r\n\r\n" % (subject, len(payload))) + len(payload)
    return b"".join(said), due


def messages(daemon: Daemon, flatness: Flatness, seed: int, count: int, say: Callable[[str], None]) -> None:
    """`count` messages to one wildcard subscriber, a queue group beside it, and requests that nobody answers."""
    chance = Random(seed)
    with contextlib.ExitStack() as stack:
        publisher, subscriber, *members = [stack.enter_context(Peer(daemon.address)) for _ in range(4)]
        publisher.connect(headers=True, no_responders=True).command(b"SUB _INBOX.> 9")
        subscriber.connect(headers=True).command(b"SUB t.> 1")
        for member in members:
            member.connect().command(b"SUB t.hot.* q 1")
        flow = Flow(publisher, [subscriber, *members])
        flow.burst(*block(chance, 0))
        for part in range(PARTS):
            sent = 0
            while sent < count // PARTS:
                data, due = block(chance, chance.randrange(1 << 30))
                repeats = max(1, min(10, (count // PARTS - sent) // BLOCK_MESSAGES))
                for _ in range(repeats):
                    flow.send(data, due)
                sent += repeats * BLOCK_MESSAGES
                flow.send(b"PUB nobody.%d _INBOX.%d 0\r\n\r\n" % (sent, sent), 0)
            flow.settle()
            flatness.rss_bytes.append(daemon.rss_bytes())
            say(f"{(part + 1) * sent:,} messages, {flatness.rss_bytes[-1] / 2**20:.2f} MiB")


class Flow:
    """Sends for one peer while everybody else's bytes are read; counts those of the first."""

    def __init__(self, publisher: Peer, readers: list[Peer]) -> None:
        self.publisher = publisher
        self.counted = readers[0]
        self.due = self.got = 0
        self.selector = selectors.DefaultSelector()
        for peer in [publisher, *readers]:
            peer.socket.setblocking(False)
            self.selector.register(peer.socket, selectors.EVENT_READ, peer)
        self.buffer = bytearray(1 << 20)

    def send(self, data: bytes, due: int) -> None:
        self.due += due
        rest = memoryview(data)
        self.selector.modify(self.publisher.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self.publisher)
        while rest:
            for key, events in self._wait():
                if key is self.publisher and events & selectors.EVENT_WRITE:
                    with contextlib.suppress(BlockingIOError):
                        rest = rest[self.publisher.socket.send(rest) :]
        self.selector.modify(self.publisher.socket, selectors.EVENT_READ, self.publisher)

    def burst(self, data: bytes, due: int) -> None:
        """Everybody reads late for once, so that what the server keeps for output has its size before memory counts."""
        repeats = BURST_BYTES // len(data)
        self.publisher.socket.settimeout(DEADLINE_S)
        self.publisher.socket.sendall(data * repeats)
        self.publisher.socket.setblocking(False)
        self.due += due * repeats
        self.settle()

    def settle(self) -> None:
        """Until everything has come, and exactly that."""
        while self.got < self.due:
            self._wait()
        assert self.got == self.due, f"{self.got - self.due} bytes too many"

    def _wait(self) -> list[tuple[Peer, int]]:
        ready = [(key.data, events) for key, events in self.selector.select(DEADLINE_S)]
        assert ready, f"nothing happens; {self.due - self.got} bytes have not come"
        for peer, events in ready:
            if events & selectors.EVENT_READ:
                got = peer.socket.recv_into(self.buffer)
                assert got, "closed by the server"
                if peer is self.counted:
                    self.got += got - 6 * self.buffer.count(b"PING\r\n", 0, got)
        return ready


# ---- connections

AT_ONCE = 50

GOODBYES = (b"", b"nonsense\r\n", b"PUB a 5\r\nab", b"-ERR 'bye'\r\n", b"PUB a 99999999\r\n")
"""Last words: none, or what makes the server close."""


def connects(daemon: Daemon, flatness: Flatness, seed: int, count: int, say: Callable[[str], None]) -> None:
    """`count` clients that come, subscribe, talk to each other, and go in every way there is."""
    chance = Random(seed)
    done = 0
    for part in range(PARTS):
        while done < (part + 1) * count // PARTS:
            # addresses of their own: one has only so many ports, and each rests for a while
            source = f"127.{chance.randrange(1, 255)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
            _crowd(daemon, chance, source, min(AT_ONCE, count - done))
            done += AT_ONCE
        flatness.rss_bytes.append(_settled_rss(daemon))
        say(f"{min(done, count):,} connections, {flatness.rss_bytes[-1] / 2**20:.2f} MiB")


def _crowd(daemon: Daemon, chance: Random, source: str, count: int) -> None:
    hello = b'CONNECT {"verbose":false,"name":"n%d"}\r\n' % chance.randrange(1 << 30)
    subs = b"".join(b"SUB s.%d.%d %d\r\n" % (chance.randrange(1 << 20), i, i) for i in range(chance.randrange(4)))
    peers: list[socket.socket] = []
    try:
        for _ in range(count):
            peer = socket.create_connection(daemon.address, DEADLINE_S, (source, 0))
            peers.append(peer)
            peer.sendall(hello + subs + b"SUB all x%d\r\nPUB all 2\r\nhi\r\nPING\r\n" % len(peers))
        for peer in peers:
            heard = b""
            while b"PONG\r\n" not in heard:
                data = peer.recv(1 << 16)
                assert data, f"closed instead of a PONG: {heard!r}"
                heard += data
        for peer in peers:
            peer.sendall(chance.choice(GOODBYES))
            if chance.randrange(4) == 0:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    finally:
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.close()


def _settled_rss(daemon: Daemon) -> int:
    """When the server knows that all are gone: its own descriptors are few then."""
    with Peer(daemon.address) as peer:
        peer.connect()
        end = time.monotonic() + DEADLINE_S
        while daemon.descriptors() > 32:
            assert time.monotonic() < end, f"{daemon.descriptors()} descriptors are still open"
            peer.ping()
        return daemon.rss_bytes()

"""Thousands of connections in one loader process: opened at once, read together, closed at once.

`Swarm` is used inside workers; `swarm_worker` is the worker that the cases about many clients share.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.errors import Invalid, Lost
from bench.wire import CONNECT, PING, PONG, Target, connect, msg_bytes, pub
from bench.workers import Link

OPEN_TIMEOUT_S = 45.0
READ_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Opened:
    """How a swarm came up: from the first connect to the last PONG."""

    seconds: float
    refused: int


class Swarm:
    """`count` connections; number i sends `frames(i)` after its CONNECT."""

    def __init__(self, target: Target, count: int, frames: Callable[[int], bytes]) -> None:
        self._target = target
        self._count = count
        self._frames = frames
        self.sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(65536)
        self._totals: dict[int, int] = {}
        self._owed_bytes = 0

    def open(self) -> Opened:
        """Connect all at once; each waits for INFO, then subscribes, and is done with its PONG."""
        self.close()
        address = (self._target.host, self._target.port)
        started = time.monotonic()
        refused = 0
        for _ in range(self._count):
            sock = socket.socket()
            sock.setblocking(False)
            result = sock.connect_ex(address)
            if result in (0, errno.EINPROGRESS):
                self.sockets[sock.fileno()] = sock
                self._poll.register(sock.fileno(), select.EPOLLIN)
            else:
                refused += 1
                sock.close()
        greeted: dict[int, bool] = {}
        unfinished = len(self.sockets)
        number = 0
        while unfinished:
            events = self._poll.poll(1.0)
            if time.monotonic() - started > OPEN_TIMEOUT_S:
                raise Invalid(f"{unfinished} of {self._count} clients not subscribed in {OPEN_TIMEOUT_S:.0f} s")
            for fd, _ in events:
                sock = self.sockets[fd]
                try:
                    part = sock.recv(4096)
                    if part and fd not in greeted and part.endswith(b"\n"):
                        greeted[fd] = True
                        sock.send(CONNECT + self._frames(number) + PING)
                        number += 1
                        continue
                except OSError:
                    part = b""
                if not part:
                    refused += 1
                    unfinished -= 1
                    self._forget(fd)
                elif PONG in part:
                    unfinished -= 1
        self._totals = dict.fromkeys(self.sockets, 0)
        self._owed_bytes = 0
        return Opened(time.monotonic() - started, refused)

    def read(self, bytes_each: int) -> None:
        """Take what every connection is owed, exactly; the server's own PINGs may come besides."""
        self._owed_bytes += bytes_each
        waiting = {fd for fd, total in self._totals.items() if total < self._owed_bytes}
        totals, sockets, buffer, owed = self._totals, self.sockets, self._buffer, self._owed_bytes
        deadline = time.monotonic() + READ_TIMEOUT_S
        while waiting:
            if time.monotonic() > deadline:
                raise Lost(f"{len(waiting)} of {len(sockets)} clients did not get their message")
            for fd, _ in self._poll.poll(1.0, 1024):
                got = sockets[fd].recv_into(buffer, 0, socket.MSG_TRUNC)
                if not got:
                    raise Invalid("a client was cut by the server")
                totals[fd] += got
                if totals[fd] >= owed:
                    waiting.discard(fd)
                    if (totals[fd] - owed) % len(PING):
                        raise Lost(f"a client received {totals[fd] - owed} bytes too much")

    def close(self) -> None:
        """Close all at once."""
        for sock in self.sockets.values():
            sock.close()
        self.sockets = {}

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        self.sockets.pop(fd).close()


@dataclass(frozen=True)
class FanOut:
    """Asks a swarm worker to publish one message to `subject` so often, each after the last one reached everybody."""

    subject: bytes
    payload_bytes: int
    seconds: float


def swarm_worker(link: Link, target: Target, count: int, frames: Callable[[int], bytes]) -> None:
    """Worker: "open" answers `Opened`; "close" closes all; `FanOut` answers (messages, seconds).

    Killing it closes everything at once too.
    """
    swarm = Swarm(target, count, frames)
    publisher: socket.socket | None = None
    while True:
        request = link.receive()
        if request == "open":
            link.send(swarm.open())
        elif request == "close":
            swarm.close()
            link.send("closed")
        elif isinstance(request, FanOut):
            publisher = publisher or connect(target)
            frame = pub(request.subject, b"x" * request.payload_bytes)
            owed = msg_bytes(request.subject, 1, request.payload_bytes)
            started = time.monotonic()
            messages = 0
            while time.monotonic() - started < request.seconds:
                publisher.sendall(frame)
                swarm.read(owed)
                messages += 1
            link.send((messages, time.monotonic() - started))
        else:
            raise ValueError(f"no such request: {request!r}")

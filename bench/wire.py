"""The few NATS frames the loader needs, as bytes, and the exact sizes of what comes back.

Used by every loader process. Pure, but for `connect` and `barrier`, which do the handshake on a blocking socket.
"""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Protocol

from bench.errors import Invalid
from bench.tls_stream import TlsStream

CONNECT = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
"""Protocol 0, so that no INFO follows later and every received byte is accounted for."""
PING = b"PING\r\n"
PONG = b"PONG\r\n"
SOCKET_TIMEOUT_S = 10
"""How long one blocking send or receive may take before the round is given up."""


@dataclass(frozen=True)
class Target:
    """Where a server listens, and how to talk to it."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def pub(subject: bytes, payload: bytes, reply: bytes = b"") -> bytes:
    """A PUB frame."""
    middle = b" " + reply if reply else b""
    return b"PUB %b%b %d\r\n%b\r\n" % (subject, middle, len(payload), payload)


def sub(subject: bytes, sid: int, queue: bytes = b"") -> bytes:
    """A SUB frame."""
    middle = b" " + queue if queue else b""
    return b"SUB %b%b %d\r\n" % (subject, middle, sid)


def msg_bytes(subject: bytes, sid: int, payload_bytes: int) -> int:
    """Size of the MSG frame that a subscriber receives for a PUB without reply."""
    return len(b"MSG %b %d %d\r\n" % (subject, sid, payload_bytes)) + payload_bytes + 2


class Stream(Protocol):
    """What handshake and barrier need: a socket or a `TlsStream`."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...


def connect(target: Target, *, first: bytes = b"") -> socket.socket:
    """A plain connection that has exchanged INFO, CONNECT and one PING; `first` is sent before that PING."""
    sock = _greeted(target)
    _introduce(sock, first)
    return sock


def connect_tls(target: Target, *, first: bytes = b"") -> TlsStream:
    """The same with the upgrade that follows INFO."""
    assert target.tls is not None, "a target without TLS"
    stream = TlsStream(_greeted(target), target.tls)
    _introduce(stream, first)
    return stream


def _introduce(stream: Stream, first: bytes) -> None:
    stream.sendall(CONNECT + first)
    barrier(stream)


def _greeted(target: Target) -> socket.socket:
    """A connection whose INFO has been read."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Kernel timeouts, since settimeout() would add a poll() to every call.
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SOCKET_TIMEOUT_S, 0))
    sock.connect((target.host, target.port))
    greeting = b""
    while not greeting.endswith(b"\n"):
        part = sock.recv(4096)
        if not part:
            raise Invalid(f"connection closed after {greeting[:80]!r}")
        greeting += part
    return sock


def barrier(sock: Stream) -> None:
    """PING and wait for the PONG: everything sent before has been handled. Only where no MSG can arrive."""
    sock.sendall(PING)
    received = b""
    while PONG not in received:
        try:
            part = sock.recv(65536)
        except (BlockingIOError, ConnectionError) as error:
            raise Invalid(f"no PONG: {error}") from error
        if not part:
            raise Invalid(f"cut by the server, last words {received[-80:]!r}")
        received = received[-256:] + part
        if b"-ERR" in received:
            raise Invalid(f"the server said {received!r}")

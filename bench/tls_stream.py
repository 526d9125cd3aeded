"""TLS for the loader: ciphertext in big reads and writes, so that small records cost no system calls of their own.

Used by `bench.wire` for the handshake and by `bench.load` for everything after.
"""

from __future__ import annotations

import socket
import ssl

from bench.errors import Invalid

READ_BYTES = 256 * 1024
RECORD_BYTES = 16 * 1024
"""The most that one record carries: one read never gives more."""


class TlsStream:
    """A blocking client stream over a connected socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._raw = memoryview(bytearray(READ_BYTES))
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise Invalid("closed during the TLS handshake") from None
        self._flush()

    def fileno(self) -> int:
        return self._sock.fileno()

    def sendall(self, data: bytes | bytearray) -> None:
        self._tls.write(data)
        self._flush()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                if not self._fill():
                    return b""

    def count(self) -> int:
        """Take what one read of the socket gives; the number of plain bytes, or -1 at the end of the stream."""
        if not self._fill():
            return -1
        total, read = 0, self._tls.read
        while True:
            try:
                total += len(read(RECORD_BYTES))
            except ssl.SSLWantReadError:
                return total

    def _fill(self) -> int:
        got = self._sock.recv_into(self._raw)
        self._incoming.write(self._raw[:got])
        return got

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._sock.sendall(data)

"""TLS between the hub and one client: bytes of the socket in and out of the engine's connection.

The hub watches the socket and calls `attend` when it is ready; there is a task only while a handshake or a hold
has a deadline. The handshake follows the INFO that
was sent in clear (P-70). It knows a session and its connection, and no protocol.
"""

from __future__ import annotations

import socket
import ssl

import trio

from natslite.engine.connection import Connection
from natslite.engine.hub import Hub, Watched
from natslite.session import GONE, Session

READ_BYTES = 256 * 1024
"""Read for one client before others get their turn."""

WRITE_BYTES = 256 * 1024
"""Handed to OpenSSL at a time."""

HOLD_S = 0.010


class TlsTransport:
    """One client on TLS."""

    def __init__(self, hub: Hub, session: Session, fd: int, context: ssl.SSLContext, timeout_s: float) -> None:
        self._hub = hub
        self._session = session
        self._connection: Connection = session.connection
        self._context = context
        self._plain: socket.socket | None = socket.socket(fileno=fd)
        self._plain.setblocking(False)
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._tls: ssl.SSLSocket | None = None
        self._secure = False
        self._done = trio.Event()
        self._holding = False
        self._unsent = b""
        self._watched = Watched(self, fd)
        hub.watch(self._watched)
        session.server.start_soon(self._deadline, timeout_s)

    # ---- what the hub and the session call

    def attend(self) -> None:
        """The socket is ready."""
        connection = self._connection
        if connection.is_closed or self._holding:
            return
        if connection.control is not None:
            self._hub.watch(self._watched, reading=False)  # until it is decided: see `go_on`
            return
        try:
            if not self._secure and not self._handshake():
                return
            self._read()
            self.flush()
        except (ssl.SSLError, OSError) as error:
            self._broken(error)

    def go_on(self) -> None:
        """A control verb that took its time has been decided."""
        if not self._connection.is_closed:
            self._hub.watch(self._watched)
            self._hub.again(self._watched)
            self._hub.kick()

    def flush(self) -> None:
        """Sends what is pending, as far as the peer takes it now."""
        connection = self._connection
        try:
            if self._tls is None:
                self._flush_clear()
                return
            if not self._secure:
                return
            while True:
                if not self._unsent:
                    self._unsent = connection.take(WRITE_BYTES)
                    if not self._unsent:
                        break
                sent = self._tls.send(self._unsent)
                self._unsent = self._unsent[sent:]
            self._waiting(writing=False)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            self._waiting(writing=True)
        except (ssl.SSLError, OSError) as error:
            self._broken(error)

    def close(self) -> None:
        """The connection has ended: last words, then the socket goes."""
        sock = self._tls or self._plain
        if sock is None:
            return
        try:
            if self._secure and self._tls is not None:
                self._tls.send(self._unsent + self._connection.take())
        except (ssl.SSLError, OSError):
            pass
        self._hub.unwatch(self._watched)
        self._watched.owner = GONE
        sock.close()
        self._done.set()
        self._plain = self._tls = None

    # ---- steps

    def _flush_clear(self) -> None:
        """INFO, and a refusal of the server's, go out before the handshake."""
        assert self._plain is not None
        data = self._unsent + self._connection.take()
        if data:
            self._unsent = data[self._plain.send(data) :]
            if not self._unsent and not self._connection.is_closed:
                self._tls = self._context.wrap_socket(
                    self._plain, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
                )
                self._plain = None

    def _handshake(self) -> bool:
        """True when it is done."""
        if self._tls is None:
            self.flush()
            if self._tls is None:
                return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._hub.watch(self._watched, reading=True)
            return False
        except ssl.SSLWantWriteError:
            self._hub.watch(self._watched, reading=True, writing=True)
            return False
        self._secure = True
        self._done.set()
        self._hub.watch(self._watched)
        return True

    def _read(self) -> None:
        connection = self._connection
        total = 0
        while self._tls is not None and not connection.is_closed and connection.control is None:
            if total >= READ_BYTES or self._hub.backlogged:
                self._hub.again(self._watched)  # OpenSSL may hold bytes that the socket does not show any more
                return
            try:
                data = self._tls.recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                connection.close("Client Closed", flush=False)
                return
            total += len(data)
            connection.feed(data)
            if connection.control is not None:
                self._session.attend()
            if connection.should_wait:
                self._holding = True
                self._hub.watch(self._watched, reading=False)
                self._session.server.start_soon(self._hold)
                return

    async def _hold(self) -> None:
        """A subscriber is behind: its publishers wait a moment (P-45)."""
        await trio.sleep(HOLD_S)
        self._holding = False
        self.go_on()

    async def _deadline(self, seconds: float) -> None:
        """No text for a peer that does not finish its handshake (P-70)."""
        with trio.move_on_after(seconds):
            await self._done.wait()
        if not self._secure:
            self._connection.close("TLS Handshake Failure", flush=False)
            self._hub.kick()

    def _waiting(self, *, writing: bool) -> None:
        self._hub.watch(self._watched, reading=True, writing=writing)
        self._connection.blocked(writing)
        if writing:
            self._hub.schedule(self._connection)

    def _broken(self, error: Exception) -> None:
        if not self._secure:
            self._session.server.log.error(f"{self._session} - TLS handshake error: {error}")
            self._connection.close("TLS Handshake Failure", flush=False)
        else:
            self._connection.close("Write Error", flush=False)

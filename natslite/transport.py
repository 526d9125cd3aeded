"""TLS between the hub and one client: bytes of the socket in and out of the engine's connection. Rules P-70 to P-74.

Made by the server for each client when TLS is on. The hub watches the socket and calls `attend` when it is ready; there
is a task only while a handshake or a hold has a deadline. The handshake follows the INFO that was sent in clear. It
knows a session and its connection, and no protocol.

What one client may do before others get their turn is limited by bytes and by the clock: decrypting is work, and a
handshake is as much as a thousand messages.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl

import trio

from natslite.engine.connection import CLIENT_CLOSED, FAULT, WRITE_ERROR, Connection
from natslite.engine.hub import Hub, Watched
from natslite.session import GONE as GONE_OWNER
from natslite.session import Session

RECORD_BYTES = 16 * 1024
"""The most that one TLS record carries: more in one call is not faster, and hides that the peer takes some of it."""

READ_BYTES = 256 * 1024
"""Read for one client before others get their turn."""

TAKE_BYTES = 256 * 1024
"""Out of the engine, waiting to be encrypted. It does not count as pending any more."""

WRITE_BYTES = 1024 * 1024
"""Sent to one client before others get their turn."""

TURN_S = 0.002
"""Since the hub's turn ended: who has not had its turn by then waits for the next one (P-49)."""

HOLD_S = 0.010
RELEASED_BYTES = 64 * 1024
"""After a hold so much is read whatever the subscribers do (P-45)."""

DRAINED_BYTES = 1024 * 1024
"""Input thrown away at the end: unread, it would make the system take our last words back from the peer."""

HANDSHAKE_FAILURE = "TLS Handshake Failure"
"""A reason for closing that only TLS has."""

NO_TLS = {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL calls input that is none; the log says it in Go's words."""

GONE = select.EPOLLERR | select.EPOLLHUP


class TlsTransport:
    """One client on TLS."""

    __slots__ = (
        "_allowance",
        "_blocked",
        "_connection",
        "_context",
        "_done",
        "_given_up",
        "_holding",
        "_hub",
        "_interest",
        "_lingering",
        "_plain",
        "_secure",
        "_session",
        "_tls",
        "_unsent",
        "_watched",
    )

    def __init__(self, hub: Hub, session: Session, fd: int, context: ssl.SSLContext, timeout_s: float) -> None:
        self._hub = hub
        self._session = session
        self._connection: Connection = session.connection
        self._context = context
        self._watched = Watched(self, fd)
        self._plain: socket.socket | None = socket.socket(fileno=fd)
        try:
            self._plain.setblocking(False)
            self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            hub.watch(self._watched)
        except OSError:
            self._plain.detach()  # the descriptor is still the caller's
            raise
        self._tls: ssl.SSLSocket | None = None
        self._secure = False
        self._done = trio.Event()
        self._holding = False
        self._lingering = self._given_up = False
        self._allowance = 0
        self._blocked = False
        self._interest = (True, False)
        self._unsent = memoryview(b"")
        session.server.start_soon(self._deadline, timeout_s)

    # ---- what the hub and the session call

    def attend(self) -> None:
        """The socket is ready, or there is more to do than fitted into the last turn."""
        events, self._watched.events = self._watched.events, 0
        if self._connection.is_closed:
            if self._lingering:
                self._session.attend()
            return
        try:
            self._serve(events)
        except (ssl.SSLError, OSError) as error:
            self._broken(error)
        except BaseException:
            self._connection.close(FAULT, flush=False)  # whoever called reports it
            raise

    def _serve(self, events: int) -> None:
        connection = self._connection
        if self._holding or connection.control is not None:  # see `_hold` and `go_on`
            if events & GONE:
                # epoll would say so without end; what the peer had sent is still to be read
                self._hub.unwatch(self._watched)
                self._interest = (False, False)
            else:
                self._wait()
            return
        if trio.current_time() - self._hub.turn.now > TURN_S:
            self._hub.again(self._watched)
            return
        if self._secure or self._handshake():
            self._read()
            if not connection.is_closed:  # else its session has seen to the end already
                self.flush()

    def go_on(self) -> None:
        """A control verb that took its time has been decided, or a hold has ended."""
        if not self._connection.is_closed:
            self._wait()
            self._hub.again(self._watched)  # OpenSSL may hold bytes that the socket does not show any more
            self._hub.kick()

    def flush(self) -> None:
        """Sends what is pending, as far as the peer takes it now."""
        try:
            if self._tls is None:
                self._flush_clear()
            elif self._secure:
                self._flush(WRITE_BYTES)
        except (ssl.SSLError, OSError) as error:
            self._broken(error)

    def is_finished(self) -> bool:
        """Whether the peer has taken what it is to have before the end, or will not; else the session is called."""
        connection = self._connection
        if not connection.flush_first or not self._secure or self._given_up:
            return True
        try:
            self._flush(WRITE_BYTES)
        except (ssl.SSLError, OSError):
            return True
        if not self._blocked and not connection.pending and not self._unsent:
            return True
        if not self._lingering:
            self._lingering = True
            self._session.server.start_soon(self._last_words)
        self._hub.watch(self._watched, reading=False, writing=True)
        return False

    def give_up(self) -> None:
        """The last words have waited long enough."""
        self._given_up = True
        self._session.attend()

    async def _last_words(self) -> None:
        await trio.sleep(self._connection.limits.write_deadline_s)
        self.give_up()

    def close(self) -> None:
        """The connection has ended: last words, unless it was too slow to hear them, then the socket goes."""
        sock = self._tls or self._plain
        if sock is None:
            return
        if self._connection.flush_first:
            with contextlib.suppress(ssl.SSLError, OSError):
                if self._tls is None:
                    sock.send(bytes(self._unsent) + self._connection.take())  # the server's refusal, in clear
                elif self._secure and not self._blocked:
                    self._tls.unwrap()
            with contextlib.suppress(OSError):
                drained = 0
                while drained < DRAINED_BYTES and (data := socket.socket.recv(sock, RECORD_BYTES)):
                    drained += len(data)
        self._hub.unwatch(self._watched)
        sock.close()
        self._done.set()
        self._plain = self._tls = None
        self._unsent = memoryview(b"")
        self._connection.drop_pending()
        self._hub.forget(self._connection)
        self._watched.owner = GONE_OWNER  # breaks the cycle that would keep all of this until the next collection

    # ---- steps

    def _flush_clear(self) -> None:
        """INFO goes out before the handshake."""
        assert self._plain is not None
        data = bytes(self._unsent) + self._connection.take()
        if not data:
            return
        self._unsent = memoryview(data)[self._plain.send(data) :]
        if self._unsent or self._connection.is_closed:
            return
        try:
            self._tls = self._context.wrap_socket(self._plain, server_side=True, do_handshake_on_connect=False)
        except OSError:
            self._hub.unwatch(self._watched)  # the descriptor is closed already, and may soon be somebody else's
            raise
        finally:
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
            self._blocked = False
            self._wait()
            return False
        except ssl.SSLWantWriteError:
            self._blocked = True
            self._wait()
            return False
        self._secure = True
        self._done.set()
        self._blocked = False
        self._wait()
        return True

    def _read(self) -> None:
        connection = self._connection
        total = 0
        while self._tls is not None and not connection.is_closed and connection.control is None:
            if total >= READ_BYTES or self._hub.backlogged or trio.current_time() - self._hub.turn.now > TURN_S:
                self._hub.again(self._watched)
                return
            data = b""
            if not connection.cut:
                try:
                    data = self._tls.recv(RECORD_BYTES)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return
                if not data:
                    connection.close(CLIENT_CLOSED, flush=False)
                    return
            total += len(data)
            used = connection.feed_slice(data, self._allowance)
            self._allowance = max(0, self._allowance - used)
            if connection.control is not None:
                self._session.attend()
            if connection.should_wait and not connection.is_closed:
                self._holding = True
                self._wait()
                self._hub.turn.stalls += 1
                self._session.server.start_soon(self._hold)
                return
        self._wait()

    def _flush(self, bytes_max: int) -> None:
        """Encrypts and sends until nothing is pending, the peer takes no more, or others have waited long enough."""
        connection = self._connection
        assert self._tls is not None
        sent = 0
        try:
            while True:
                if not self._unsent:
                    self._unsent = memoryview(connection.take(TAKE_BYTES))
                    if not self._unsent:
                        break
                if sent >= bytes_max:
                    self._hub.again(self._watched)
                    break
                count = self._tls.send(self._unsent[:RECORD_BYTES])
                self._unsent = self._unsent[count:]
                sent += count
        except (ssl.SSLWantReadError, BlockingIOError):
            return  # the next read goes on with it
        except ssl.SSLWantWriteError:
            if sent:
                connection.blocked(False)  # the deadline is for no progress at all (P-47)
            connection.blocked(True)
            self._hub.schedule(connection)
            self._blocked = True
        else:
            connection.blocked(False)
            self._blocked = False
        self._wait()

    def _wait(self) -> None:
        """Tells the hub what is waited for, when that has changed."""
        wanted = not self._holding and self._connection.control is None, self._blocked
        if wanted != self._interest and not self._connection.is_closed:
            self._interest = wanted
            self._hub.watch(self._watched, reading=wanted[0], writing=wanted[1])

    async def _hold(self) -> None:
        """A subscriber is behind: its publishers wait a moment (P-45)."""
        await trio.sleep(HOLD_S)
        self._holding = False
        self._allowance = RELEASED_BYTES
        self.go_on()

    async def _deadline(self, seconds: float) -> None:
        """No text for a peer that does not finish its handshake (P-72)."""
        with trio.move_on_after(seconds):
            await self._done.wait()
        if not self._secure:
            self._connection.close(HANDSHAKE_FAILURE, flush=False)
            self._hub.kick()

    def _broken(self, error: Exception) -> None:
        if not self._secure:
            reason = getattr(error, "reason", None)
            text = "tls: first record does not look like a TLS handshake" if reason in NO_TLS else str(error)
            self._session.server.log.error(f"{self._session} - TLS handshake error: {text}")
            self._connection.close(HANDSHAKE_FAILURE, flush=False)
        else:
            self._connection.close(WRITE_ERROR, flush=False)

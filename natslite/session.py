"""One client as Python sees it: what CONNECT means, who it is, why it ended. Rules P-1 to P-9 and P-50 to P-56.

Made by the server for each accepted connection. The engine calls nothing here; the server's pump calls `attend`
whenever the engine has a control verb, an end or (for a transport of Python's) output. It knows no socket.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

import trio

from natslite import addresses, connect
from natslite.auth.passwords import Denied
from natslite.engine.connection import (
    AUTHENTICATION_TIMEOUT,
    AUTHENTICATION_VIOLATION,
    CLIENT_CLOSED,
    CONTROL_LINE_EXCEEDED,
    PAYLOAD_EXCEEDED,
    PROTOCOL_VIOLATION,
    SLOW_PENDING,
    SLOW_WRITE,
    STALE,
    Connection,
)
from natslite.options import User
from natslite.trace import Tracer, quoted

if TYPE_CHECKING:
    from natslite.server import Server

FIRST_PING_S = 2.0
"""After CONNECT the first PING comes this early, with up to a fifth more, to measure the round trip (P-46)."""

TURN_S = 0.002
"""For control verbs of one client, before others get their turn (P-49)."""

DROPPED_AT_ONCE = 1024
"""Subscriptions that a second CONNECT takes out in one turn."""

CONNECTIONS_EXCEEDED = "Maximum Connections Exceeded"
BAD_PROTOCOL = "Bad Client Protocol Version"
NEEDS_HEADERS = "No Responders Requires Headers"

TOLD = {
    CONNECTIONS_EXCEEDED: "maximum connections exceeded",
    CONTROL_LINE_EXCEEDED: "maximum control line exceeded",
    PAYLOAD_EXCEEDED: "maximum payload exceeded",
    BAD_PROTOCOL: "invalid client protocol",
    NEEDS_HEADERS: "no responders requires headers support",
}
"""Ends that whoever runs the server should know of, by their reason."""

TOLD_DEBUG = {
    AUTHENTICATION_TIMEOUT: "Authentication Timeout",
    STALE: "Stale Client Connection - Closing",
}


class Transport(Protocol):
    """A way to the peer that the hub does not serve itself (TLS)."""

    def flush(self) -> None:
        """Sends what the connection has pending, as far as the peer takes it."""
        ...

    def go_on(self) -> None:
        """Reads on, after a control verb that took its time."""
        ...

    def is_finished(self) -> bool:
        """Whether the peer has taken what it is to have before the end; if not, `Session.attend` is called again."""
        ...

    def give_up(self) -> None:
        """It has had long enough to take it."""
        ...

    def close(self) -> None:
        """The connection has ended."""
        ...


class Gone:
    """Owner of what has ended: the hub may still name it once. Breaks the cycle of a connection and its session, so
    that ten thousand clients that leave are not left to the garbage collector."""

    def attend(self) -> None:
        pass


GONE = Gone()


class Session:
    """A client from accept to close."""

    __slots__ = (
        "address",
        "connect",
        "connection",
        "deciding",
        "host",
        "label",
        "loopback",
        "port",
        "server",
        "tracer",
        "transport",
        "user",
    )

    def __init__(self, server: Server, connection: Connection, host: str, port: int) -> None:
        self.server = server
        self.connection = connection
        self.host = host
        self.port = port
        self.loopback = addresses.is_loopback(host)
        self.address = addresses.joined(host, port)
        self.label = ""
        self.connect: connect.Connect | None = None
        self.tracer: Tracer | None = None
        self.user: User | None = None
        self.transport: Transport | None = None
        self.deciding = False

    def __str__(self) -> str:
        """As in nats-server's log: address, connection id, and what the first CONNECT said."""
        return f"{self.address} - cid:{self.connection.cid}{self.label}"

    # ---- what the pump calls

    def attend(self) -> None:
        """Does what the engine stopped for."""
        connection, hub = self.connection, self.server.hub
        while connection.control is not None and not self.deciding:
            if not self._decide(connection.control):
                self.deciding = True  # a task of its own goes on with it
                break
            hub.resume(connection)
            if connection.control is not None and trio.current_time() - hub.turn.now > TURN_S:
                hub.later(connection)  # a client may send nothing but these
                break
        if self.transport is not None and not connection.is_closed:
            self.transport.flush()
        if not connection.is_closed or (self.transport is not None and not self.transport.is_finished()):
            return
        if self.server.forget(self):
            self._ended()

    def _decide(self, line: bytes) -> bool:
        """Handles a control verb; False when the answer comes later."""
        connection = self.connection
        if not connection.control_is_connect:
            try:
                connect.decode_object(line)
            except ValueError:
                self._bad_arguments(b"INFO takes a JSON object: INFO {}")
            return True
        try:
            said = connect.decode(line, self.connect)
        except connect.ConnectError as error:
            self._bad_arguments(f"CONNECT {error}".replace("'", '"').encode())
            return True
        if connection.connected and not connection.drop_subscriptions(DROPPED_AT_ONCE):
            self.server.start_soon(self._drop_subscriptions, said)
            return False
        return self._judge(said)

    def _judge(self, said: connect.Connect) -> bool:
        """Lets a CONNECT take effect, or refuses it; False when the answer comes later."""
        self.connect = said
        if said.account or said.new_account:
            self._deny()
            return True
        if self.server.options.auth_required:
            verdict = self.server.authenticator.check_nowait(said)
            if verdict is None:
                self.connection.deadline_at = 0  # it came in time; that others came before it is not its fault
                self.server.start_soon(self._authenticate, said)
                return False
            self._authenticated(said, verdict)
        else:
            self._accept(said)
        return True

    async def _drop_subscriptions(self, said: connect.Connect) -> None:
        """Before a second CONNECT takes effect (P-8): a few in each turn, since others wait (P-49)."""
        while not self.connection.is_closed and not self.connection.drop_subscriptions(DROPPED_AT_ONCE):
            await trio.lowlevel.checkpoint()
        if self.connection.is_closed or self._judge(said):
            self._decided()

    async def _authenticate(self, said: connect.Connect) -> None:
        """A password hash is checked in a thread: it takes longer than the loop may stop."""
        hub, connection = self.server.hub, self.connection
        verdict = await self.server.authenticator.check(said, lambda: not hub.is_gone(connection))
        if verdict is None:
            connection.close(CLIENT_CLOSED, flush=False)
        elif not connection.is_closed:
            self._authenticated(said, verdict)
        self._decided()

    def _decided(self) -> None:
        """Goes on after a control verb that took its time."""
        self.deciding = False
        if self.connection.is_closed:
            return
        self.server.hub.resume(self.connection)
        self.server.hub.kick()
        self.attend()
        if self.transport is not None:
            self.transport.go_on()

    def _authenticated(self, said: connect.Connect, verdict: User | Denied) -> None:
        if isinstance(verdict, Denied):
            self._deny()
        else:
            self.user = verdict
            self._accept(said)

    def _deny(self) -> None:
        self.connection.close(AUTHENTICATION_VIOLATION, error=b"Authorization Violation")

    def _accept(self, said: connect.Connect) -> None:
        connection = self.connection
        headers = said.headers
        if not connection.connected:
            self.label = _label(said)
        if said.protocol not in (0, 1):
            connection.close(BAD_PROTOCOL, error=b"invalid client protocol")
            return
        if said.no_responders and not headers:
            connection.close(NEEDS_HEADERS, error=b"no responders requires headers support")
            return
        if not connection.trusted:
            self.server.trusted(self)
        connection.set_permissions(self.server.permissions_of(self.user))
        interval = self.server.options.ping_interval_s
        connection.accept(
            verbose=said.verbose,
            pedantic=said.pedantic,
            echo=said.echo,
            headers=headers,
            no_responders=said.no_responders,
            after_ping=self.server.info_bytes(self, after_connect=True) if said.protocol == 1 else None,
            first_ping_s=min(interval, FIRST_PING_S) * (1 + random.random() / 5),
        )
        self.server.hub.schedule(connection)

    def _bad_arguments(self, text: bytes) -> None:
        """A person is told and stays; a client is closed without a word (P-14, P-51)."""
        if self.connection.connected:
            self.connection.close(PROTOCOL_VIOLATION)
        else:
            self.connection.error(text)

    def _ended(self) -> None:
        log = self.server.log
        connection = self.connection
        reason = connection.reason
        if self.transport is not None:
            self.transport.close()
            self.transport = None
        connection.owner = GONE
        if self.tracer is not None:
            self.tracer.who = str(self)  # it may still have lines to write, and keeps nothing else alive
        if reason in (SLOW_PENDING, SLOW_WRITE):
            subject, lost = connection.lost
            options = self.server.options
            if reason == SLOW_WRITE:
                limit = f"WriteDeadline of {options.write_deadline_s:g}s exceeded with {lost} total bytes."
            elif lost > options.pending_bytes_max:
                limit = f"MaxPending of {options.pending_bytes_max} Exceeded"
            elif connection.trusted:
                limit = "Too much is pending for all clients together, and most for this one"
            else:
                limit = "Too much is pending before authentication"
            at = f", {quoted(subject)} was too much" if subject else ""
            log.notice(f"{self} - Slow Consumer Detected: {limit}{at}; {lost} bytes lost")
        if reason == AUTHENTICATION_VIOLATION:
            log.error(f"{self} - authentication error{self._claimed()}")
        elif reason in TOLD:
            log.error(f"{self} - {TOLD[reason]}")
        if log.debug_on:
            if reason in TOLD_DEBUG:
                log.debug(f"{self} - {TOLD_DEBUG[reason]}")
            log.debug(f"{self} - Client connection closed: {reason}")

    def _claimed(self) -> str:
        """Who a client that was not let in says it is."""
        said = self.connect
        if said is not None and said.user:
            return f" - User {quoted(said.user)}"
        return ' - Token "[REDACTED]"' if said is not None and said.auth_token else ""


def _label(said: connect.Connect) -> str:
    """What a log shows of a client that was let in: software and name, account and who it says it is."""
    version = f"v{said.version}" if said.version else ""
    name = ":".join(part for part in (version, said.lang, said.name) if part)
    label = f" - {quoted(name)}" if name else ""
    if said.user:
        return f"{label} - {quoted('$G/user:' + said.user)}"
    return f'{label} - "$G/token"' if said.auth_token else label

"""The engine under a fuzzer: connections on one sublist, without sockets, with limits so low that they are met.

Everything that must hold whatever is said is checked here: nothing is kept that cannot matter, the same bytes have the
same outcome however they are cut, and what is gone leaves nothing behind (P-16, P-19, P-40 to P-44)."""

from __future__ import annotations

import contextlib
import socket
from random import Random

from natslite import connect
from natslite.engine.connection import Connection, Limits
from natslite.engine.hub import Hub
from natslite.engine.inbox import Inbox
from natslite.engine.permissions import Permissions
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist
from tests.fuzz.words import pieces, speech

PAYLOAD_BYTES_MAX = 64
LINE_BYTES_MAX = 128
PENDING_BYTES_MAX = 4096
UNREAD_BYTES_MAX = 4096 + 2 * (PAYLOAD_BYTES_MAX + LINE_BYTES_MAX)
"""Memory that is not worth giving back, and a command that is not whole yet. Blanks and what follows PING, of which the
fuzzer says more than that, are not kept."""

ONE_ANSWER_BYTES = 512
"""The frame or the -ERR that was too much."""

SOCKET_BYTES_MAX = 64 * 1024
"""What a socket takes at once."""

RULES = (
    None,
    {"publish_allow": [b"a.>", b"b"], "publish_deny": [b"a.b"]},
    {"subscribe_allow": [b"a.*", b"> q", b"b v.*"], "subscribe_deny": [b"a.b", b"foo.bar r"]},
    {"responses_max": 1},
)


class Silence:
    """Hears what a traced connection says, and what an inbox got, and does nothing about it."""

    def incoming(self, verb: bytes, arguments: bytes) -> None: ...
    def payload(self, body: bytes) -> None: ...
    def outgoing(self, frame: bytes) -> None: ...
    def expired(self, sid: bytes) -> None: ...
    def attend(self) -> None: ...


def decide(connection: Connection) -> None:
    """As a session does it, with whatever CONNECT and INFO say."""
    line = connection.control
    assert line is not None
    try:
        if not connection.control_is_connect:
            connect.decode_object(line)
            return
        said = connect.decode(line)
        connection.accept(
            verbose=said.verbose,
            pedantic=said.pedantic,
            echo=said.echo,
            headers=said.headers,
            no_responders=said.no_responders,
        )
    except ValueError:
        connection.error(b"no")
        if connection.connected:
            connection.close("Protocol Violation")


class Machine:
    """A broker in the hands of a fuzzer."""

    def __init__(self, seed: int) -> None:
        self.turn = Turn()
        self.sublist = Sublist(seed=seed, cache_bytes_max=4096)
        self.limits = Limits(
            payload_bytes_max=PAYLOAD_BYTES_MAX,
            control_line_bytes_max=LINE_BYTES_MAX,
            pending_bytes_max=PENDING_BYTES_MAX,
            subscriptions_max=6,
            subscription_tokens_max=12,
        )
        self.connections: list[Connection] = []

    def add(self, *, trusted: bool = True, rules: int = 0, traced: bool = False) -> Connection:
        """One more client; `rules` is a place in RULES."""
        connection = Connection(self.turn, self.sublist, self.limits, len(self.connections) + 1, trusted=trusted)
        said = RULES[rules]
        if said is not None:
            connection.set_permissions(Permissions(**said))
        if traced:
            connection.set_tracer(Silence())
        self.connections.append(connection)
        return connection

    def feed(self, connection: Connection, data: bytes) -> None:
        """Bytes in, and whatever Python has to decide."""
        connection.feed(data)
        while connection.control is not None:
            decide(connection)
            connection.resume()
        self.check(connection, data)

    def check(self, connection: Connection, data: bytes) -> None:
        kept = connection.unread
        assert kept <= UNREAD_BYTES_MAX + len(data) or connection.is_closed, f"{kept} bytes kept"
        assert connection.pending <= PENDING_BYTES_MAX + ONE_ANSWER_BYTES or not connection.trusted

    def end(self) -> None:
        """Everybody leaves, and nothing is left."""
        for connection in self.connections:
            connection.close("Client Closed", flush=False)
            connection.drop_subscriptions(1 << 20)
            connection.take()
        assert len(self.sublist) == 0
        assert self.turn.pending_bytes == 0


def outcome(data: list[bytes], *, seed: int, trusted: bool, rules: int) -> tuple[bytes, bool, object]:
    """What one client hears, and how it ends."""
    machine = Machine(seed)
    connection = machine.add(trusted=trusted, rules=rules)
    for piece in data:
        machine.feed(connection, piece)
    closed, reason = connection.is_closed, connection.reason
    heard = connection.take()
    machine.end()
    return heard, closed, reason


def check_cuts(chance: Random) -> None:
    """One speech, whole, byte by byte and cut anywhere."""
    said = speech(chance)
    seed = chance.getrandbits(64)
    trusted, rules = chance.randrange(8) > 0, chance.randrange(len(RULES))
    whole = outcome([said], seed=seed, trusted=trusted, rules=rules)
    for cut in ([said[i : i + 1] for i in range(len(said))], pieces(chance, said)):
        other = outcome(cut, seed=seed, trusted=trusted, rules=rules)
        assert other == whole, f"{said!r} cut into {cut!r}: {other} instead of {whole}"


class Owner:
    """What the hub calls for a connection on a socket."""

    def __init__(self, hub: Hub, connection: Connection) -> None:
        self.hub = hub
        self.connection = connection

    def attend(self) -> None:
        while self.connection.control is not None:
            decide(self.connection)
            self.hub.resume(self.connection)


def check_sockets(chance: Random) -> None:
    """The same speech through the hub and a socket, a piece a turn."""
    said = speech(chance)[:SOCKET_BYTES_MAX]
    seed = chance.getrandbits(64)
    rules = chance.randrange(len(RULES))
    whole = outcome([said], seed=seed, trusted=True, rules=rules)
    machine = Machine(seed)
    hub = Hub(machine.turn, spin=False)
    connection = machine.add(rules=rules)
    connection.owner = Owner(hub, connection)
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        hub.add(connection, ours.detach())
        for piece in [*pieces(chance, said), b""]:
            with contextlib.suppress(BrokenPipeError):
                theirs.sendall(piece)
            more = True
            while more:
                for item in hub.poll(0.0):
                    item.owner.attend()
                more = hub.settle()
            machine.check(connection, piece)
        closed, reason = connection.is_closed, connection.reason
        hub.close()
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while data := theirs.recv(1 << 16):  # the hub has closed it
                heard += data
    # who is cut for what is pending loses it (P-44), and with a socket nothing is for long
    if whole[2] != "Slow Consumer (Pending Bytes)":
        assert (heard, closed, reason) == whole, f"{said!r} on a socket: {heard!r}, {reason}, instead of {whole}"


def check_crowd(chance: Random) -> None:
    """Several clients and an inbox, their pieces mixed, some of them reading, some leaving on the way."""
    machine = Machine(chance.getrandbits(64))
    inbox = Inbox(machine.turn, machine.sublist, Silence(), bytes_max=2048)
    inbox.subscribe(chance.choice([b">", b"a.*", b"b"]), 1, chance.choice([None, b"q"]))
    waiting = []
    for _ in range(chance.randrange(2, 5)):
        connection = machine.add(rules=chance.randrange(len(RULES)), traced=chance.randrange(4) == 0)
        waiting.append((connection, pieces(chance, speech(chance, 20))))
    while waiting:
        at = chance.randrange(len(waiting))
        connection, left = waiting[at]
        kind = chance.randrange(12)
        if not left or connection.is_closed or kind == 0:
            connection.close("Client Closed", flush=False)
            connection.drop_subscriptions(1 << 20)
            del waiting[at]
        elif kind == 1:
            connection.take(chance.randrange(200))
        elif kind == 2:
            inbox.drain()
        else:
            machine.feed(connection, left.pop(0))
        machine.turn.now += chance.random()
    inbox.unsubscribe(1)
    machine.end()

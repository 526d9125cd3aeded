"""The engine and the naive broker, fed the same commands of several clients cut into pieces anywhere: every byte to every
client must be as the broker says (P-18 to P-38, P-60 to P-65). No socket and no server is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from natslite import connect
from natslite.engine.connection import Connection, Limits
from natslite.engine.permissions import Permissions
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist
from tests.model.broker import Broker, Client, Message, Rules, frame, valid

# ---- the engine, as far as this test knows it


class Engine:
    """Connections on one sublist, without a hub: bytes in, bytes out."""

    def __init__(self, seed: int) -> None:
        self.turn = Turn()
        self.sublist = Sublist(seed=seed)
        self.limits = Limits()
        self.connections: list[Connection] = []

    def add(self, client: Client) -> None:
        connection = Connection(self.turn, self.sublist, self.limits, len(self.connections) + 1)
        rules = client.rules
        if any((rules.publish_allow, rules.publish_deny, rules.subscribe_allow, rules.subscribe_deny)):
            connection.set_permissions(Permissions(
                publish_allow=rules.publish_allow, publish_deny=rules.publish_deny,
                subscribe_allow=rules.subscribe_allow, subscribe_deny=rules.subscribe_deny,
            ))  # fmt: skip
        self.connections.append(connection)

    def feed(self, at: int, data: bytes) -> None:
        connection = self.connections[at]
        connection.feed(data)
        while connection.control is not None:
            said = connect.decode(connection.control)
            connection.accept(
                verbose=said.verbose, pedantic=said.pedantic, echo=said.echo, headers=said.headers,
                no_responders=said.no_responders,
            )  # fmt: skip
            connection.resume()

    def take(self, at: int) -> bytes:
        return bytes(self.connections[at].take())


# ---- commands


@dataclass(frozen=True)
class Publish:
    message: Message
    spelling: bytes

    def line(self) -> bytes:
        m = self.message
        words = [m.subject] + ([m.reply] if m.reply else [])
        body = m.headers + m.payload
        if self.spelling.upper() == b"HPUB":
            words.append(b"%d" % len(m.headers))
        return self.spelling + b" " + b" ".join([*words, b"%d" % len(body)]) + b"\r\n" + body + b"\r\n"


@dataclass(frozen=True)
class Subscribe:
    subject: bytes
    queue: bytes | None
    sid: bytes

    def line(self) -> bytes:
        return b"SUB " + b" ".join(filter(None, [self.subject, self.queue, self.sid])) + b"\r\n"


@dataclass(frozen=True)
class Unsubscribe:
    sid: bytes
    max: int | None

    def line(self) -> bytes:
        return b"UNSUB %b" % self.sid + (b"" if self.max is None else b" %d" % self.max) + b"\r\n"


@dataclass(frozen=True)
class Ping:
    def line(self) -> bytes:
        return b"PING\r\n"


@dataclass(frozen=True)
class Warn:
    """Stands where the control line of a publish ends."""

    message: Message


Command = Publish | Subscribe | Unsubscribe | Ping

COMMON = st.sampled_from([b"a", b"b", b"a.b", b"a.a", b"a.b.c"])
ODD = st.sampled_from(
    [b"a..b", b".a", b"a.", b"$", b"_R_.a", b"a*", b"\xff", b"*", b">", b"a.*", b"a.>", b"*.b", b"a*.b", b"c.d.e.f"]
)
TOKENS = st.sampled_from([b"a", b"b", b"*", b">"])
SUBJECTS = st.one_of(COMMON, COMMON, COMMON, ODD)
PATTERNS = st.one_of(
    COMMON,
    st.sampled_from([b">", b"*", b"a.*", b"a.>", b"*.b"]),
    st.lists(TOKENS, min_size=1, max_size=3).map(b".".join),
    ODD,
)
SIDS = st.sampled_from([b"1", b"2", b"3", b"four"])
QUEUES = st.sampled_from([None, None, b"q", b"r", b"*"])
HEADERS = st.sampled_from([b"", b"NATS/1.0\r\n\r\n", b"x"])


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    headers = draw(HEADERS)
    # the number makes each payload its own, so that a frame says which message it is; the rest looks like commands
    number = draw(st.integers(0, 1 << 40))
    payload = b"%d" % number + draw(st.sampled_from([b"", b"\r\n", b"\r\nPING\r\n", b"x" * 100]))
    spelling = draw(st.sampled_from([b"HPUB", b"hpub"] if headers else [b"PUB", b"PUB", b"pUb", b"HPUB"]))
    reply = draw(st.one_of(st.none(), SUBJECTS))
    return Publish(Message(draw(SUBJECTS), reply, headers, payload), spelling)


COMMANDS: st.SearchStrategy[Command] = st.one_of(
    publishes(),
    publishes(),
    st.builds(Subscribe, PATTERNS, QUEUES, SIDS),
    st.builds(Subscribe, PATTERNS, QUEUES, SIDS),
    st.builds(Unsubscribe, SIDS, st.one_of(st.none(), st.integers(0, 4))),
    st.just(Ping()),
)
NONE = st.just(Rules())
RULES = st.one_of(NONE, NONE, NONE, st.builds(Rules, *[st.lists(PATTERNS.filter(valid), max_size=2)] * 4))
CLIENTS = st.builds(
    Client, verbose=st.booleans(), pedantic=st.booleans(), echo=st.booleans(), headers=st.just(True), rules=RULES,
    no_responders=st.booleans(),
)  # fmt: skip
PLAIN_CLIENTS = st.builds(Client, verbose=st.booleans(), pedantic=st.booleans(), echo=st.booleans())


class World:
    """Both, side by side."""

    def __init__(self, clients: Sequence[Client], seed: int) -> None:
        self.clients = clients
        self.broker = Broker()
        self.engine = Engine(seed)
        self.heard = [b""] * len(clients)
        for client in clients:
            self.engine.add(client)
        for at, client in enumerate(clients):
            fields = {
                name: getattr(client, name) for name in ("verbose", "pedantic", "echo", "headers", "no_responders")
            }
            text = ",".join(f'"{name}":{str(value).lower()}' for name, value in fields.items())
            self.feed(at, b"CONNECT {" + text.encode() + b"}\r\n")
            self.expect(at, b"+OK\r\n" if client.verbose else b"")
        self.done()

    def feed(self, at: int, data: bytes) -> None:
        self.engine.feed(at, data)
        for i in range(len(self.clients)):
            self.heard[i] += self.engine.take(i)

    def expect(self, at: int, wanted: bytes) -> None:
        assert self.heard[at].startswith(wanted), f"client {at}: wanted {wanted!r}, heard {self.heard[at]!r}"
        self.heard[at] = self.heard[at][len(wanted) :]

    def done(self) -> None:
        """Nobody has heard more than was expected."""
        assert not any(self.heard), self.heard

    def carry_out(self, at: int, command: Command | Warn) -> None:
        """The broker does what the engine has done, and the outcome is compared."""
        client = self.clients[at]
        if isinstance(command, Ping):
            self.expect(at, b"PONG\r\n")
        elif isinstance(command, Subscribe):
            self.expect(at, self.broker.subscribe(client, command.subject, command.queue, command.sid))
        elif isinstance(command, Unsubscribe):
            self.expect(at, self.broker.unsubscribe(client, command.sid, command.max or 0))
        elif isinstance(command, Warn):
            self.expect(at, self.broker.warning(client, command.message))
        else:
            self.publish(at, client, command.message)

    def publish(self, at: int, client: Client, message: Message) -> None:
        said, goes_on = self.broker.answer(client, message)
        self.expect(at, said)
        if not goes_on:
            return
        waiting = self.broker.receivers(client, message)
        if not waiting:
            notices = self.broker.nobody(client, message)
            if notices:
                self.expect(at, next((notice for notice in notices if self.heard[at].startswith(notice)), notices[0]))
            return
        # any order, and any one of a group: take off whatever frame comes first and is due
        while waiting:
            for choice in waiting:
                due = next((sub for sub in choice if self.comes(sub.client, frame(sub, message))), None)
                if due is not None:
                    self.expect(self.place(due.client), frame(due, message))
                    self.broker.delivered(due)
                    waiting.remove(choice)
                    break
            else:
                missing = [[(self.place(sub.client), frame(sub, message)) for sub in choice] for choice in waiting]
                raise AssertionError(f"did not come: {missing}; heard {self.heard}")

    def place(self, client: Client) -> int:
        return next(i for i, other in enumerate(self.clients) if other is client)

    def comes(self, client: Client, wanted: bytes) -> bool:
        return self.heard[self.place(client)].startswith(wanted)


@settings(max_examples=4 * settings.default.max_examples)
@given(
    clients=st.lists(st.one_of(CLIENTS, PLAIN_CLIENTS), min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.lists(COMMANDS, min_size=3, max_size=8)), min_size=4, max_size=20),
    seed=st.integers(0, 2**64 - 1),
    cuts=st.randoms(use_true_random=False),
    style=st.sampled_from(["whole", "bytes", "cuts"]),
)
def test_engine(
    clients: list[Client], steps: list[tuple[int, list[Command]]], seed: int, cuts: object, style: str
) -> None:
    """Each client's commands in order, in pieces; between two pieces of one client another may speak."""
    world = World(clients, seed)
    unsent = [b""] * len(clients)
    begun: list[list[tuple[int, Command | Warn]]] = [[] for _ in clients]
    fed = [0] * len(clients)
    ends = [0] * len(clients)

    def feed(at: int, count: int) -> None:
        piece, unsent[at] = unsent[at][:count], unsent[at][count:]
        fed[at] += len(piece)
        world.feed(at, piece)
        while begun[at] and begun[at][0][0] <= fed[at]:
            world.carry_out(at, begun[at].pop(0)[1])
        world.done()

    for step, commands in steps:
        at = step % len(clients)
        for command in commands:
            if isinstance(command, Publish) and command.spelling.upper() == b"HPUB" and not clients[at].headers:
                continue  # closes the connection: the differential test has it
            line = command.line()
            unsent[at] += line
            if isinstance(command, Publish):
                begun[at].append((ends[at] + line.index(b"\n") + 1, Warn(command.message)))
            ends[at] += len(line)
            begun[at].append((ends[at], command))
        if style == "whole":
            feed(at, len(unsent[at]))
        elif style == "bytes":
            while unsent[at]:
                feed(at, 1)
        else:
            feed(at, cuts.randint(0, len(unsent[at])))  # type: ignore[attr-defined]
    for at in range(len(clients)):
        feed(at, len(unsent[at]))

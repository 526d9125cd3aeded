"""What one client may make the others wait for, and what it gets itself before the end (P-45, P-49, P-52, P-82)."""

from __future__ import annotations

import contextlib
import ssl
import struct
import threading
from collections.abc import AsyncIterator

import bcrypt
import pytest
import trio
import trio.testing

from natslite import Permissions, User, open_server
from natslite.auth import passwords
from natslite.client import NoResponders
from natslite.engine.connection import Connection, Limits
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist
from natslite.server import Server
from tests.natslite.wires import Certificates, Wire, dial
from tests.peers import DEADLINE_S

MESSAGES = 40
BODY = b"x" * 500_000
"""Forty of them are far more than sockets hold."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls"])
def secure(request: pytest.FixtureRequest, certificates: Certificates) -> dict[str, object]:
    """Options of a server."""
    return {"tls": certificates.options()} if request.param == "tls" else {}


@pytest.fixture
def context(secure: dict[str, object], certificates: Certificates) -> ssl.SSLContext | None:
    """What its clients need."""
    return certificates.client() if secure else None


# ---- slices of a turn


def crowd_of(verb: bytes, count: int, **said: bool) -> Connection:
    """A client with many subscriptions, each from `verb` and its number."""
    connection = Connection(Turn(), Sublist(), Limits(), 1)
    fields = {"verbose": False, "pedantic": False, "echo": True, "headers": False, "no_responders": False, **said}
    connection.accept(**fields)  # type: ignore[arg-type]
    connection.feed(b"".join(verb.replace(b"#", b"%d" % number) + b"\r\n" for number in range(count)))
    assert connection.subscriptions == count
    return connection


@pytest.mark.parametrize(
    ("subscribe", "said", "publish"),
    [
        (b"SUB a #", {"echo": False}, b"PUB a 0\r\n\r\n"),
        (b"SUB _INBOX.> q #", {}, b"PUB _INBOX.a 0\r\n\r\n"),
        (b"SUB a.# #", {}, b"PUB a.1 0\r\n\r\n" * 100),
    ],
    ids=["passed over", "a large group", "no work at all"],
)
def test_what_finds_nobody_is_work_too(subscribe: bytes, said: dict[str, bool], publish: bytes) -> None:
    """P-49: a slice ends by what was walked, not by what was sent alone."""
    connection = crowd_of(subscribe, 20_000, **said)
    script = publish * (256 * 1024 // len(publish))
    used = connection.feed_slice(script)
    if len(publish) < 100:
        assert connection.cut
        assert 0 < used < len(script) // 10
        for _ in range(3):
            assert 0 < connection.feed_slice() < len(script) // 10
    else:
        assert not connection.cut
        assert used == len(script)


async def test_control_verbs_alone_do_not_keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-49: whoever says CONNECT all the time is heard again after the others."""
    order: list[int] = []
    async with open_server(port=-1) as server, dial(server) as busy, dial(server) as other:
        await other.connect()
        many = 5000
        await busy.send(b'CONNECT {"verbose":false}\r\n' * many + b"PUB done 0\r\n\r\nPING\r\n")
        client = await server.connect()
        with client.subscribe("done") as done:
            await other.command()
            order.append(1)
            await done.next()
            order.append(2)
        assert await busy.until(b"PONG\r\n")
    assert order == [1, 2]


async def test_control_verbs_through_tls_do_not_either(certificates: Certificates) -> None:
    """P-49: measured in CPU time of the loop, which was 50 to 100 ms."""
    async with open_server(port=-1, tls=certificates.options()) as server, dial(server, certificates.client()) as wire:
        await wire.connect()
        server.turn_longest_since_read_s()
        await wire.send(b"INFO {}\r\n" * 30_000)
        await wire.command()
        assert server.turn_longest_since_read_s() < 0.03


# ---- last words


async def behind(server: Server, wire: Wire) -> None:
    """Leaves much pending for a wire that subscribes to it."""
    await wire.connect()
    await wire.command(b"SUB a 1")
    client = await server.connect()
    for _ in range(MESSAGES):
        await client.publish("a", BODY)
    client.close()


@contextlib.asynccontextmanager
async def serving(options: dict[str, object]) -> AsyncIterator[Server]:
    async with open_server(port=-1, pending_bytes_max=1 << 30, **options) as server:
        yield server


async def test_an_error_comes_after_what_was_pending(secure: dict[str, object], context: ssl.SSLContext | None) -> None:
    """P-13: closed after it has been sent."""
    async with serving(secure) as server, dial(server, context, receive_bytes=65536) as wire:
        await behind(server, wire)
        await wire.send(b"nonsense\r\n")
        heard = await wire.eof()
    assert heard.count(BODY) == MESSAGES
    assert heard.endswith(b"-ERR 'Unknown Protocol Operation'\r\n")


async def test_a_stopping_server_waits_a_moment(secure: dict[str, object], context: ssl.SSLContext | None) -> None:
    """P-82: for those who take what is theirs."""
    heard: list[bytes] = []

    async def read(wire: Wire) -> None:
        heard.append(await wire.eof())

    async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        async with serving(secure) as server:
            wire = await stack.enter_async_context(dial(server, context, receive_bytes=65536))
            await behind(server, wire)
            nursery.start_soon(read, wire)
        with trio.fail_after(DEADLINE_S):
            while not heard:
                await trio.lowlevel.checkpoint()
    assert heard[0].count(BODY) == MESSAGES


async def test_a_slow_consumer_leaves_nothing_behind(secure: dict[str, object], context: ssl.SSLContext | None) -> None:
    """P-44: what waited for it is thrown away at once, and counts no more."""
    async with open_server(port=-1, pending_bytes_max=8 << 20, **secure) as server:
        client = await server.connect()
        async with dial(server, context, receive_bytes=4096) as wire:
            await wire.connect()
            await wire.command(b"SUB a 1")
            while server.stats().slow_consumers == 0:
                await client.publish("a", BODY)
            while server.stats().connections:
                await trio.lowlevel.checkpoint()
            assert server.turn.pending_bytes == 0


@pytest.mark.parametrize(
    "said",
    [b'CONNECT {"protocol":5}\r\n', b'CONNECT {"no_responders":true}\r\n', b"CONNECT {}\r\nINFO {bad\r\n", b"+OK\r\nx"],
)
async def test_whoever_is_refused_is_no_fault(
    said: bytes, secure: dict[str, object], context: ssl.SSLContext | None
) -> None:
    """P-58, P-71: the answer, the end, and nothing for whoever runs the server to mend."""
    async with serving(secure) as server, dial(server, context) as wire:
        await wire.send(said)
        await wire.eof()
        assert server.faults == []


async def test_what_lingers_is_cut_before_an_innocent(
    secure: dict[str, object], context: ssl.SSLContext | None
) -> None:
    """P-44: the one with the most, also when it has ended and only takes its time."""
    async with serving(secure) as server, dial(server, context, receive_bytes=4096) as lingers:
        await behind(server, lingers)
        await lingers.send(b"nonsense\r\n")
        async with dial(server, context, receive_bytes=4096) as innocent:
            await innocent.connect()
            await innocent.command(b"SUB b 1")
            client = await server.connect()
            server.turn.pending_bytes_max = server.turn.pending_bytes + 2_000_000
            for _ in range(20):
                await client.publish("b", BODY)
            assert (await innocent.exactly(20 * (len(b"MSG b 1 500000\r\n") + len(BODY) + 2))).count(BODY) == 20
            assert server.stats().slow_consumers == 0


async def test_what_was_sent_before_a_reset_arrives() -> None:
    """P-19: a publisher that has sent everything, and whose socket the system resets because it never read its INFO."""
    async with serving({}) as server, dial(server, receive_bytes=65536) as subscriber:
        await subscriber.connect()
        await subscriber.command(b"SUB a 1")
        sock = trio.socket.socket()
        await sock.connect(("127.0.0.1", server.port))
        publisher = trio.SocketStream(sock)
        count = 200
        await publisher.send_all(
            b'CONNECT {"verbose":false,"pedantic":false}\r\n' + (b"PUB a 10000\r\n" + b"y" * 10000 + b"\r\n") * count
        )
        while unsent(sock):
            await trio.lowlevel.checkpoint()
        await publisher.aclose()
        heard = await subscriber.exactly(count * (len(b"MSG a 1 10000\r\n") + 10002))
        assert heard.count(b"y" * 10000) == count


def unsent(sock: trio.socket.SocketType) -> int:
    """Bytes that the peer's system has not taken yet."""
    import fcntl
    import termios

    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])


# ---- authentication


async def test_who_came_in_time_waits_for_others_without_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-52: guesses before it take their time; that CONNECT came in time is what counts."""
    checking, go_on = threading.Event(), threading.Event()

    def slowly(given: str, wanted: str) -> bool:
        checking.set()
        go_on.wait(DEADLINE_S)
        return given == "right"

    monkeypatch.setattr(passwords, "_hash_matches", slowly)
    users = (User(name="ann", password="$2b$04$" + "." * 53),)
    async with (
        open_server(port=-1, users=users, auth_timeout_s=0.2) as server,
        dial(server) as guesser,
        dial(server) as ann,
        dial(server) as silent,
    ):
        await guesser.send(b'CONNECT {"user":"bob","pass":"x"}\r\n')
        await trio.to_thread.run_sync(checking.wait, DEADLINE_S)
        await ann.send(b'CONNECT {"user":"ann","pass":"right","verbose":false}\r\nPING\r\n')
        assert await silent.eof() == b"-ERR 'Authentication Timeout'\r\n"
        go_on.set()
        assert await ann.until(b"PONG\r\n") == b"PONG\r\n"
        assert await guesser.eof() == b"-ERR 'Authorization Violation'\r\n"


async def test_nobody_is_checked_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-57: whoever guesses and leaves costs the others nothing."""
    checked: list[str] = []
    checking, go_on = threading.Event(), threading.Event()

    def note(given: str, wanted: str) -> bool:
        checked.append(given)
        checking.set()
        go_on.wait(DEADLINE_S)
        return given == "right"

    monkeypatch.setattr(passwords, "_hash_matches", note)
    users = (User(name="ann", password="$2b$04$" + "." * 53),)
    async with open_server(port=-1, users=users) as server, dial(server) as first, dial(server) as ann:
        await first.send(b'CONNECT {"user":"ann","pass":"first"}\r\n')
        await trio.to_thread.run_sync(checking.wait, DEADLINE_S)
        for _ in range(5):
            async with dial(server) as guesser:
                await guesser.send(b'CONNECT {"user":"ann","pass":"left"}\r\n')
                await trio.testing.wait_all_tasks_blocked()
        await ann.send(b'CONNECT {"user":"ann","pass":"right","verbose":false}\r\nPING\r\n')
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        assert await ann.until(b"PONG\r\n") == b"PONG\r\n"
    assert checked == ["first", "right"]


async def test_who_publishes_and_leaves_is_heard() -> None:
    """P-57: that a password takes time to check is no reason to lose what was said behind it."""
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    users = (User(name="ann", password=hashed),)
    async with open_server(port=-1, users=users) as server, await server.connect() as client:
        with client.subscribe("a") as subscription:
            async with dial(server) as wire:
                await wire.send(b'CONNECT {"user":"ann","pass":"right","verbose":false}\r\nPUB a 2\r\nhi\r\n')
                assert isinstance(wire.stream, trio.SocketStream)
                await wire.stream.send_eof()
                assert (await subscription.next()).data == b"hi"
                assert await wire.eof() == b""


async def test_what_no_client_could_be_served_with_prevents_the_start() -> None:
    """P-100."""
    with pytest.raises(ValueError, match=r"'a\.\.b' is not a valid subject"):
        async with open_server(port=-1, permissions=Permissions(publish_allow=("a..b",))):
            pass
    async with open_server(port=-1, server_name="\udcff") as server, dial(server) as wire:
        assert wire.info["server_name"] == "\ufffd"


# ---- answers


def test_many_requests_can_be_answered_late() -> None:
    """P-66."""
    from natslite.engine.permissions import Permissions as Compiled

    turn, sublist, limits = Turn(), Sublist(), Limits()
    responder, asker = (Connection(turn, sublist, limits, cid) for cid in (1, 2))
    for connection in (responder, asker):
        connection.accept(verbose=False, pedantic=False, echo=True, headers=False, no_responders=False)
    responder.set_permissions(Compiled(responses_max=1))
    responder.feed(b"SUB svc 1\r\n")
    asker.feed(b"SUB r.> 1\r\n" + b"".join(b"PUB svc r.%d 0\r\n\r\n" % i for i in range(20_000)))
    responder.take()
    responder.feed(b"".join(b"PUB r.%d 0\r\n\r\n" % i for i in range(20_000)))
    assert responder.take() == b""
    assert asker.take().count(b"MSG") == 20_000


# ---- inside the process


async def test_two_readers_of_one_subscription() -> None:
    """P-101: each message goes to one of them, and both end."""
    heard: list[bytes] = []
    async with open_server(port=-1) as server, await server.connect() as client, trio.open_nursery() as nursery:
        subscription = client.subscribe("a")

        async def read() -> None:
            async for message in subscription:
                heard.append(message.data)

        nursery.start_soon(read)
        nursery.start_soon(read)
        for number in range(10):
            await trio.testing.wait_all_tasks_blocked()
            await client.publish("a", b"%d" % number)
        await trio.testing.wait_all_tasks_blocked()
        subscription.close()
    assert sorted(heard) == [b"%d" % number for number in range(10)]


async def test_a_publisher_waits_for_a_reader_that_keeps_reading(autojump_clock: trio.testing.MockClock) -> None:
    """P-45, P-101: nothing is dropped."""
    async with open_server(port=-1) as server, await server.connect() as client, trio.open_nursery() as nursery:
        subscription = client.subscribe("a", bytes_max=20_000)
        heard: list[bytes] = []

        async def read() -> None:
            async for message in subscription:
                heard.append(message.data)
                await trio.sleep(0.00001)

        nursery.start_soon(read)
        for number in range(2000):
            await client.publish("a", b"%0100d" % number)
        subscription.close()  # what has come can still be read
    assert (len(heard), subscription.dropped) == (2000, 0)


async def test_whoever_is_full_is_there_all_the_same() -> None:
    """P-102: no answer is not the same as nobody there."""
    async with open_server(port=-1) as server, await server.connect() as client, dial(server) as wire:
        await wire.connect(headers=True, no_responders=True)
        with client.subscribe("full", bytes_max=100):
            with pytest.raises(trio.TooSlowError):
                await client.request("full", b"x" * 200, timeout_s=0.01)
            await wire.command(b"SUB r 1", b"PUB full r 200\r\n" + b"x" * 200)
        with pytest.raises(NoResponders):
            await client.request("full")
        await wire.send(b"PUB full r 0\r\n\r\n")
        assert b" 503" in await wire.until(b" 503")

"""A server inside a program: several beside each other, stopped with clients attached, and nothing left of who has gone.

Through `open_server` and real sockets. What one client says and hears is compared elsewhere.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from natslite import Options, User, addresses, open_server
from natslite.client import Subscription
from natslite.engine.connection import Connection
from natslite.engine.hub import Hub
from natslite.engine.inbox import Inbox
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist
from natslite.server import Server
from natslite.session import Session
from natslite.transport import TlsTransport
from tests.natslite.wires import Certificates, Wire, dial
from tests.peers import DEADLINE_S

# ---- several


async def heard(wire: Wire) -> bytes:
    """What came until now."""
    await wire.send(b"PING\r\n")
    return (await wire.until(b"PONG\r\n")).removesuffix(b"PONG\r\n")


async def test_two_servers_in_one_process() -> None:
    """P-2, P-4: each has its own options, clients and counters; when one stops, the other goes on serving."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(DEADLINE_S))
        stays = await stack.enter_async_context(open_server(port=-1, server_name="stays", payload_bytes_max=100))
        a, b = [await stack.enter_async_context(dial(stays)) for _ in range(2)]
        async with open_server(port=-1, server_name="goes", token="s3cr3t") as goes:
            assert goes.port != stays.port
            c, d = [await stack.enter_async_context(dial(goes)) for _ in range(2)]
            infos = [
                [wire.info.get(key) for key in ("server_name", "client_id", "max_payload", "auth_required")]
                for wire in (a, b, c, d)
            ]
            assert infos == [
                ["stays", 1, 100, None], ["stays", 2, 100, None],
                ["goes", 1, 1048576, True], ["goes", 2, 1048576, True],
            ]  # fmt: skip
            assert a.info["server_id"] != c.info["server_id"]
            for wire, fields in (a, {}), (b, {}), (c, {"auth_token": "s3cr3t"}), (d, {"auth_token": "s3cr3t"}):
                await wire.connect(echo=False, **fields)
                await wire.command(b"SUB news 1", b"SUB work q 2")
            await a.command(b"PUB news 3\r\none", b"PUB work 1\r\nx")
            await c.command(b"PUB news 3\r\ntwo", b"PUB work 3\r\nyyy", b"PUB news 5\r\nthree")
            assert await heard(b) == b"MSG news 1 3\r\none\r\nMSG work 2 1\r\nx\r\n"
            assert await heard(d) == b"MSG news 1 3\r\ntwo\r\nMSG work 2 3\r\nyyy\r\nMSG news 1 5\r\nthree\r\n"
            assert await heard(a) == await heard(c) == b""
            counted = [(s.connections, s.subscriptions, s.in_msgs, s.in_bytes) for s in (stays.stats(), goes.stats())]
            assert counted == [(2, 4, 2, 4), (2, 4, 3, 11)]
        assert await c.eof() == await d.eof() == b""
        with pytest.raises(ConnectionRefusedError):
            await stack.enter_async_context(dial(goes))
        await b.command(b"PUB news 5\r\nstill")
        assert await heard(a) == b"MSG news 1 5\r\nstill\r\n"
        assert (goes.stats().connections, stays.stats().connections, stays.stats().in_msgs) == (0, 2, 3)
        await b.send(b"PUB news 101\r\n")
        assert await b.eof() == b"-ERR 'Maximum Payload Violation'\r\n"


# ---- stopped


class Stop(Exception):
    """The program has had enough."""


@pytest.mark.parametrize("how", ["leaves", "fails", "cancelled"])
async def test_stopped_with_clients_attached(how: str) -> None:
    """P-82: they get what was on its way and no -ERR, whatever ends the block; the port is free again."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(DEADLINE_S))
        expected = contextlib.nullcontext() if how != "fails" else pytest.raises(Stop)
        with expected, trio.CancelScope() as scope:
            async with open_server(port=-1) as server:
                wires = [await stack.enter_async_context(dial(server)) for _ in range(20)]
                for wire in wires:
                    await wire.connect()
                    await wire.command(b"SUB last.> 1")
                idle = await stack.enter_async_context(dial(server))
                client = await server.connect()
                assert await client.publish("last.words", b"bye") == len(wires)
                if how == "fails":
                    raise Stop
                if how == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
        for wire in wires:
            assert await wire.eof() == b"MSG last.words 1 3\r\nbye\r\n"
        assert await idle.eof() == b""
        assert (server.stats().connections, server.stats().subscriptions) == (0, 0)
        async with open_server(port=server.port) as next_one, dial(next_one) as wire:
            await wire.command(b'CONNECT {"verbose":false}')


async def test_stopped_with_a_client_that_does_not_read() -> None:
    """P-82: a second is the most that anybody waits for it."""
    async with contextlib.AsyncExitStack() as stack:
        async with open_server(port=-1) as server:
            stuck = await stack.enter_async_context(dial(server, receive_bytes=4096))
            await stuck.connect()
            await stuck.command(b"SUB a 1")
            client = await server.connect()
            for _ in range(20):
                assert await client.publish("a", b"x" * 1_000_000) == 1
            began = trio.current_time()
        assert trio.current_time() - began < 1.9
        assert server.stats().connections == 0
        assert b"-ERR" not in await stuck.eof()


async def test_who_reads_gets_what_was_pending() -> None:
    """P-82: within the second that there is for it."""
    messages = 20 * (b"MSG a 1 1000000\r\n" + b"x" * 1_000_000 + b"\r\n")
    came: list[bytes] = []
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(DEADLINE_S))
        async with trio.open_nursery() as reading, open_server(port=-1) as server:
            wire = await stack.enter_async_context(dial(server, receive_bytes=65536))
            await wire.connect()
            await wire.command(b"SUB a 1")
            client = await server.connect()
            for _ in range(20):
                await client.publish("a", b"x" * 1_000_000)

            async def read() -> None:
                came.append(await wire.eof())

            reading.start_soon(read)
        assert (len(came[0]), came[0] == messages) == (len(messages), True)


# ---- what is left of who has gone


def alive(*kinds: type) -> Counter[str]:
    """How many objects of these types there are, after a full collection."""
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in kinds)


VISITORS = (Connection, Session, TlsTransport, Subscription, Inbox)
HOUSE = (Server, Hub, Turn, Sublist)


async def visit(server: Server, number: int, context: Any = None) -> None:
    """A client on a socket: subscriptions, a queue group, a request that is answered and one that is not."""
    async with dial(server, context) as wire:
        await wire.connect(headers=True, no_responders=True, auth_token="s3cr3t")
        me = b"inbox.%d" % number
        await wire.send(
            b"SUB %b 1\r\nSUB *.x.> 2\r\nSUB work q 3\r\nSUB busy.* q 4\r\nSUB once 5\r\nUNSUB 5 1\r\n" % me
        )
        await wire.send(b"PUB once 0\r\n\r\nPUB busy.1 %b 2\r\nhi\r\nPUB nobody %b 0\r\n\r\n" % (me, me))
        await heard(wire)
        if number % 3 == 0:
            await wire.send(b"PUB half 1000\r\nnot all of it")
        elif number % 3 == 1:
            await wire.send(b"FOO\r\n")
            await wire.eof()


async def visit_inside(server: Server) -> None:
    """A client in the process, with an answered request and one that nobody takes."""
    async with await server.connect() as client, trio.open_nursery() as nursery:
        service = client.subscribe("double", queue="doublers")

        async def serve() -> None:
            async for message in service:
                assert message.reply is not None
                await client.publish(message.reply, message.data * 2)

        nursery.start_soon(serve)
        assert (await client.request("double", b"ab")).data == b"abab"
        client.subscribe("never.read")
        await client.publish("never.read", b"x")
        service.close()


async def all_gone(server: Server) -> None:
    """Waits until the server has noticed that nobody is there any more."""
    with trio.fail_after(DEADLINE_S):
        while server.stats().connections:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("tls", [False, True])
async def test_nothing_is_left_of_who_has_gone(tmp_path: Path, tls: bool) -> None:
    """Neither of the clients, while the server runs, nor of the server, when it has ended."""
    visitors, house = alive(*VISITORS), alive(*HOUSE)
    certificates = Certificates(tmp_path)
    context = certificates.client() if tls else None
    options = Options(port=-1, token="s3cr3t", tls=certificates.options() if tls else None)

    async def live() -> None:
        async with open_server(options) as server:
            assert alive(*HOUSE) == house + Counter(("Server", "Hub", "Turn", "Sublist"))
            for start in range(0, 60 if tls else 400, 20):
                async with trio.open_nursery() as nursery:
                    for number in range(start, start + 20):
                        nursery.start_soon(visit, server, number, context)
                    nursery.start_soon(visit_inside, server)
            await all_gone(server)
            assert server.stats().subscriptions == 0
            # somebody new, since the pump may still hold whom it attended to last
            async with dial(server, context, secure=False):
                assert alive(*VISITORS) == visitors + Counter(["Connection", "Session"] + ["TlsTransport"] * tls)

    with trio.fail_after(60):
        await live()
    assert alive(*HOUSE, *VISITORS) == house + visitors


# ---- the deadline for CONNECT


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[int, socket.socket]]:
    """A descriptor for a server to take, and the peer's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        with peer:
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            yield accepted.detach(), peer


ANN = (User(name="ann", password="secret"),)


@pytest.mark.parametrize(
    ("host", "options", "seconds"),
    [
        ("127.0.0.1", {"token": "x"}, 60),
        ("127.1.2.3", {"users": ANN}, 60),
        ("::1", {"token": "x"}, 60),
        ("::ffff:127.0.0.1", {"token": "x"}, 60),
        ("192.0.2.7", {"token": "x"}, 2),
        ("2001:db8::7", {"users": ANN}, 2),
        ("127.0.0.1", {"token": "x", "tls": True}, 60),
        ("192.0.2.7", {"token": "x", "tls": True}, 3),
        ("127.0.0.1", {"token": "x", "auth_timeout_s": 0.5}, 0.5),
        ("192.0.2.7", {"token": "x", "auth_timeout_s": 7.0}, 7),
        ("192.0.2.7", {"token": "x", "auth_timeout_s": 7.0, "tls": True}, 7),
        ("127.0.0.1", {}, None),
        ("192.0.2.7", {}, None),
        ("192.0.2.7", {"auth_timeout_s": 7.0}, None),
    ],
)  # fmt: skip
async def test_how_long_a_peer_has_for_connect(
    tmp_path: Path, mock_clock: trio.testing.MockClock, host: str, options: dict[str, Any], seconds: float | None
) -> None:
    """P-52: by where it comes from and whether it must authenticate; time stands still."""
    if options.get("tls"):
        options = {**options, "tls": Certificates(tmp_path).options()}
    async with open_server(port=-1, **options) as server:
        with tcp_pair() as (fd, _):
            server.admit(fd, host, 1234)
            [connection] = server.hub.connections
            assert connection.deadline_at == (0 if seconds is None else trio.current_time() + seconds)


async def test_a_person_has_a_minute_for_connect(mock_clock: trio.testing.MockClock) -> None:
    """P-52: one types it in the last second, the other does not."""
    async with open_server(port=-1, token="s3cr3t") as server, dial(server) as slow, dial(server) as silent:
        mock_clock.jump(59.0)
        await slow.connect(auth_token="s3cr3t")
        mock_clock.jump(1.5)
        assert await silent.eof() == b"-ERR 'Authentication Timeout'\r\n"
        await slow.command()


async def test_without_authentication_nobody_is_hurried(mock_clock: trio.testing.MockClock) -> None:
    """P-52, P-51: an hour later the server has asked whether somebody is there, and waits."""
    async with open_server(port=-1) as server, dial(server) as wire:
        mock_clock.jump(3600.0)
        assert await wire.until(b"PING\r\n") == b"PING\r\n"
        await wire.send(b"SUB a 1\r\n")
        assert await wire.until(b"\n") == b"+OK\r\n"


# ---- who waits to be accepted


def listening(port: int) -> Iterator[socket.socket]:
    """The sockets of this process that listen there, each as a copy."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            copy = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue  # no socket, or the listing itself
        with copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and copy.getsockname()[1] == port:
                yield copy


TCP_INFO_SACKED = 28
"""Offset in struct tcp_info; of a socket that listens it is the backlog's size."""


async def test_as_many_as_the_system_allows_wait_in_the_backlog() -> None:
    """P-53, P-80: on each address."""
    most = int(await trio.Path("/proc/sys/net/core/somaxconn").read_text())
    assert addresses.backlog() == most
    async with open_server(port=-1) as server:
        sizes = [
            struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), TCP_INFO_SACKED)[0]
            for sock in listening(server.port)
        ]
        assert sizes == [most] * len(server.addresses)

"""The daemon as nats-py sees it: every client library takes it for a NATS server. Each test runs against nats-server as
well, so that a failure says whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import trustme
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.peers import DEADLINE_S, Daemon, Peer, nats_server, natslite_server

Start = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture(params=[natslite_server, nats_server], ids=["natslite", "nats-server"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts a server with flags."""
    return request.param


@pytest.fixture(scope="module", params=[natslite_server, nats_server], ids=["natslite", "nats-server"])
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server without flags."""
    with request.param() as daemon:
        yield url(daemon)


def url(daemon: Daemon, scheme: str = "nats") -> str:
    return f"{scheme}://{daemon.address[0]}:{daemon.address[1]}"


async def connect(to: str, **options: Any) -> Client:
    return await nats.connect(to, **{"allow_reconnect": False, "connect_timeout": 5, "error_cb": ignore, **options})


async def barrier(client: Client) -> None:
    """Waits until the server has carried out everything that this client was told to do. Its own `flush` is no barrier:
    it writes the PING at once, past commands that still wait to be written."""
    inbox = client.new_inbox()
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def heard(message: Msg) -> None:
        arrived.set_result(None)

    subscription = await client.subscribe(inbox, cb=heard, max_msgs=1)
    await client.publish(inbox)
    await asyncio.wait_for(arrived, DEADLINE_S)
    await subscription.unsubscribe()


async def ignore(error: Exception) -> None:
    """nats-py prints errors unless it is given something to do with them."""


def run(main: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(main, 3 * DEADLINE_S)

    return asyncio.run(bounded())


def test_publish_and_subscribe(shared: str) -> None:
    async def main() -> None:
        a, b = await connect(shared), await connect(shared)
        everything, one = await b.subscribe("t.>"), await b.subscribe("t.*.temp")
        await barrier(b)
        for i in range(1000):
            await a.publish(f"t.{i % 10}.temp", str(i).encode(), reply="back")
        await a.publish("t.1", b"last")
        await barrier(a)
        got = [await everything.next_msg(5) for _ in range(1001)]
        assert [m.data for m in got] == [*(str(i).encode() for i in range(1000)), b"last"]
        assert (got[3].subject, got[3].reply, got[-1].subject) == ("t.3.temp", "back", "t.1")
        assert len([await one.next_msg(5) for _ in range(1000)]) == 1000
        await a.close()
        await b.close()

    run(main())


def test_large_payloads(shared: str) -> None:
    async def main() -> None:
        client = await connect(shared)
        sub = await client.subscribe("big")
        assert client.max_payload == 1048576
        for size in 0, 1, 4095, 65536, 1048576:
            await client.publish("big", b"x" * size)
            assert len((await sub.next_msg(5)).data) == size
        with pytest.raises(nats.errors.MaxPayloadError):
            await client.publish("big", b"x" * 1048577)
        await client.close()

    run(main())


def test_queue(shared: str) -> None:
    async def main() -> None:
        got: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
        done = asyncio.Event()

        def take(name: str) -> Callable[[Msg], Awaitable[None]]:
            async def callback(message: Msg) -> None:
                got[name].append(message.data)
                if sum(map(len, got.values())) == 300:
                    done.set()

            return callback

        clients = {name: await connect(shared) for name in got}
        for name, client in clients.items():
            await client.subscribe("jobs.*", queue="workers", cb=take(name))
            await barrier(client)
        for i in range(300):
            await clients["a"].publish("jobs.x", b"%d" % i)
        await asyncio.wait_for(done.wait(), 5)
        assert sorted(int(data) for datas in got.values() for data in datas) == list(range(300))
        assert all(len(datas) > 30 for datas in got.values()), got
        for client in clients.values():
            await client.close()

    run(main())


def test_request(shared: str) -> None:
    async def main() -> None:
        a, b = await connect(shared), await connect(shared)

        async def answer(message: Msg) -> None:
            await message.respond(b"re: " + message.data)

        await b.subscribe("echo", cb=answer)
        await b.subscribe("silence")
        await barrier(b)
        answers = await asyncio.gather(*(a.request("echo", b"%d" % i, timeout=5) for i in range(100)))
        assert [m.data for m in answers] == [b"re: %d" % i for i in range(100)]
        assert (await a.request("echo", b"old", timeout=5, old_style=True)).data == b"re: old"
        with pytest.raises(nats.errors.NoRespondersError):
            await a.request("nobody", b"", timeout=5)
        with pytest.raises(nats.errors.TimeoutError):
            await a.request("silence", b"", timeout=0.05)
        await a.close()
        await b.close()

    run(main())


def test_headers(shared: str) -> None:
    async def main() -> None:
        client = await connect(shared)
        sub = await client.subscribe("h")
        await client.publish("h", b"body", headers={"Site": "a", "Device": "7"})
        await client.publish("h", b"", headers={"Empty": "yes"})
        await client.publish("h", b"bare")
        first, second, third = [await sub.next_msg(5) for _ in range(3)]
        assert (first.data, first.headers) == (b"body", {"Site": "a", "Device": "7"})
        assert (second.data, second.headers) == (b"", {"Empty": "yes"})
        assert (third.data, third.headers) == (b"bare", None)
        await client.close()

    run(main())


def test_unsubscribe_after(shared: str) -> None:
    async def main() -> None:
        client = await connect(shared)
        sub = await client.subscribe("few")
        await sub.unsubscribe(limit=3)
        for i in range(6):
            await client.publish("few", b"%d" % i)
        await barrier(client)
        assert [(await sub.next_msg(5)).data for _ in range(3)] == [b"0", b"1", b"2"]
        await client.close()

    run(main())


def test_drain(shared: str) -> None:
    """What was sent before is handled, nothing is lost, then it is closed."""

    async def main() -> None:
        closed = asyncio.Event()
        got: list[bytes] = []

        async def on_close() -> None:
            closed.set()

        async def slowly(message: Msg) -> None:
            got.append(message.data)
            await asyncio.sleep(0)  # gives way, so that drain finds most of them waiting

        a, b = await connect(shared), await connect(shared, closed_cb=on_close)
        await b.subscribe("d", cb=slowly)
        await barrier(b)
        for i in range(200):
            await a.publish("d", b"%d" % i)
        await barrier(a)
        await barrier(b)
        await b.drain()
        await asyncio.wait_for(closed.wait(), 5)
        assert got == [b"%d" % i for i in range(200)]
        await a.close()

    run(main())


def test_reconnect(start: Start) -> None:
    """P-82. The server goes and comes back on the same port: the client is there again with its subscriptions."""

    async def main() -> None:
        gone, back = asyncio.Event(), asyncio.Event()

        async def on_gone() -> None:
            gone.set()

        async def on_back() -> None:
            back.set()

        with contextlib.ExitStack() as stack:
            first = start()
            daemon = stack.enter_context(first)
            client = await connect(
                url(daemon), allow_reconnect=True, reconnect_time_wait=0.02, max_reconnect_attempts=-1,
                disconnected_cb=on_gone, reconnected_cb=on_back,
            )  # fmt: skip
            sub = await client.subscribe("r")
            await barrier(client)
            assert daemon.stop() == 0
            await asyncio.wait_for(gone.wait(), 5)
            again = stack.enter_context(start(port=daemon.address[1]))
            assert again.address == daemon.address
            await asyncio.wait_for(back.wait(), 5)
            await client.publish("r", b"after")
            assert (await sub.next_msg(5)).data == b"after"
            await client.close()

    run(main())


@pytest.mark.parametrize(("flags", "right", "wrong"), [
    (["--auth", "s3cr3t"], {"token": "s3cr3t"}, [{"token": "secret"}, {}, {"user": "s3cr3t", "password": "s3cr3t"}]),
    (["--user", "ann", "--pass", "pw"], {"user": "ann", "password": "pw"}, [{"user": "ann", "password": "PW"}, {"user": "bob", "password": "pw"}, {}]),
    (["--user", "ann", "--pass", "$2b$04$LnOTJ5YbemNXLni/g7.ZguoxoO.AH2h/OBAjRiH4240FNHEHQVtG6"], {"user": "ann", "password": "pw"}, [{"user": "ann", "password": "x"}]),
], ids=["token", "password", "hashed password"])  # fmt: skip
def test_authentication(start: Start, flags: list[str], right: dict[str, str], wrong: list[dict[str, str]]) -> None:
    async def main() -> None:
        with start(*flags) as daemon:
            client = await connect(url(daemon), **right)
            await client.subscribe("a")
            await barrier(client)
            await client.close()
            for credentials in wrong:
                with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
                    await connect(url(daemon), **credentials)

    run(main())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, dict[str, str]]:
    """An authority, and files of it and of a server certificate."""
    at: Path = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    own = ca.issue_cert("127.0.0.1", "localhost")
    files = {"ca": str(at / "ca.pem"), "cert": str(at / "cert.pem"), "key": str(at / "key.pem")}
    ca.cert_pem.write_to_path(files["ca"])
    own.private_key_pem.write_to_path(files["key"])
    for i, blob in enumerate(own.cert_chain_pems):
        blob.write_to_path(files["cert"], append=i > 0)
    return ca, files


def test_tls(start: Start, certificates: tuple[trustme.CA, dict[str, str]]) -> None:
    """P-70, P-74."""
    _, files = certificates

    async def main() -> None:
        context = ssl.create_default_context(cafile=files["ca"])
        with start("--tls", "--tlscert", files["cert"], "--tlskey", files["key"]) as daemon:
            a = await connect(url(daemon, "tls"), tls=context, tls_hostname="127.0.0.1")
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            b = await connect(url(daemon, "tls"), tls=context, tls_hostname="127.0.0.1")
            sub = await b.subscribe("s.*")
            await barrier(b)
            for i in range(500):
                await a.publish("s.x", b"%d" % i * 100)
            await a.publish("s.big", b"z" * 1000000)
            await barrier(a)
            assert [(await sub.next_msg(5)).data for _ in range(500)] == [b"%d" % i * 100 for i in range(500)]
            assert (await sub.next_msg(5)).data == b"z" * 1000000
            await a.close()
            await b.close()
            with pytest.raises((nats.errors.Error, ssl.SSLError, OSError)):
                await connect(url(daemon, "tls"), tls=ssl.create_default_context(), tls_hostname="127.0.0.1")

    run(main())


def test_tls_with_client_certificate(start: Start, certificates: tuple[trustme.CA, dict[str, str]]) -> None:
    """P-73."""
    ca, files = certificates
    flags = ["--tlsverify", "--tlscert", files["cert"], "--tlskey", files["key"], "--tlscacert", files["ca"]]

    async def main() -> None:
        with start(*flags) as daemon:
            context = ssl.create_default_context(cafile=files["ca"])
            with pytest.raises((nats.errors.Error, ssl.SSLError, OSError, asyncio.TimeoutError)):
                await connect(url(daemon, "tls"), tls=context, tls_hostname="127.0.0.1", connect_timeout=1)
            ca.issue_cert("client@example.org").configure_cert(context)
            client = await connect(url(daemon, "tls"), tls=context, tls_hostname="127.0.0.1")
            sub = await client.subscribe("v")
            await client.publish("v", b"seen")
            assert (await sub.next_msg(5)).data == b"seen"
            await client.close()

    run(main())


def test_lame_duck(start: Start) -> None:
    """P-83: clients are told, go on being served, and nobody new is let in."""

    async def main() -> None:
        with start() as daemon:
            client = await connect(url(daemon))
            with Peer(daemon.address) as peer:
                peer.connect(protocol=1)
                peer.ping()
                daemon.process.send_signal(signal.SIGUSR2)
                info = json.loads(peer.frame().partition(b" ")[2])
                assert info["ldm"] is True
                sub = await client.subscribe("still")
                await client.publish("still", b"served")
                assert (await sub.next_msg(5)).data == b"served"
                with pytest.raises(ConnectionRefusedError):
                    Peer(daemon.address)
            await client.close()
            daemon.kill()

    run(main())

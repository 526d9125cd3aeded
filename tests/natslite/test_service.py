"""The seam for services: batches, room, interest, and the life of a service inside the server."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from natslite import open_server
from natslite.service import Batch, load
from tests.natslite.echo_service import RUNNING


async def raw_client(server, *lines: bytes) -> trio.SocketStream:
    """A client on a socket, after CONNECT."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    await until(stream, b"\r\n")
    await say(stream, b'CONNECT {"verbose":false,"pedantic":false,"headers":true}', *lines)
    return stream


async def say(stream: trio.SocketStream, *lines: bytes) -> bytes:
    """Sends lines and a PING; everything that comes before the PONG."""
    await stream.send_all(b"".join(line + b"\r\n" for line in lines) + b"PING\r\n")
    return (await until(stream, b"PONG\r\n"))[:-6]


async def until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    with trio.fail_after(5):
        while not data.endswith(end):
            more = await stream.receive_some()
            assert more, data
            data += more
    return data


class Event:
    """Something to wait for, set by a callback."""

    def __init__(self) -> None:
        self.count = 0
        self._event = trio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._event.set()

    async def wait(self) -> None:
        with trio.fail_after(5):
            await self._event.wait()
        self._event = trio.Event()


class Quiet:
    """Owner of an inbox that is emptied by somebody else."""

    def attend(self) -> None:
        pass

    @staticmethod
    def room_after(port, inbox, size: int) -> int:
        """What is left when one message of this size lies there."""
        port.publish("a", b"x" * size)
        left = port.room("a")
        inbox.drain()
        return left


async def test_a_service_lives_inside_the_server():
    """P-104."""
    """P-33: what a service says shows two blanks before the size."""
    async with open_server(port=-1, services=["tests.natslite.echo_service:EchoService"]) as server:
        service = RUNNING[-1]
        stream = await raw_client(server, b"SUB in 1")
        await stream.send_all(b"PUB echo.a in 2\r\nhi\r\n")
        assert await until(stream, b"hi\r\n") == b"MSG in 1  9\r\necho.a hi\r\n"
        await stream.send_all(b"HPUB echo.b in 12 14\r\nNATS/1.0\r\n\r\nho\r\n")
        assert await until(stream, b"ho\r\n") == b"HMSG in 1  12 21\r\nNATS/1.0\r\n\r\necho.b ho\r\n"
        assert service.heard == [b"hi", b"ho"]
        assert server.info()["echo"] is True
        assert service.options is server.options
        assert not service.flushed
    assert service.flushed


async def test_cancelled_from_outside_it_still_ends_in_order():
    with trio.CancelScope() as scope:
        async with open_server(port=-1, services=["tests.natslite.echo_service:EchoService"]) as server:
            service = RUNNING[-1]
            stream = await raw_client(server)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert service.flushed
    assert await stream.receive_some() == b""


async def test_a_subscription_lives_without_its_handle():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        port.subscribe("a", lambda record: None)
        gc.collect()
        assert port.publish("a") == 1


async def test_without_a_service_its_subjects_have_no_responders():
    async with open_server(port=-1) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await until(stream, b"\r\n")
        await say(stream, b'CONNECT {"verbose":false,"headers":true,"no_responders":true}', b"SUB in 1")
        assert (await say(stream, b"PUB $JS.API.INFO in 0\r\n")).startswith(b"HMSG in 1 44 44\r\nNATS/1.0 503\r\n")


def test_services_are_named_module_and_object():
    for name, error in [("x", ValueError), ("no_such_module:X", ImportError), ("trio:NoSuch", AttributeError)]:
        with pytest.raises(error):
            load(name, None)


async def test_a_batch_is_routed_by_one_subject_and_shows_another():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        stream = await raw_client(server, b"SUB deliver.me 1")
        batch = Batch()
        batch.append(b"deliver.me", b"one", shown=b"orders.7", reply=b"$JS.ACK.1")
        batch.append(b"nobody", b"two")
        batch.append(b"deliver.me", b"three", headers=b"NATS/1.0\r\n\r\n")
        assert len(batch) == 3
        assert port.send(batch) == [1, 0, 1]
        assert len(batch) == 0
        assert await until(stream, b"three\r\n") == (
            b"MSG orders.7 1 $JS.ACK.1 3\r\none\r\nHMSG deliver.me 1  12 17\r\nNATS/1.0\r\n\r\nthree\r\n"
        )
        with pytest.raises(ValueError, match="fit for a subject"):
            batch.append(b"a\r\nPING", b"")
        with pytest.raises(KeyError):
            server.port_for_account("other")


async def test_an_inbox_tags_what_each_subscription_brings():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        woken = Event()
        woken.attend = woken  # an owner is whatever has attend()
        inbox = port.inbox(woken, bytes_max=10_000)
        first = port.subscribe("a.*", inbox, tag=1)
        port.subscribe("b", inbox, tag=2, queue="q")
        with pytest.raises(ValueError, match="tag 1 is in use"):
            port.subscribe("c", inbox, tag=1)
        stream = await raw_client(server)
        await say(stream, b"PUB a.x r 1\r\n1", b"PUB b 1\r\n2", b"HPUB a.y 12 13\r\nNATS/1.0\r\n\r\n3")
        await woken.wait()
        assert inbox.drain() == [
            (b"a.x", b"r", b"", b"1", 1),
            (b"b", None, b"", b"2", 2),
            (b"a.y", None, b"NATS/1.0\r\n\r\n", b"3", 1),
        ]
        assert len(inbox) == 0
        first.cancel()
        first.cancel()
        assert not port.has_interest("a.x")
        assert port.has_interest("b", queue="q")
        assert not port.has_interest("b", queue="other")


async def test_a_full_inbox_takes_nothing_and_says_so():
    """P-102."""
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")

        class Idle:
            def attend(self) -> None:
                pass

        inbox = port.inbox(Idle(), bytes_max=1000)
        port.subscribe("a", inbox)
        stream = await raw_client(server, b"SUB r 1")
        for _ in range(20):
            await say(stream, b"PUB a r 100\r\n" + b"x" * 100)
        taken = len(inbox)
        assert 0 < taken < 20
        assert inbox.refused == 20 - taken == len(inbox.unanswered)
        port.answer_refused(inbox, b"full")
        assert (await say(stream)).count(b"MSG r 1  4\r\nfull\r\n") == 20 - taken
        assert len(inbox.drain()) == taken
        await say(stream, b"PUB a r 1\r\nx")
        assert len(inbox) == 1


async def test_room_shrinks_and_comes_back():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        assert port.room("a") is None
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await until(stream, b"\r\n")
        await say(stream, b'CONNECT {"verbose":false}', b"SUB a 1")
        full = port.room("a")
        assert full == 1024 * 1024
        payload = b"x" * 100_000
        sent = 0
        while port.room("a") > 0:
            assert port.publish("a", payload) == 1
            sent += 1
            await trio.lowlevel.checkpoint()
        again = Event()
        port.on_room("a", again)
        withdrawn = Event()
        port.on_room("a", withdrawn).cancel()
        frame = len(b"MSG a 1  100000\r\n") + len(payload) + 2
        left = sent * frame
        with trio.fail_after(10):
            while left:
                left -= len(await stream.receive_some())
        await again.wait()
        assert port.room("a") > 0
        assert again.count == 1
        assert withdrawn.count == 0


async def test_room_is_told_when_the_receiver_goes():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        stream = await raw_client(server, b"SUB a 1")
        while port.room("a") > 0:
            port.publish("a", b"x" * 100_000)
        again = Event()
        port.on_room("a", again)
        await stream.aclose()
        await again.wait()


async def test_on_room_where_there_is_room_calls_back_at_once():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        called = Event()
        port.on_room("a", called)
        await called.wait()


async def test_interest_is_watched():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        changed, other = Event(), Event()
        handle = port.watch("a.b", changed)
        port.watch("z", other)
        stream = await raw_client(server, b"SUB a.* 1")
        await changed.wait()
        assert port.has_interest("a.b")
        await say(stream, b"UNSUB 1")
        await changed.wait()
        assert not port.has_interest("a.b")
        handle.cancel()
        await say(stream, b"SUB a.b 2")
        assert changed.count == 2
        assert other.count == 0


async def test_callbacks_may_cancel_each_other_and_fail():
    """P-103: the others are still called, and the fault comes out at the end of the server."""
    called = []

    async def serve():
        async with open_server(port=-1) as server:
            port = server.port_for_account("$G")
            handles = []

            def cancel(name):
                called.append(name)
                for handle in handles:
                    handle.cancel()

            handles = [port.watch("a", lambda: cancel(1)), port.watch("a", lambda: cancel(2))]
            mistaken = port.watch("a", lambda: 1 / 0)
            last = Event()
            port.watch("a", last)
            async with await raw_client(server, b"SUB a 1"):
                await last.wait()
                mistaken.cancel()

    with pytest.raises(ExceptionGroup) as raised:
        await serve()
    assert called == [1]
    assert [type(fault) for fault in raised.value.exceptions] == [ZeroDivisionError]


async def test_interest_inside_the_process_is_watched():
    """Nobody says anything on a socket meanwhile."""
    async with open_server(port=-1) as server, await server.connect() as client:
        port = server.port_for_account("$G")
        changed = Event()
        port.watch("a", changed)
        with client.subscribe("a"):
            await changed.wait()
            assert port.has_interest("a")
        await changed.wait()
        assert not port.has_interest("a")
        handle = port.subscribe("a", lambda record: None)
        await changed.wait()
        handle.cancel()
        await changed.wait()
        assert changed.count == 4


async def test_room_in_an_inbox_that_its_owner_empties():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        inbox = port.inbox(Quiet(), bytes_max=2000)
        port.subscribe("a", inbox)
        size = next(size for size in range(1400, 1500) if Quiet.room_after(port, inbox, size) == 0)
        room = Event()
        port.publish("a", b"x" * size)
        port.on_room("a", room)
        await trio.testing.wait_all_tasks_blocked()
        assert (port.room("a"), room.count) == (0, 0)
        inbox.drain()
        await room.wait()
        assert port.room("a") == 1500


async def test_on_room_can_be_withdrawn_where_there_is_room():
    async with open_server(port=-1) as server:
        port = server.port_for_account("$G")
        called, other = Event(), Event()
        port.on_room("a", called).cancel()
        port.on_room("b", other)
        await other.wait()
        assert called.count == 0

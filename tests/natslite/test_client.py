"""In-process clients, which the other tests stand on: publish, subscribe, request, back-pressure."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from natslite import open_server
from natslite.client import Message, NoResponders


async def test_a_client_ends_with_its_server():
    """P-101: whoever still waits for a message is told, and whoever publishes too."""
    async with trio.open_nursery() as nursery:
        heard = []

        async def listen(subscription):
            async for message in subscription:
                heard.append(message.data)
            heard.append("end")

        async with open_server(port=-1) as server:
            client = await server.connect()
            nursery.start_soon(listen, client.subscribe("a"))
            await client.publish("a", b"x")
            await trio.testing.wait_all_tasks_blocked()
    assert heard == [b"x", "end"]
    with pytest.raises(trio.ClosedResourceError):
        await client.publish("a")


async def test_what_prevents_a_start_is_raised_as_it_is():
    """P-100: not within a group of a nursery."""
    async with open_server(port=-1) as server:
        with pytest.raises(OSError, match="in use") as raised:
            async with open_server(port=server.port):
                pass
        assert raised.value.filename == f"127.0.0.1:{server.port}"
    with pytest.raises(ValueError, match="port must be between"):
        async with open_server(port=70_000):
            pass


async def test_a_subscriber_gets_what_matches_in_order():
    async with open_server(port=-1) as server, await server.connect() as client:
        with client.subscribe("telemetry.*.temp") as subscription:
            for i in range(100):
                assert await client.publish(f"telemetry.{i}.temp", str(i).encode()) == 1
                assert await client.publish(f"telemetry.{i}.hum") == 0
            got = [await subscription.next() for _ in range(100)]
        assert [message.data for message in got] == [str(i).encode() for i in range(100)]
        assert got[7] == Message(subject="telemetry.7.temp", data=b"7")


async def test_headers_and_replies_arrive():
    async with open_server(port=-1) as server, await server.connect() as client:
        with client.subscribe("a") as subscription:
            await client.publish("a", b"x", reply="b", headers={"One": "1", "Two": ["2", "3"]})
            assert await subscription.next() == Message(
                subject="a", data=b"x", reply="b", headers={"One": ["1"], "Two": ["2", "3"]}
            )


async def test_one_member_of_a_queue_group_gets_each_message():
    async with open_server(port=-1) as server, await server.connect() as client:
        members = [client.subscribe("work", queue="workers") for _ in range(3)]
        for _ in range(300):
            assert await client.publish("work") == 1
        await client.publish("work", b"last")
        counts = []
        for member in members:
            member.close()
            counts.append(len([message async for message in member]))
        assert sum(counts) == 301
        assert min(counts) > 50


async def test_request_reply_and_nobody_there():
    async with open_server(port=-1) as server, await server.connect() as client, trio.open_nursery() as nursery:
        service = client.subscribe("double")

        async def serve() -> None:
            async for message in service:
                assert message.reply is not None
                await client.publish(message.reply, message.data * 2)

        nursery.start_soon(serve)
        assert (await client.request("double", b"ab")).data == b"abab"
        with pytest.raises(NoResponders):
            await client.request("nobody")
        service.close()


async def test_a_request_gives_up_in_time(autojump_clock):
    async with open_server(port=-1) as server, await server.connect() as client:
        with client.subscribe("silent"), pytest.raises(trio.TooSlowError):
            await client.request("silent", timeout_s=3.0)
        assert trio.current_time() >= 3.0


async def test_a_closed_subscription_ends_after_what_it_has():
    async with open_server(port=-1) as server, await server.connect() as client:
        subscription = client.subscribe("a")
        await client.publish("a", b"1")
        subscription.close()
        assert await client.publish("a", b"2") == 0
        assert [message.data async for message in subscription] == [b"1"]
        with pytest.raises(trio.EndOfChannel):
            await subscription.next()


async def test_what_does_not_fit_is_dropped_and_counted():
    async with open_server(port=-1) as server, await server.connect() as client:
        with client.subscribe("a", bytes_max=1000) as subscription:
            taken = sum([await client.publish("a", b"x" * 100) for _ in range(20)])
            assert 0 < taken < 20
            assert subscription.dropped == 20 - taken


@pytest.mark.parametrize("subject", ["", "a..b", "a b", "a.*", "a.>", "a\r\nPING"])
async def test_bad_subjects_are_refused(subject):
    async with open_server(port=-1) as server, await server.connect() as client:
        with pytest.raises(ValueError, match="subject"):
            await client.publish(subject)


async def test_too_much_data_is_refused():
    async with open_server(port=-1, payload_bytes_max=10) as server, await server.connect() as client:
        with client.subscribe("a") as subscription:
            await client.publish("a", b"0123456789")
            with pytest.raises(ValueError, match="11 bytes"):
                await client.publish("a", b"0123456789x")
            assert (await subscription.next()).data == b"0123456789"


async def test_a_closed_client_is_closed():
    async with open_server(port=-1) as server:
        client = await server.connect()
        client.subscribe("a")
        client.close()
        client.close()
        with pytest.raises(trio.ClosedResourceError):
            await client.publish("a")
        with pytest.raises(trio.ClosedResourceError):
            client.subscribe("b")
        assert server.stats().subscriptions == 0


async def test_two_servers_in_one_process_know_nothing_of_each_other():
    async with open_server(port=-1) as one, open_server(port=-1) as other:
        async with await one.connect() as here, await other.connect() as there:
            with there.subscribe(">"):
                assert await here.publish("a") == 0
                assert await there.publish("a") == 1
        assert one.port != other.port

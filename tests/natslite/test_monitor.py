"""What a running server tells over HTTP, beside what nats-server tells. Rules P-90 to P-93."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from natslite import Options, User, __version__, open_server
from natslite.client import Client
from natslite.log import Silent
from natslite.monitor import http as monitoring
from natslite.monitor.certificate import not_after
from natslite.monitor.http import Monitor, open_monitor
from natslite.monitor.varz import uptime
from natslite.server import Server
from tests.peers import Daemon, Peer, nats_server, natslite_server

DEADLINE_S = 10.0
MONITORING = "Starting http monitor on "


class Reply:
    """One answer over a connection of its own."""

    def __init__(self, daemon: Daemon, path: str, method: str = "GET") -> None:
        address = daemon.wait_line(MONITORING).rpartition(MONITORING)[2]
        connection = http.client.HTTPConnection(address, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            self.status, self.reason = response.status, response.reason
            self.headers = response.getheaders()
            self.text = response.read().decode()

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The headers, without what differs from one answer to the next."""
        return [(name, "" if name in ("Date", "Content-Length") else value) for name, value in self.headers]


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Daemon, Daemon]]:
    with natslite_server("-m", "-1") as mine, nats_server("-m", "-1") as theirs:
        yield mine, theirs


def shape(document: Any) -> Any:
    """Keys in their order, with the kind of each value; of numbers, whether there is a fraction is chance."""
    if isinstance(document, dict):
        return [(key, shape(value)) for key, value in document.items()]
    if isinstance(document, list):
        return [shape(value) for value in document]
    return "number" if type(document) in (int, float) else type(document).__name__


def compare_varz(mine: Daemon, theirs: Daemon) -> tuple[dict[str, Any], dict[str, Any]]:
    """Asks both; fails unless the keys, their order and the kinds of their values are equal but for `natslite`."""
    texts = Reply(mine, "/varz").text, Reply(theirs, "/varz").text
    ours, real = map(json.loads, texts)
    for text, document in zip(texts, (ours, real), strict=True):
        assert text == json.dumps(document, indent=2), "indented by two, no line end"
    own = ours.pop("natslite")
    assert shape(own) == [
        ("version", "str"),
        ("longest_turn", "number"),
        ("longest_turn_since_read", "number"),
        ("held_publishers", "number"),
        ("dropped_log_lines", "number"),
    ]
    assert own["version"] == __version__
    assert shape(ours) == shape(real)
    return ours, real


CHANCE = {"server_id", "server_name", "git_commit", "go", "port", "http_port", "start", "now", "uptime", "mem", "cpu"}
CHANCE |= {"subscriptions", "config_load_time", "config_digest", "feature_flags"}
CHANCE |= {"max_connections"}  # ours depends on how many descriptors there may be (P-41)
"""Keys whose values differ between two servers that were started and treated alike."""


def without_chance(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in CHANCE}


def test_varz_beside_nats_server() -> None:
    """P-91: the same keys, in the same order, of the same kinds, just after the start."""
    with natslite_server("-m", "-1") as mine, nats_server("-m", "-1") as theirs:
        ours, real = compare_varz(mine, theirs)
        memory_bytes = mine.rss_bytes()
    assert without_chance(ours) == without_chance(real)
    assert abs(ours["mem"] - memory_bytes) < 8 << 20
    moment = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
    for key in ("start", "now", "config_load_time"):
        assert moment.fullmatch(ours[key])
        assert moment.fullmatch(real[key])
    assert ours["port"] == mine.address[1]
    assert f":{ours['http_port']}" in mine.wait_line(MONITORING)


def test_varz_counts_as_nats_server(both: tuple[Daemon, Daemon]) -> None:
    """P-91: messages and bytes, payload with headers; connections and subscriptions."""
    expected = {"connections": 2, "total_connections": 2, "subscriptions": 2}
    expected |= {"in_msgs": 2, "in_bytes": 19, "in_client_msgs": 2, "in_client_bytes": 19}
    expected |= {"out_msgs": 3, "out_bytes": 24, "out_client_msgs": 3, "out_client_bytes": 24}
    changes = []
    for daemon in both:
        before = json.loads(Reply(daemon, "/varz").text)
        with Peer(daemon.address) as peer, Peer(daemon.address) as other:
            peer.connect(headers=True)
            other.connect()
            peer.command(b"SUB a.* 1", b"SUB a.b 2", b"PUB a.b 5\r\nhello", b"HPUB a.c 12 14\r\nNATS/1.0\r\n\r\nhi")
            after = json.loads(Reply(daemon, "/varz").text)
        changes.append({key: after[key] - before[key] for key in expected})
    assert changes == [expected, expected]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    pair = authority.issue_cert("127.0.0.1")
    pair.private_key_pem.write_to_path(directory / "key.pem")
    pair.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    return directory


def test_varz_with_everything_on(certificates: Path, tmp_path: Path) -> None:
    """P-91: keys that appear with a setting appear where nats-server has them."""
    tls = ["--tlscert", f"{certificates}/cert.pem", "--tlskey", f"{certificates}/key.pem"]
    tls += ["--tlsverify", "--tlscacert", f"{certificates}/ca.pem"]
    config = tmp_path / "nats.conf"
    config.write_text("max_subscriptions: 7, max_payload: 1000, ping_interval: 3s, write_deadline: 1500ms\n")
    flags = ["--max_subscriptions", "7", "--max_payload", "1000", "--ping_interval", "3s", "--write_deadline", "1500ms"]
    common = ["-m", "-1", "--user", "u", "--pass", "p", "-n", "name", *tls]
    with natslite_server(*common, *flags) as mine, nats_server(*common, config=config) as theirs:
        ours, real = compare_varz(mine, theirs)
    expected = {"auth_required": True, "tls_required": True, "tls_verify": True, "max_subscriptions": 7}
    assert {key: real[key] for key in expected} == expected
    assert without_chance(ours) == without_chance(real)
    assert ours["server_name"] == "name"


def test_healthz(both: tuple[Daemon, Daemon]) -> None:
    """P-93."""
    mine, theirs = (Reply(daemon, "/healthz?js-enabled-only=false") for daemon in both)
    assert mine.text == theirs.text == '{"status":"ok"}'
    assert (mine.status, mine.reason) == (theirs.status, theirs.reason) == (200, "OK")


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/varz", "GET"),
        ("/varz", "POST"),
        ("/varz", "HEAD"),
        ("/varz?x=1", "DELETE"),
        ("/nope", "GET"),
        ("/nope", "HEAD"),
        ("/varz/", "GET"),
        ("/VARZ", "GET"),
    ],
)
def test_http_beside_nats_server(both: tuple[Daemon, Daemon], path: str, method: str) -> None:
    """P-90: every method is served alike; status and headers as there."""
    mine, theirs = (Reply(daemon, path, method) for daemon in both)
    assert (mine.status, mine.reason, mine.kinds) == (theirs.status, theirs.reason, theirs.kinds)
    if method == "HEAD":
        assert mine.text == theirs.text == ""
    elif mine.status == 404:
        assert mine.text == theirs.text == "404 page not found\n"


def test_overview(both: tuple[Daemon, Daemon]) -> None:
    reply = Reply(both[0], "/")
    assert reply.status == 200
    assert ("Content-Type", "text/html; charset=utf-8") in reply.headers
    for link in ("./varz", "./healthz"):
        assert f'href="{link}"' in reply.text
        assert Reply(both[0], "/" + link[2:]).status == 200
    assert "./connz" not in reply.text, "what does not exist"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0s"),
        (19, "19s"),
        (184, "3m4s"),
        (7384, "2h3m4s"),
        (93784, "1d2h3m4s"),
        (31_536_000 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5, "1y2d3h4m5s"),
    ],
)
def test_uptime(seconds: float, text: str) -> None:
    assert uptime(seconds) == text


# ---- inside one process


@contextlib.asynccontextmanager
async def served(**options: Any) -> Any:
    """A server with its monitor, and how to connect to the latter."""
    async with open_server(host="127.0.0.1", port=-1, monitor_port=-1, **options) as server:
        monitor = open_monitor(server, Silent())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(monitor.serve)
            with trio.fail_after(DEADLINE_S):
                yield server, monitor
            nursery.cancel_scope.cancel()
        monitor.close()


async def connect(monitor: Monitor) -> trio.SocketStream:
    return await trio.open_tcp_stream(monitor.host, monitor.port)


async def until(stream: trio.abc.ReceiveStream, text: bytes) -> bytes:
    """What arrives, up to `text`, or to the end."""
    received = b""
    while text not in received:
        more = await stream.receive_some(4096)
        if not more:
            break
        received += more
    return received


async def test_what_is_new_since_the_last_read() -> None:
    """P-91: the longest turn since start, and since it was last asked."""
    async with served() as (server, monitor):
        client: Client = await server.connect()
        with client.subscribe("a") as subscription:
            await client.publish("a", b"x")
            await subscription.next()
        first, second = (json.loads(monitor.answer("/varz")[2])["natslite"] for _ in range(2))
        assert 0 < first["longest_turn_since_read"] <= first["longest_turn"] < DEADLINE_S
        assert second["longest_turn_since_read"] <= first["longest_turn_since_read"]
        assert first["held_publishers"] == first["dropped_log_lines"] == 0


async def test_settings_of_options() -> None:
    """P-91: as varz names them; durations in nanoseconds."""
    async with served(
        users=(User(name="u", password="p"),),
        auth_timeout_s=1.5,
        ping_interval_s=0.25,
        write_deadline_s=2.0,
        pings_outstanding_max=9,
        connections_max=3,
        control_line_bytes_max=100,
        pending_bytes_max=2 << 20,
        server_name="it",
    ) as (server, monitor):
        document = json.loads(monitor.answer("/varz")[2])
        expected = {
            "server_id": server.id,
            "server_name": "it",
            "auth_required": True,
            "auth_timeout": 1.5,
            "ping_interval": 250_000_000,
            "write_deadline": 2_000_000_000,
            "ping_max": 9,
            "max_connections": 3,
            "max_control_line": 100,
            "max_pending": 2 << 20,
            "port": server.port,
            "http_port": monitor.port,
        }
        assert {key: document[key] for key in expected} == expected


async def test_keep_alive_and_pipelining() -> None:
    """P-90: several requests of one connection, also when they come at once; and what was asked is counted."""
    async with served() as (_, monitor):
        stream = await connect(monitor)
        for _ in range(2):
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await until(stream, b'"ok"}')).startswith(b"HTTP/1.1 200 OK\r\n")
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await until(stream, b"not found\n")).count(b"HTTP/1.1 200 OK\r\n") == 2
        await stream.send_all(b"GET /varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        body = (await until(stream, b"never")).partition(b"\r\n\r\n")[2]
        assert json.loads(body)["http_req_stats"] == {"/healthz": 4, "/varz": 1}


@pytest.mark.parametrize(
    ("request_", "start"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"GET http://h:1/healthz HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"PUT /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 200 "),
        (
            b"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ),
        (
            b"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 ",
        ),
        (b"CONNECT /varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n"),
        (b"CONNECT db:5432 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"CONNECT {}\r\nPING\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"\x16\x03\x01\x00\xa5\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000, b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 100_000,
            b"HTTP/1.1 413 Content Too Large\r\n",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 501 Not Implemented\r\n",
        ),
        (b"", b""),
        (b"GET /varz HT", b"HTTP/1.1 400 Bad Request\r\n"),
    ],
    ids=lambda value: value[:24].decode(errors="replace") if isinstance(value, bytes) else None,
)
async def test_one_request(request_: bytes, start: bytes) -> None:
    """P-90 and P-92: whatever is sent is answered or refused, then closed; nothing is a fault of the server."""
    async with served() as (server, monitor):
        stream = await connect(monitor)
        await stream.send_all(request_)
        await stream.send_eof()
        answer = await until(stream, b"never")
        assert answer.startswith(start)
        assert bool(answer) == bool(start)
        assert server.faults == []


async def converse(sent: bytes, *, more: bytes = b"", answers: int = 0) -> tuple[bytes, float]:
    """A conversation in memory: what the server said until it closed, and how long that took."""
    mine, its = trio.testing.memory_stream_pair()
    said = b""

    async def serve() -> None:
        async with its:
            with contextlib.suppress(trio.TooSlowError):
                await monitoring._converse(its, lambda target: (200, monitoring.TEXT, "fine"))

    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await mine.send_all(sent)
        for _ in range(answers):
            said += await until(mine, b"fine")
        if more:
            await mine.send_all(more)
        said += await until(mine, b"never")
    return said, trio.current_time() - begin


GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "more", "answers", "seconds"),
    [
        (b"", b"", 0, 5),
        (b"GET / HTTP/1.1\r\nHo", b"", 0, 5),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", b"", 0, 30),
        (GOOD, b"", 1, 60),
        (GOOD, b"G", 1, 5),
        (GOOD + b"G", b"", 1, 5),
    ],
    ids=["silent", "head", "body", "idle", "second head", "second head at once"],
)
async def test_slow_peers(
    sent: bytes, more: bytes, answers: int, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """P-92: 5 s for a head, 30 s for a body, 60 s between two requests, whichever request it is."""
    said, taken = await converse(sent, more=more, answers=answers)
    assert said.count(b"HTTP/1.1 200 OK") == answers
    assert taken == pytest.approx(seconds)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_request_in_pieces(size: int) -> None:
    mine, its = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitoring._converse, its, lambda target: (200, monitoring.TEXT, f"you asked {target};"))
        request = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
        for at in range(0, len(request), size):
            await mine.send_all(request[at : at + size])
            await trio.testing.wait_all_tasks_blocked()
        assert (await until(mine, b";")).endswith(b"\r\n\r\nyou asked /a?b=c;")
        await mine.send_eof()


async def test_continue() -> None:
    """A client that asks first gets a word before it sends the body."""
    mine, its = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitoring._converse, its, lambda target: (200, monitoring.TEXT, "fine"))
        await mine.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert (await until(mine, b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await mine.send_all(b"body")
        assert (await until(mine, b"fine")).startswith(b"HTTP/1.1 200 OK\r\n")
        await mine.send_eof()


async def test_connections_are_bounded() -> None:
    """P-92: one more than there may be waits, unaccepted, until another has gone; clients of the server do not wait."""
    async with served() as (server, monitor):
        crowd = [await connect(monitor) for _ in range(monitoring.CONNECTIONS_MAX)]
        for stream in crowd:
            await stream.send_all(GOOD)
            await until(stream, b"</html>")
        late = await connect(monitor)
        await late.send_all(GOOD)
        client: Client = await server.connect()
        with client.subscribe("a") as subscription:
            await client.publish("a", b"x")
            await subscription.next()
        assert monitor.requests["/"] == monitoring.CONNECTIONS_MAX
        await crowd.pop().aclose()
        assert b"200 OK" in await until(late, b"</html>")


async def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> None:
    """Accepting rests, says so once, and goes on."""

    class Log(Silent):
        lines: list[str] = []  # noqa: RUF012

        def error(self, text: str) -> None:
            self.lines.append(text)

    class Listener:
        left = 3

        async def accept(self) -> str:
            await trio.lowlevel.checkpoint()
            self.left -= 1
            if self.left >= 0:
                raise OSError(24, os.strerror(24))
            return "stream"

    async with open_server(host="127.0.0.1", port=-1, monitor_port=-1) as server:
        monitor = open_monitor(server, Log())
        monitor.close()
        monkeypatch.setattr(monitor, "_listener", Listener())
        begin = trio.current_time()
        assert str(await monitor._accept()) == "stream"
        assert trio.current_time() - begin >= 3 * monitoring.ACCEPT_PAUSE_S
        assert Log.lines == ["Temporary http monitor accept error (Too many open files)"]


async def test_an_internal_fault_costs_one_connection() -> None:
    """It is reported as every fault of the server is, and the next request is served."""
    seen: list[Server] = []

    def fail() -> Any:
        raise ZeroDivisionError

    async def run() -> None:
        async with served() as (server, monitor):
            seen.append(server)
            monitor.paths["/fail"] = fail
            stream = await connect(monitor)
            await stream.send_all(b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await until(stream, b"never") == b""
            stream = await connect(monitor)
            await stream.send_all(GOOD)
            assert b"200 OK" in await until(stream, b"</html>")
            await stream.aclose()

    with pytest.raises(ExceptionGroup) as error:
        await run()
    assert [type(fault) for fault in seen[0].faults] == [ZeroDivisionError]
    assert error.value.exceptions == tuple(seen[0].faults)


async def test_address_in_use() -> None:
    async with served() as (_, monitor), open_server(Options(host="127.0.0.1", port=-1)) as other:
        other.options = Options(host="127.0.0.1", monitor_port=monitor.port)
        with pytest.raises(OSError, match="in use") as error:
            open_monitor(other, Silent())
        assert error.value.filename == f"127.0.0.1:{monitor.port}"


async def test_listens_where_the_server_does() -> None:
    """P-90: on 127.0.0.1 when the server was told nothing."""
    async with open_server(port=-1, monitor_port=-1) as server:
        monitor = open_monitor(server, Silent())
        assert monitor.host == "127.0.0.1"
        monitor.close()
    async with open_server(host="127.0.0.1", monitor_host="0.0.0.0", port=-1, monitor_port=-1) as server:
        monitor = open_monitor(server, Silent())
        assert json.loads(monitor.answer("/varz")[2])["http_host"] == "0.0.0.0"
        monitor.close()


def test_the_end_of_a_certificate() -> None:
    """Of the first of a file, whatever is around it; before and after 2050, where the notation changes."""
    for end in (datetime(2026, 2, 28, 1, 2, 3, tzinfo=UTC), datetime(2061, 1, 1, tzinfo=UTC)):
        pair = trustme.CA().issue_cert("x", not_after=end)
        pem = "".join(blob.bytes().decode() for blob in [pair.private_key_pem, *pair.cert_chain_pems])
        assert not_after("Bag Attributes\n" + pem) == end
    for nonsense in ("", "x", pem[:-40].partition("-----BEGIN CERT")[2], pem.replace("M", "A")):
        assert not_after(nonsense) is None

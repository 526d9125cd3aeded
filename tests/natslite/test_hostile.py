"""A hostile client cannot take the daemon down: during each attack an innocent client keeps its service, and memory stays
bounded (P-16, P-40 to P-54, P-71). Against the real daemon, as a process."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.peers import Daemon, Peer, natslite_server, wait_for

BOUND_S = 1.0
"""For one round trip of the innocent, on a machine that does other things as well. The figures are the benchmark's."""

KIB = 1024


class Innocent:
    """Publishes to itself and measures how long that takes."""

    def __init__(self, daemon: Daemon, **fields: object) -> None:
        self.peer = Peer(daemon.address)
        self.subject = b"innocent.%d" % self.peer.info["client_id"]
        self.peer.connect(**fields).command(b"SUB %b.> 1" % self.subject)
        self.worst_s = 0.0
        self.count = 0

    def round_trip(self) -> None:
        """One message there and back; nothing else may come but the server's PING."""
        began = time.monotonic()
        self.peer.send(b"PUB %b.%d 2\r\nok\r\n" % (self.subject, self.count))
        while (frame := self.peer.frame()) == b"PING\r\n":
            self.peer.send(b"PONG\r\n")
        assert frame == b"MSG %b.%d 1 2\r\nok\r\n" % (self.subject, self.count)
        self.count += 1
        self.worst_s = max(self.worst_s, time.monotonic() - began)

    def check(self) -> None:
        """It was served all the time, and still is."""
        self.round_trip()
        assert self.worst_s < BOUND_S

    def while_running(self, attack: Callable[[], None]) -> None:
        """Round trips for as long as the attack takes."""
        faults: list[BaseException] = []

        def run() -> None:
            try:
                attack()
            except BaseException as fault:
                faults.append(fault)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            self.round_trip()
        if faults:
            raise faults[0]
        self.check()


@contextlib.contextmanager
def attacked(*flags: str, **fields: object) -> Iterator[tuple[Daemon, Innocent]]:
    """A daemon with an innocent client on it, which must be there and well at the end."""
    with natslite_server(*flags) as daemon:
        innocent = Innocent(daemon, **fields)
        yield daemon, innocent
        innocent.check()
        innocent.peer.socket.close()
        assert daemon.stop() == 0
        assert not [line for line in daemon.lines if "fault" in line or "Traceback" in line]


@contextlib.contextmanager
def crowd(daemon: Daemon, count: int, hello: bytes = b"") -> Iterator[list[Peer]]:
    """Many connections; each has read INFO and sent `hello`."""
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(count):
            peer = stack.enter_context(Peer(daemon.address))
            peer.send(hello)
            peers.append(peer)
        yield peers


def settled_rss(daemon: Daemon, innocent: Innocent) -> int:
    """Memory when the server has done what was sent before: its loop is one thread, and ours is the last turn."""
    for _ in range(3):
        innocent.round_trip()
    return daemon.rss_bytes()


BEGINNINGS = [
    b"",
    b"C",
    b"CONNECT {",
    b"PUB foo",
    b"PUB foo 10\r\nhel",
    b"SUB ",
    b"PING",
    b"\r",
    b'CONNECT {"verbose":false}\r\nSUB > 1',
]


def test_half_open_connections() -> None:
    """They begin something and say no more; they vanish without a goodbye."""
    with attacked() as (daemon, innocent):
        before = daemon.descriptors()
        for beginning in BEGINNINGS:
            with crowd(daemon, 20, beginning) as peers:
                innocent.round_trip()
                for peer in peers[::2]:  # reset instead of a proper end
                    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: daemon.descriptors() <= before, "the server has let go of them")


def test_peers_that_answer_no_ping_are_let_go() -> None:
    """P-46, P-48: the other side of a connection may be gone without anybody being told."""
    with (
        attacked("--ping_interval", "100ms", "--ping_max", "2") as (daemon, innocent),
        crowd(daemon, 50, b'CONNECT {"verbose":false}\r\n') as peers,
    ):

        def all_closed() -> None:
            for peer in peers:
                assert peer.eof() == b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n"

        innocent.while_running(all_closed)


@pytest.mark.parametrize("sent", [b"", b"x" * 100])
def test_payload_announced_and_never_sent(sent: bytes) -> None:
    """P-40: memory is taken for what came, not for what was announced."""
    with attacked() as (daemon, innocent):
        before = settled_rss(daemon, innocent)
        with crowd(daemon, 200, b'CONNECT {"verbose":false}\r\nPUB foo 1048576\r\n' + sent):
            assert settled_rss(daemon, innocent) - before < 200 * 16 * KIB


def test_payload_sent_a_byte_at_a_time() -> None:
    with attacked() as (daemon, innocent), crowd(daemon, 20, b"PUB foo 1000\r\n") as peers:
        for _ in range(100):
            for peer in peers:
                peer.send(b"x")
            innocent.round_trip()


@pytest.mark.parametrize("line", [
    b"SUB " + b"a" * 1000000, b"PUB " + b"a " * 500000, b'CONNECT {"name":"' + b"a" * 1000000, b"CONNECT " + b"{" * 1000000,
    b"UNSUB " + b"a" * 1000000 + b"\r\n", b"HPUB " + b"1" * 1000000, b"INFO " + b"[" * 1000000,
], ids=lambda line: line[:8].decode())  # fmt: skip
def test_control_lines_of_a_megabyte(line: bytes) -> None:
    """P-16: the answer comes as soon as too much has come, and the line is kept by nobody."""
    with attacked() as (daemon, innocent):
        before = settled_rss(daemon, innocent)

        def attack() -> None:
            for _ in range(20):
                with Peer(daemon.address) as peer:
                    peer.send(line)
                    assert peer.eof() in (b"-ERR 'maximum control line exceeded'\r\n", b"")  # lost by a reset

        innocent.while_running(attack)
        assert settled_rss(daemon, innocent) - before < 2048 * KIB


@pytest.mark.parametrize(
    "line", [b"PING " + b"x" * 1000000, b"SUB " + b" " * 1000000, b"+OK" + b"\t" * 1000000, b"CONNECT" + b" " * 1000000]
)
def test_lines_without_end_that_are_tolerated(line: bytes) -> None:
    """P-16: what counts for nothing takes no memory, whoever sends how much of it, nor time."""
    with attacked() as (daemon, innocent):
        before = settled_rss(daemon, innocent)
        with crowd(daemon, 10) as peers:

            def attack() -> None:
                for peer in peers:
                    peer.send(line)
                    for _ in range(1000):
                        peer.send(line[-1:] * 10)

            innocent.while_running(attack)
            assert settled_rss(daemon, innocent) - before < 2048 * KIB


def test_deep_json() -> None:
    """P-7: however deep, it is a client's fault at most."""
    with attacked() as (daemon, innocent):
        for depth in 100, 1000, 2000:
            for text in (
                b'{"x":' + b"[" * depth + b"]" * depth + b"}",
                b'{"x":' * depth + b"1" + b"}" * depth,
                b"[" * depth,
            ):
                if len(text) <= 4096:
                    for verb in b"CONNECT ", b"INFO ":
                        with Peer(daemon.address) as peer:
                            peer.send(verb + text + b"\r\n")
                            peer.rest()
                innocent.round_trip()


@pytest.mark.parametrize(
    "pattern", [b"churn.%d.x", b"churn.%d.*", b"*.%d.>"], ids=["literal", "wildcard", "first token a wildcard"]
)
def test_subscriptions_churned_at_full_speed(pattern: bytes) -> None:
    with attacked() as (daemon, innocent):
        pairs = b"".join(b"SUB " + pattern % i + b" %d\r\nUNSUB %d\r\n" % (i, i) for i in range(1000))

        def attack() -> None:
            with Peer(daemon.address) as peer:
                peer.connect()
                for _ in range(10):
                    peer.send(pairs)
                before = settled
                for _ in range(90):
                    peer.send(pairs)
                assert peer.ping() == []
                assert daemon.rss_bytes() - before < 8192 * KIB

        settled = settled_rss(daemon, innocent)
        innocent.while_running(attack)


def test_many_subscriptions_vanish_at_once() -> None:
    with attacked() as (daemon, innocent):

        def attack() -> None:
            with Peer(daemon.address) as peer:
                peer.connect()
                for start in range(0, 200000, 10000):
                    peer.send(b"".join(b"SUB many.%d %d\r\n" % (i, i) for i in range(start, start + 10000)))
                assert peer.ping() == []

        innocent.while_running(attack)
        with Peer(daemon.address) as peer:
            peer.connect()
            wait_for(lambda: not peer.ping() and innocent.round_trip() is None, "served")


FLOOD = b"PUB flood.x 1000\r\n" + b"x" * 1000 + b"\r\n"


def test_a_reader_that_stops_reading() -> None:
    """P-44, P-45: it is cut, without an -ERR, and logged; its publisher and the other reader lose nothing."""
    with (
        attacked("--max_pending", "1MB") as (daemon, innocent),
        Peer(daemon.address, receive_bytes=4096) as stuck,
        Peer(daemon.address) as good,
        Peer(daemon.address) as flooder,
    ):
        stuck.connect(name="stuck").command(b"SUB flood.> 1")
        good.connect().command(b"SUB flood.> 1")
        flooder.connect()
        count = 20000

        def attack() -> None:
            sender = threading.Thread(target=lambda: [flooder.send(FLOOD * 100) for _ in range(count // 100)])
            sender.start()
            wanted = b"MSG flood.x 1 1000\r\n" + b"x" * 1000 + b"\r\n"
            assert all(good.frame() == wanted for _ in range(count))
            sender.join()
            daemon.wait_line("Slow Consumer Detected: MaxPending of 1048576 Exceeded")

        innocent.while_running(attack)
        assert flooder.ping() == []
        assert b"-ERR" not in stuck.eof()
        line = next(line for line in daemon.lines if "Slow Consumer" in line)
        assert "stuck" in line
        assert "flood.x" in line


def test_a_reader_that_stops_reading_for_longer_than_the_write_deadline() -> None:
    """P-47."""
    with (
        attacked("--write_deadline", "200ms") as (daemon, innocent),
        Peer(daemon.address, receive_bytes=4096) as stuck,
        Peer(daemon.address) as flooder,
    ):
        stuck.connect().command(b"SUB flood.> 1")
        flooder.connect()

        def attack() -> None:
            for _ in range(80):
                flooder.send(FLOOD * 100)
            daemon.wait_line("Slow Consumer Detected: WriteDeadline")

        innocent.while_running(attack)
        assert flooder.ping() == []


@pytest.mark.parametrize(
    "question",
    [b"PING\r\n", b"SUB a..b 1\r\n", b"PUB nobody 0\r\n\r\n", b"PUB x\r\n"],
    ids=["PONG", "-ERR", "+OK", "help"],
)
def test_answers_that_nobody_reads(question: bytes) -> None:
    """What a client makes the server say counts like what others send it (P-44)."""
    with attacked("--max_pending", "1MB") as (daemon, innocent):
        before = settled_rss(daemon, innocent)
        with Peer(daemon.address, receive_bytes=4096) as peer:

            def attack() -> None:
                with contextlib.suppress(ConnectionError):
                    for _ in range(5000):  # much more than the kernels on the way can hold
                        peer.socket.sendall(question * 1700)
                daemon.wait_line("Slow Consumer Detected: MaxPending")

            innocent.while_running(attack)
            assert settled_rss(daemon, innocent) - before < 8 * 1024 * KIB


def test_a_thousand_unauthenticated_sockets() -> None:
    """P-53: each may cost one control line."""
    with attacked("--auth", "s3cr3t", auth_token="s3cr3t") as (daemon, innocent):
        before = settled_rss(daemon, innocent)
        with crowd(daemon, 1000, b'CONNECT {"name":"' + b"a" * 4000):
            assert (settled_rss(daemon, innocent) - before) / 1000 < 64 * KIB
            Innocent(daemon, auth_token="s3cr3t").check()


def test_more_unauthenticated_sockets_than_may_be() -> None:
    """P-53: the others wait and are served when there is room; who was let in before is served throughout."""
    with (
        attacked("--auth", "s3cr3t", auth_token="s3cr3t") as (daemon, innocent),
        crowd(daemon, 1024) as peers,
        Peer(daemon.address, info=False) as waiting,
    ):
        for _ in range(10):
            innocent.round_trip()
        waiting.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            waiting.receive()
        waiting.socket.settimeout(5)
        peers[17].socket.close()
        assert waiting.line().startswith(b"INFO ")
        waiting.connect(auth_token="s3cr3t")
        late = Innocent(daemon, auth_token="s3cr3t")  # the one that is in now needs no place any more
        late.check()


def test_unauthenticated_and_never_reading() -> None:
    """P-53: answers to bad CONNECTs are bounded too."""
    with attacked("--auth", "s3cr3t", auth_token="s3cr3t") as (daemon, innocent), contextlib.ExitStack() as stack:
        before = settled_rss(daemon, innocent)
        peers = [stack.enter_context(Peer(daemon.address, receive_bytes=4096)) for _ in range(2)]

        def attack() -> None:
            bad = memoryview(b"CONNECT x\r\n" * 400000)
            for peer in peers:
                peer.socket.settimeout(5)
                with contextlib.suppress(TimeoutError, ConnectionError):  # nobody reads any more, or it was closed
                    peer.socket.sendall(bad)

        innocent.while_running(attack)
        assert (settled_rss(daemon, innocent) - before) / len(peers) < 128 * KIB


def test_authentication_timeout() -> None:
    """P-52: the deadline that was set holds for everybody, whatever they have begun."""
    with (
        attacked("--auth", "s3cr3t", "--auth_timeout", "200ms", auth_token="s3cr3t") as (daemon, innocent),
        contextlib.ExitStack() as stack,
    ):
        peers = [
            stack.enter_context(crowd(daemon, 10, start))[0]
            for start in (b"", b"C", b"CONNECT {", b"\r\n", b"CONNECT x\r\n")
        ]

        def all_closed() -> None:
            for peer in peers:
                assert peer.eof().endswith(b"-ERR 'Authentication Timeout'\r\n")

        innocent.while_running(all_closed)


BODIES = [
    b"PUB innocent.1.web 3\r\nbad\r\n",
    b"\r\nPUB innocent.1.web 3\r\nbad\r\n",
    b"CONNECT {}\r\nPUB innocent.1.web 3\r\nbad\r\n",
]


@pytest.mark.parametrize(
    "method",
    [
        b"POST",
        b"GET",
        b"PUT",
        b"HEAD",
        b"OPTIONS",
        b"PATCH",
        b"DELETE",
        b"TRACE",
        b"CONNECT",
        b"PROPFIND",
        b"SUBSCRIBE",
    ],
)
def test_a_browser_publishes_nothing(method: bytes) -> None:
    """P-54. The innocent would see it."""
    with attacked() as (daemon, innocent):
        assert innocent.subject == b"innocent.1", "the one that the bodies name"
        for body in BODIES:
            head = (
                b"%b / HTTP/1.1\r\nHost: localhost:4222\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
                % (method, len(body))
            )
            for pieces in [head + body], [head, body], [method, head[len(method) :] + body]:
                with Peer(daemon.address) as peer:
                    for piece in pieces:
                        peer.send(piece)
                    said = peer.eof()
                    assert said.endswith(b"-ERR 'Unknown Protocol Operation'\r\n")
                    assert b"+OK" not in said
                innocent.round_trip()


def test_garbage() -> None:
    """Whatever comes, before or after CONNECT."""
    chance = random.Random(20251124)
    words = [
        b"PUB ",
        b"SUB ",
        b"UNSUB ",
        b"HPUB ",
        b"CONNECT ",
        b"{}",
        b"\r\n",
        b"\n",
        b" ",
        b"a",
        b"1",
        b"99",
        b"-",
        b".",
        b">",
        b"*",
        b"\x00",
        b"\xff",
    ]
    with attacked() as (daemon, innocent):
        for i in range(300):
            with Peer(daemon.address) as peer:
                if i % 2:
                    peer.send(b'CONNECT {"verbose":false,"headers":true}\r\n')
                peer.send(
                    b"".join(chance.choice(words) for _ in range(chance.randrange(60))) + chance.randbytes(i % 20)
                )
                peer.rest()
            innocent.round_trip()


def test_secrets_are_in_no_log() -> None:
    """P-9, P-58: whatever slot they come in, whether they are right or wrong."""
    secret = "c4n4ry"
    with natslite_server("-DV", "--user", "ann", "--pass", secret) as daemon:
        slots = ["pass", "auth_token", "jwt", "nkey", "sig", "proxy_sig"]
        for fields in (
            {"user": "ann", "pass": secret},
            {"user": "bob", **dict.fromkeys(slots, secret)},
            {"auth_token": secret},
            {"user": "ann", "pass": secret, "account": "x"},
            {"user": "ann", "pass": secret, "verbose": 1},
        ):
            with Peer(daemon.address) as peer:
                text = json.dumps(fields)
                peer.send(
                    b"CONNECT "
                    + text.encode()
                    + b"\r\n"
                    + b"CONNECT"
                    + text.replace('"pass"', '"PASS" ').encode()
                    + b"\r\nPING\r\n"
                )
                peer.rest()
        assert daemon.stop() == 0
        assert any("[REDACTED]" in line for line in daemon.lines)
        assert not [line for line in daemon.lines if secret in line]


def test_plain_talk_to_a_tls_port(tmp_path: Path) -> None:
    """P-71, P-72: closed without a word; who says nothing is given up."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    flags = ["--tls", "--tlscert", str(tmp_path / "cert.pem"), "--tlskey", str(tmp_path / "key.pem")]
    with natslite_server(*flags) as daemon, crowd(daemon, 50) as silent:
        for start in (
            b"CONNECT {}\r\nPING\r\n",
            b"\x00" * 1000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\xff\xff" + b"\xff" * 500,
        ):
            with Peer(daemon.address) as peer:
                assert json.dumps(peer.info["tls_required"]) == "true"
                peer.send(start)
                assert b"-ERR" not in peer.eof()
        for peer in silent:
            assert peer.eof() == b""
        assert daemon.stop() == 0

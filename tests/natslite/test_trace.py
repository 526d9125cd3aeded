"""What `-DV` writes about a connection, beside nats-server's log of the same session. Rules P-9 and P-84."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite.log import Silent
from natslite.trace import Tracer, quoted
from tests.peers import Daemon, Peer, nats_server, natslite_server, wait_for

CLOSED = "Client connection closed: "

EXCEPTIONS = (
    "[ERR]",  # ours name fewer faults of clients, and not where in our parser they were found
    "Auto-unsubscribe limit of",
)
"""Lines of nats-server that ours need not have."""

CONNECT = (
    b'CONNECT {"verbose":true,"pedantic":true,"protocol":1,"headers":true,"no_responders":true,'
    b'"name":"n","lang":"py","version":"1.2"}\r\n'
)
SESSIONS = {
    "publish": CONNECT + b'PING\r\nSUB foo  1\r\nsub foo q 2\r\nPUB foo 5\r\nhe"lo\r\nPUB foo r\t2\r\n\x00\xff\r\n'
    b"PUB foo 0\r\n\r\nUNSUB 1\r\nUNSUB 2\r\n",
    "headers": CONNECT + b"SUB h 1\r\nHPUB h 12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 1\r\n",
    "payload": CONNECT + "PUB a 15\r\n\r\n\t\\é\u2028\x7f\x1b世\r\n".encode(),
    "max": CONNECT + b"SUB a 1\r\nUNSUB 1 2\r\n" + b"PUB a 1\r\nx\r\n" * 3 + b"UNSUB 1\r\n",
    "max reached": CONNECT + b"SUB a 1\r\nPUB a 0\r\n\r\nUNSUB 1 1\r\n",
    "unknown sid": CONNECT + b"UNSUB 9\r\nSUB a 1\r\nSUB a 1\r\nUNSUB 1 0\r\n",
    "no responders": CONNECT + b"SUB _I 1\r\nPUB a _I 0\r\n\r\nUNSUB 1\r\n",
    "pings": CONNECT + b"PING  x \r\nPONG y\r\n+OK\r\nINFO {}\r\nPING\r\n",
    "bad subjects": CONNECT + b"SUB a..b 1\r\nPUB a.* 1\r\nx\r\nPUB $NRG.x 1\r\nx\r\n",
    "second CONNECT": CONNECT + b'SUB a 1\r\nCONNECT {"name":"x","user":"u"}\r\nPING\r\n',
    "without CONNECT": b"SUB a 1\r\nPUB a 1\r\nx\r\nUNSUB 1\r\n",
    "user": b'CONNECT {"user":"a\\"b","pass":"s3cret","auth_token":"s3cret"}\r\nPING\r\n',
    "token": b'CONNECT {"auth_token":"s3cret", "name":"x\\ny\\u0007"}\r\nPING\r\n',
    "unknown verb": CONNECT + b"FOO\r\n",
    "no blank": CONNECT + b"UNSUB\r\n",
    "blank first": CONNECT + b"  PING\r\n",
    "bad SUB": CONNECT + b"SUB a\r\n",
    "bad UNSUB": CONNECT + b"UNSUB 1 2 3\r\n",
    "bad PUB": CONNECT + b"PUB a x\r\n",
    "bad HPUB": CONNECT + b"HPUB a 1\r\n",
    "no headers": b"CONNECT {}\r\nHPUB a 1 1\r\n",
    "payload end": CONNECT + b"PUB a 2\r\nabcd\r\n",
    "payload size": CONNECT + b"PUB a 99999999\r\n",
    "long line": CONNECT + b"PUB " + b"a" * 5000 + b"\r\n",
    "protocol": b'CONNECT {"protocol":7}\r\n',
    "responders": b'CONNECT {"no_responders":true}\r\n',
}


@pytest.fixture(scope="module")
def ours() -> Iterator[Daemon]:
    with natslite_server("-DV") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def theirs() -> Iterator[Daemon]:
    with nats_server("-DV") as daemon:
        yield daemon


def log_of(daemon: Daemon, use: Callable[[Peer], object]) -> list[str]:
    """What is written about one connection: without time, address and number; the end included."""
    begin = len(daemon.lines)
    with Peer(daemon.address) as peer:
        use(peer)
    wait_for(lambda: any(CLOSED in line for line in daemon.lines[begin:]), "the end of the connection")
    lines = [line.split(" ", 3)[3] for line in daemon.lines[begin:]]
    return [re.sub(r"127\.0\.0\.1:\d+ - cid:\d+", "<client>", line) for line in lines]


@pytest.mark.parametrize("session", SESSIONS)
def test_sessions(session: str, ours: Daemon, theirs: Daemon) -> None:
    """P-84: the same lines, in the same order."""

    def use(peer: Peer) -> None:
        peer.send(SESSIONS[session])
        peer.rest()

    expected = [line for line in log_of(theirs, use) if not any(part in line for part in EXCEPTIONS)]
    assert [line for line in log_of(ours, use) if "[ERR]" not in line] == expected
    assert not [line for daemon in (ours, theirs) for line in daemon.lines if "s3cret" in line]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pieces(size: int, ours: Daemon) -> None:
    """However the bytes come, each line is written once."""
    sent = SESSIONS["publish"]

    def whole(peer: Peer) -> None:
        peer.send(sent)
        peer.rest()

    def pieces(peer: Peer) -> None:
        for at in range(0, len(sent), size):
            peer.send(sent[at : at + size])
        peer.rest()

    assert log_of(ours, pieces) == log_of(ours, whole)


def test_subscriptions_that_end_with_their_client(ours: Daemon) -> None:
    """P-84: each is named; in which order, and whether before their client's end, is not said."""
    lines = log_of(ours, lambda peer: peer.connect().command(b"SUB a 1", b"SUB b 2"))
    assert {line for line in lines if "DELSUB" in line} == {f"[TRC] <client> - <-> [DELSUB {sid}]" for sid in (1, 2)}


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b'CONNECT {"auth_token":"no","name":"n"}\r\n', 'authentication error - Token "[REDACTED]"'),
        (b'CONNECT {"user":"a\\nb\\"","pass":"no"}\r\n', 'authentication error - User "a\\nb\\""'),
        (b"CONNECT {}\r\n", "authentication error"),
        (b"PING\r\n", "authentication error"),
    ],
)
def test_who_was_not_let_in(sent: bytes, text: str) -> None:
    """P-58: said without being asked for more, and in one line, as by nats-server."""
    for server in (natslite_server, nats_server):
        with server("-D", "--auth", "s3cret") as daemon:

            def use(peer: Peer) -> None:
                peer.send(sent)
                peer.rest()

            assert log_of(daemon, use) == [
                "[DBG] <client> - Client connection created",
                f"[ERR] <client> - {text}",
                "[DBG] <client> - Client connection closed: Authentication Failure",
            ]


def test_what_limits_ended() -> None:
    """P-41, P-16, P-40, P-48, P-52: the end of a client that met one is explained."""
    with natslite_server("-D", "--ping_interval", "50ms", "--ping_max", "0") as daemon:
        lines = log_of(daemon, lambda peer: peer.connect().eof())
        assert "[DBG] <client> - Stale Client Connection - Closing" in lines
    with natslite_server("--max_connections", "1", "--max_control_line", "60") as daemon, Peer(daemon.address) as peer:
        peer.connect(name="n")
        with Peer(daemon.address) as other:
            other.eof()
        assert daemon.wait_line("[ERR]").endswith(" - maximum connections exceeded")
        peer.send(b"PUB " + b"a" * 70)
        peer.eof()
        daemon.wait_line('"n" - maximum control line exceeded')
    with natslite_server("-D", "--auth", "x", "--auth_timeout", "10ms") as daemon:
        assert "[DBG] <client> - Authentication Timeout" in log_of(daemon, Peer.eof)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", '""'),
        (b"plain words", '"plain words"'),
        (b'a"b\\c', '"a\\"b\\\\c"'),
        (b"\x00\a\b\t\n\v\f\r\x1b\x7f", '"\\x00\\a\\b\\t\\n\\v\\f\\r\\x1b\\x7f"'),
        ("é世🙂".encode(), '"é世🙂"'),
        ("\u2028\u00a0\U000e0001".encode(), '"\\u2028\\u00a0\\U000e0001"'),
        (b"\xff\xc3(", '"\\xff\\xc3("'),
    ],
)
def test_quoted(data: bytes, text: str) -> None:
    """As Go's %q."""
    assert quoted(data) == text


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def trace(self, text: str) -> None:
        self.lines.append(text)


@given(st.binary(max_size=40))
def test_nothing_forges_a_line(data: bytes) -> None:
    """P-84: whatever a client sends, a line of the log is one line, and nothing in it rules a terminal."""
    log = Lines()
    tracer = Tracer(log, "who")
    tracer.incoming(b"PUB", data)
    tracer.incoming(b"CONNECT", data)
    tracer.payload(data)
    tracer.outgoing(b"MSG " + data + b" 1 1\r\nx\r\n")
    tracer.expired(data)
    assert len(log.lines) >= 4
    for line in log.lines:
        assert all(character == "\t" or character >= " " for character in line), line
        assert line.encode()

"""One connection through feed and take: what no peer's transcript shows, such as memory, limits and time."""

from __future__ import annotations

import sys

import pytest

from natslite.engine.connection import Connection, Limits
from natslite.engine.permissions import Permissions
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist


class World:
    """A turn, a sublist and connections that accept any CONNECT."""

    def __init__(self, **limits) -> None:
        self.turn = Turn()
        self.sublist = Sublist()
        self.limits = Limits(**limits)

    def connection(self, *, connect: bool = True, headers: bool = True, trusted: bool = True) -> Connection:
        made = Connection(self.turn, self.sublist, self.limits, 1, trusted=trusted)
        if connect:
            made.accept(verbose=False, pedantic=False, echo=True, headers=headers, no_responders=headers)
        return made


def test_a_stream_reads_the_same_whole_byte_by_byte_and_at_every_cut():
    script = (
        b"SUB foo.* 1\r\nsub\tfoo.> q  2\r\nPUB foo.a r 3\r\nabc\r\nHPUB foo.b  12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
        b"PING\r\nUNSUB 1 2\r\nPUB  foo.c 00\r\n\r\nPONG\r\n+OK\r\nPINGxyz\r\nPUB none 0\r\n\r\nUNSUB 2\nPING\n"
    )

    def run(pieces):
        connection = World().connection()
        for piece in pieces:
            connection.feed(piece)
        assert not connection.is_closed
        return connection.take()

    whole = run([script])
    assert whole.count(b"PONG") == 3
    assert run([script[i : i + 1] for i in range(len(script))]) == whole
    for cut in range(1, len(script)):
        assert run([script[:cut], script[cut:]]) == whole


def test_what_cannot_matter_is_not_kept():
    connection = World().connection()
    connection.feed(b"PING" + b"x" * 100_000)
    connection.feed(b"y" * 100_000)
    assert connection.unread < 16_384
    connection.feed(b"\r\n")
    assert connection.take() == b"PONG\r\n"
    connection.feed(b"SUB" + b" " * 100_000)
    connection.feed(b" " * 100_000)
    assert connection.unread < 16_384
    connection.feed(b"foo 1\r\nPUB foo 0\r\n\r\n")
    assert connection.take() == b"MSG foo 1 0\r\n\r\n"


def test_an_announced_payload_costs_no_memory():
    connection = World().connection()
    connection.feed(b"PUB foo 1048576\r\n")
    assert connection.unread < 1024


def test_input_memory_is_given_back():
    connection = World().connection()
    connection.feed(b"PUB foo 100000\r\n" + b"x" * 50_000)
    assert connection.unread >= 50_000
    connection.feed(b"x" * 50_000 + b"\r\n")
    assert connection.unread == 0


@pytest.mark.parametrize(
    ("script", "answer", "reason"),
    [
        (b"SUB " + b"x" * 5000, b"-ERR 'maximum control line exceeded'\r\n", "Maximum Control Line Exceeded"),
        (b"PUB foo 1048577\r\n", b"-ERR 'Maximum Payload Violation'\r\n", "Maximum Message Payload Exceeded"),
        (b"PUB foo 2\r\nabc", b"-ERR 'Unknown Protocol Operation'\r\n", "Protocol Violation"),
        (b"FOO", b"-ERR 'Unknown Protocol Operation'\r\n", "Protocol Violation"),
        (b"PUB foo\r\n", b"", "Protocol Violation"),
        (b"HPUB foo 5 4\r\n", b"", "Protocol Violation"),
    ],
)
def test_fatal_input(script, answer, reason):
    for pieces in ([script], [script[i : i + 1] for i in range(len(script))]):
        connection = World().connection()
        for piece in pieces:
            connection.feed(piece)
        assert connection.take() == answer
        assert connection.is_closed
        assert connection.reason == reason


@pytest.mark.parametrize("verb", [b"PUB", b"HPUB", b"SUB", b"UNSUB", b"CONNECT", b"INFO", b"-ERR", b"HMSG"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b" \r\n"])
def test_any_number_of_arguments(verb, end):
    """The quick way through PUB and HPUB looked at a word before the first one, at whatever lay there."""
    for count in range(9):
        for word in (b"1", b"some.subject", b"x" * 90):
            connection = World().connection()
            connection.feed(b"SUB a.longer.subject queue 1\r\n" + b" ".join([verb, *[word] * count]) + end)
            answer = connection.take()
            while connection.control is not None:
                connection.resume()
            assert answer == b"" or answer.startswith(b"-ERR '")


def test_nothing_but_connect_before_authentication():
    for first in (b"PING\r\n", b"PUB foo 0\r\n\r\n", b"x"):
        connection = World().connection(connect=False, trusted=False)
        connection.feed(first)
        assert connection.take() == b"-ERR 'Authorization Violation'\r\n"
        assert connection.is_closed
    connection = World().connection(connect=False, trusted=False)
    connection.feed(b"\r\nCONNECT {}\r\nPING\r\n")
    assert connection.control == b"{}"
    assert not connection.is_closed


def test_reading_stops_at_connect_and_goes_on():
    connection = World().connection(connect=False)
    connection.feed(b"CONNECT {}\r\nPING\r\n")
    connection.feed(b"PING\r\n")
    assert connection.take() == b""
    connection.accept(verbose=True, pedantic=False, echo=True, headers=False, no_responders=False)
    connection.resume()
    assert connection.take() == b"+OK\r\nPONG\r\nPONG\r\n"


def test_a_slow_consumer_is_cut_at_max_pending_and_nobody_else():
    world = World(pending_bytes_max=10_000)
    slow, quick, publisher = world.connection(), world.connection(), world.connection()
    slow.feed(b"SUB a 1\r\n")
    quick.feed(b"SUB a 1\r\n")
    for _ in range(20):
        publisher.feed(b"PUB a 1000\r\n" + b"x" * 1000 + b"\r\n")
        assert len(quick.take()) == len(b"MSG a 1 1000\r\n") + 1002
    assert slow.is_closed
    assert slow.reason == "Slow Consumer (Pending Bytes)"
    assert slow.lost[0] == b"a"
    assert slow.lost[1] > 10_000
    assert world.turn.slow_consumers == 1
    assert not quick.is_closed


def test_a_slow_consumer_makes_its_publisher_wait_first():
    world = World(pending_bytes_max=10_000)
    slow, publisher = world.connection(), world.connection()
    slow.feed(b"SUB a 1\r\n")
    waited = []
    for _ in range(8):
        publisher.feed(b"PUB a 1000\r\n" + b"x" * 1000 + b"\r\n")
        waited.append(publisher.should_wait)
    assert waited == [False] * 7 + [True]  # three quarters of max_pending


def test_one_that_takes_nothing_for_100_ms_holds_nobody():
    world = World(pending_bytes_max=10_000)
    slow, publisher = world.connection(), world.connection()
    slow.feed(b"SUB a 1\r\n")
    publisher.feed(b"PUB a 1000\r\n" + b"x" * 1000 + b"\r\n")
    world.turn.now = 0.2
    for _ in range(8):
        publisher.feed(b"PUB a 1000\r\n" + b"x" * 1000 + b"\r\n")
        assert not publisher.should_wait
    slow.take()
    world.turn.now = 0.25
    for _ in range(8):
        publisher.feed(b"PUB a 1000\r\n" + b"x" * 1000 + b"\r\n")
    assert publisher.should_wait


def test_one_that_had_nothing_to_take_holds_like_any_other():
    world = World(pending_bytes_max=10_000)
    slow, publisher = world.connection(), world.connection()
    slow.feed(b"SUB a 1\r\n")
    publisher.feed(b"PUB a 1\r\nx\r\n")
    slow.take()
    world.turn.now = 100.0
    waited = []
    for _ in range(8):
        publisher.feed(b"PUB a 1000\r\n" + b"x" * 1000 + b"\r\n")
        waited.append(publisher.should_wait)
    assert waited == [False] * 7 + [True]


def test_a_fault_of_the_trace_costs_this_client_alone(monkeypatch):
    world = World()
    traced, other = world.connection(), world.connection()
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_type))
    traced.set_tracer(None)
    traced.feed(b"SUB a 1\r\n")
    other.feed(b"SUB a 1\r\n")
    traced.set_tracer(object())  # knows none of the calls
    other.feed(b"PUB a 1\r\nx\r\n")
    assert (traced.is_closed, traced.reason, seen) == (True, "Internal Fault", [AttributeError])
    assert other.take() == b"MSG a 1 1\r\nx\r\n"


def test_keep_alive():
    world = World(ping_interval_s=1.0, pings_outstanding_max=2)
    connection = world.connection()
    answers = []
    for now in (0.5, 1.0, 2.0, 3.0):
        connection.timer(now)
        answers.append(connection.take())
    assert answers == [b"", b"PING\r\n", b"PING\r\n", b"-ERR 'Stale Connection'\r\n"]
    assert connection.reason == "Stale Connection"
    assert world.turn.stale_connections == 1


def test_a_client_that_talks_is_not_pinged_once_its_round_trip_is_known():
    world = World(ping_interval_s=1.0)
    connection = world.connection()
    connection.timer(1.0)
    assert connection.take() == b"PING\r\n"
    world.turn.now = 1.1
    connection.feed(b"PONG\r\n")
    assert connection.rtt_s == pytest.approx(0.1)
    world.turn.now = 1.5
    connection.feed(b"PING\r\n")
    connection.take()
    connection.timer(2.0)
    assert connection.take() == b""


def test_authentication_deadline():
    world = World()
    connection = world.connection(connect=False, trusted=False)
    connection.deadline_at = 2.0
    assert connection.timer(1.0) == 2.0
    connection.timer(2.0)
    assert connection.take() == b"-ERR 'Authentication Timeout'\r\n"
    assert connection.is_closed


def test_write_deadline_counts_from_when_the_peer_stopped_taking():
    world = World(write_deadline_s=10.0)
    connection = world.connection()
    connection.send(b"x" * 100)
    connection.blocked(True)
    connection.timer(9.0)
    assert not connection.is_closed
    connection.timer(10.5)
    assert connection.reason == "Slow Consumer (Write Deadline)"


def test_limits_on_subscriptions():
    """P-42, P-43."""
    world = World(subscriptions_max=2, subscription_tokens_max=2)
    connection = world.connection()
    connection.feed(b"SUB a 1\r\nSUB b.c.d 2\r\nSUB b.c 2\r\nSUB d 3\r\nUNSUB 1\r\nSUB d 3\r\nPING\r\n")
    assert connection.take() == (
        b"-ERR 'Permissions Violation for Subscription to \"b.c.d\", too many tokens'\r\n"
        b"-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n"
    )
    assert connection.subscriptions == 2


def test_permissions_are_asked_at_every_door():
    """P-60, P-61, P-63, P-64, P-65."""
    world = World()
    connection, other = world.connection(), world.connection()
    connection.set_permissions(
        Permissions(
            publish_allow=[b"foo.*"],
            publish_deny=[b"foo.no"],
            subscribe_allow=[b"foo.>", b"bar q1"],
            subscribe_deny=[b"foo.secret"],
        )
    )
    connection.feed(b"PUB nope 0\r\n\r\nPUB foo.no 0\r\n\r\nPUB foo.ok 0\r\n\r\nPUB foo.no 0\r\n\r\n")
    connection.feed(b"SUB nope 1\r\nSUB foo.secret 2\r\nSUB foo.> 3\r\nSUB bar q1 4\r\nSUB bar 5\r\nSUB bar q2 6\r\n")
    other.feed(b"PUB foo.secret 0\r\n\r\nPUB foo.fine 0\r\n\r\n")
    assert connection.take().split(b"\r\n") == [
        b"-ERR 'Permissions Violation for Publish to \"nope\"'",
        b"-ERR 'Permissions Violation for Publish to \"foo.no\"'",
        b"-ERR 'Permissions Violation for Publish to \"foo.no\"'",
        b"-ERR 'Permissions Violation for Subscription to \"nope\"'",
        b"-ERR 'Permissions Violation for Subscription to \"foo.secret\"'",
        b"-ERR 'Permissions Violation for Subscription to \"bar\"'",
        b'-ERR \'Permissions Violation for Subscription to "bar" using queue "q2"\'',
        b"MSG foo.fine 3 0",
        b"",
        b"",
    ]


def test_answers_to_requests_are_allowed_once():
    world = World()
    responder, other = world.connection(), world.connection()
    responder.set_permissions(Permissions(responses_max=1, responses_expire_s=2.0))
    responder.feed(b"SUB req 1\r\nPUB inbox 0\r\n\r\n")
    other.feed(b"SUB inbox.* 1\r\nPUB req inbox.1 0\r\n\r\nPUB req inbox.2 0\r\n\r\n")
    responder.feed(b"PUB inbox.1 2\r\nok\r\nPUB inbox.1 2\r\nno\r\n")
    world.turn.now = 3.0
    responder.feed(b"PUB inbox.2 4\r\nlate\r\n")
    assert other.take() == b"MSG inbox.1 1 2\r\nok\r\n"
    assert responder.take().count(b"Permissions Violation for Publish") == 3


def test_statistics():
    world = World()
    connection = world.connection()
    connection.feed(b"SUB a 1\r\nSUB a 2\r\nPUB a 5\r\nhello\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
    assert connection.counted_in == (2, 19)
    assert connection.counted_out == (4, 38)
    assert world.turn.counted == (2, 19, 4, 38)
    pending = connection.pending
    assert pending == world.turn.pending_bytes == len(connection.take())
    assert world.turn.pending_bytes == 0

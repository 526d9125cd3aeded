"""The hub alone, on socket pairs: what its turns cost and whom they serve."""

from __future__ import annotations

import socket

from natslite.engine.connection import Connection, Limits
from natslite.engine.hub import Hub, Watched
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist


class Owner:
    """Leaves what it is called for as it is."""

    called = 0

    def attend(self) -> None:
        self.called += 1


def test_a_turn_ends_when_all_that_is_ready_waits_for_python():
    """It asked for the same descriptors again until its 2 ms were over."""
    hub = Hub(Turn(), spin=False)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watched = Watched(Owner(), ours.fileno())
        hub.watch(watched)
        theirs.send(b"x")
        ended = []
        for _ in range(20):
            assert hub.poll(0.0) == [watched]
            ended.append(not hub.settle())
        assert any(ended)  # not all: the machine may have stopped for as long
        hub.unwatch(watched)


def test_a_connection_is_served_while_others_wait_for_python():
    turn = Turn()
    hub = Hub(turn, spin=False)
    ends = [socket.socketpair() for _ in range(20)]
    mine, theirs = socket.socketpair()
    for ours, other in ends:
        hub.watch(Watched(Owner(), ours.fileno()))
        other.send(b"x")
    mine.setblocking(False)
    connection = Connection(turn, Sublist(), Limits(), 1)
    connection.owner = Owner()
    hub.add(connection, mine.detach())
    theirs.send(b"PING\r\n")
    theirs.settimeout(5)
    for _ in range(len(ends)):
        hub.poll(0.0)
        hub.settle()
    assert theirs.recv(100) == b"PONG\r\n"
    hub.close()
    for pair in [*ends, (theirs,)]:
        for end in pair:
            end.close()


def test_who_has_much_to_say_is_read_in_slices():
    """P-49: what its neighbour publishes comes before the last of many subscriptions that came in one piece."""
    turn = Turn()
    sublist = Sublist()
    hub = Hub(turn, spin=False)
    ends = []
    for number in range(2):
        mine, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.setblocking(False)
        mine.setblocking(False)
        connection = Connection(turn, sublist, Limits(), number)
        connection.owner = Owner()
        hub.add(connection, mine.detach())
        connection.accept(verbose=False, pedantic=False, echo=True, headers=False, no_responders=False)
        ends.append(theirs)
    busy, other = ends
    count = 12_000  # within one buffer of the hub
    script = b"".join(b"SUB a.%d %d\r\n" % (i, i) for i in range(count)) + b"PING\r\n"
    assert busy.send(script) == len(script)
    other.send(b"PUB a.%d 0\r\n\r\nPING\r\n" % (count - 1))
    hub.poll(0.0)
    assert other.recv(100) == b"PONG\r\n"
    while hub.settle():
        hub.poll(0.0)
    assert len(sublist) == count
    assert busy.recv(100) == b"PONG\r\n"
    hub.close()
    for theirs in ends:
        theirs.close()


def test_who_comes_and_goes_leaves_its_slot_to_the_next():
    turn = Turn()
    hub = Hub(turn, spin=False)
    sublist = Sublist()
    for number in range(1000):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        connection = Connection(turn, sublist, Limits(), number)
        owner = connection.owner = Owner()
        hub.add(connection, ours.detach())
        with theirs:
            theirs.send(b"SUB foo %d\r\n" % number)
            hub.poll(0.0)
            assert (len(sublist), hub.connections) == (1, [connection])
        while not owner.called:
            for item in hub.poll(0.0):
                item.owner.attend()
            hub.settle()
        assert (len(sublist), hub.connections, connection.fd) == (0, [], -1)
    hub.close()

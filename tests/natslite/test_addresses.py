"""Rules P-80 and P-87, without a server."""

from __future__ import annotations

import errno
import socket

import pytest

from natslite import addresses
from natslite.log import Silent


def test_how_they_are_written() -> None:
    assert addresses.joined("127.0.0.1", 4222) == "127.0.0.1:4222"
    assert addresses.joined("::1", 4222) == "[::1]:4222"


def test_where_clients_of_this_machine_can_go() -> None:
    """127.0.0.1 comes first, whatever else there is."""
    assert addresses.reachable([("0.0.0.0", 1)]) == ["127.0.0.1:1"]
    assert addresses.reachable([("::", 1)]) == ["127.0.0.1:1", "[::1]:1"]
    assert addresses.reachable([("127.0.0.1", 1), ("::1", 1), ("h", 2)]) == ["127.0.0.1:1", "[::1]:1", "h:2"]


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("::", False)]
)  # fmt: skip
def test_loopback(address: str, expected: bool) -> None:
    assert addresses.is_loopback(address) is expected


def test_both_get_one_free_port() -> None:
    sockets = addresses.bind_loopback(0, Silent())
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


def test_a_port_that_one_of_them_has_not_free_is_not_taken() -> None:
    """Of 127.0.0.1 alone it would be: somebody else would answer on ::1."""
    try:
        other = addresses.bind("::1", 0)
    except OSError:
        pytest.skip("::1 does not exist here")
    with other:
        port = other.getsockname()[1]
        other.listen()
        with pytest.raises(OSError, match="in use") as raised:
            addresses.bind_loopback(port, Silent())
        assert raised.value.filename == f"[::1]:{port}"
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))  # it was let go


def test_what_is_not_there() -> None:
    with pytest.raises(OSError, match="assign requested address") as raised:
        addresses.bind("192.0.2.1", 4222)
    assert (raised.value.errno, raised.value.filename) == (errno.EADDRNOTAVAIL, "192.0.2.1:4222")

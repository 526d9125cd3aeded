"""Addresses to listen on: sockets bound to them, and how they are written. Rules P-80 and P-87.

Used by the server and by the monitoring port. It knows no client.
"""

from __future__ import annotations

import errno
import os
import socket

from natslite.log import Log

PORTS_TRIED_MAX = 64
"""Free ports of 127.0.0.1 that are looked for on ::1 too."""


def joined(host: str, port: int) -> str:
    """`127.0.0.1:4222`, `[::1]:4222`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can be there."""
    return address == "::1" or address.startswith("127.")


def reachable(addresses: list[tuple[str, int]]) -> list[str]:
    """Where clients of this machine can go; a wildcard address means 127.0.0.1 first."""
    wildcards = {"0.0.0.0": ["127.0.0.1"], "::": ["127.0.0.1", "::1"]}
    return [joined(shown, port) for host, port in addresses for shown in wildcards.get(host, [host])]


def bind(host: str, port: int) -> socket.socket:
    """A non-blocking TCP socket that is bound, not yet listening; port 0 is any. OSError has `filename` "host:port"."""
    try:
        if host in ("", "0.0.0.0"):
            # everybody of both families, as Go listens
            try:
                return _bind("::", port)
            except OSError as error:
                if not _is_missing(error):
                    raise
        return _bind(host or "0.0.0.0", port)
    except OSError as error:
        error.filename = joined(host, port)
        raise


def bind_loopback(port: int, log: Log) -> list[socket.socket]:
    """127.0.0.1 and ::1 on one port; only the first where ::1 does not exist. OSError as for `bind`."""
    for _ in range(PORTS_TRIED_MAX):
        first = bind("127.0.0.1", port)
        try:
            return [first, bind("::1", first.getsockname()[1])]
        except OSError as error:
            if _is_missing(error):
                log.debug("::1 does not exist here, listening on 127.0.0.1 only")
                return [first]
            first.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), "127.0.0.1 and ::1")


def backlog() -> int:
    """The system's maximum."""
    try:
        with open("/proc/sys/net/core/somaxconn") as file:
            return int(file.read())
    except (OSError, ValueError):
        return socket.SOMAXCONN


def _is_missing(error: OSError) -> bool:
    """Whether the machine has no such address, or does not speak that family."""
    return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(error, socket.gaierror)


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock

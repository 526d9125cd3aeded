"""A client's end of a connection, for tests that run in the same trio loop as the server, plain or TLS.

The blocking one of `tests.peers` is for servers in threads and processes. Under a virtual clock all waits end at once.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio
import trustme

from natslite.options import Tls
from natslite.server import Server


class Certificates:
    """An authority, files for a server, contexts for clients."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.other_authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        self.cert_file = str(directory / "cert.pem")
        self.key_file = str(directory / "key.pem")
        with open(self.cert_file, "wb") as file:
            file.writelines(pem.bytes() for pem in issued.cert_chain_pems)
        issued.private_key_pem.write_to_path(self.key_file)

    def options(self, *, verify: bool = False) -> Tls:
        return Tls(
            cert_file=self.cert_file, key_file=self.key_file, ca_file=self.ca_file if verify else None, verify=verify
        )

    def client(self, *, known: bool = False, foreign: bool = False) -> ssl.SSLContext:
        """`known`: with a certificate of the server's authority; `foreign`: of another."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if known:
            self.authority.issue_cert("client@example.com").configure_cert(context)
        if foreign:
            self.other_authority.issue_cert("client@example.com").configure_cert(context)
        return context


class Wire:
    """Sends and receives; INFO was read by `dial`."""

    def __init__(self, stream: trio.abc.Stream, raw: trio.SocketStream, info: dict[str, Any], rest: bytes) -> None:
        self.stream = stream
        self.raw = raw
        self.info = info
        self.buffer = bytearray(rest)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self) -> bool:
        """False at the end, also when it is a reset; but not when TLS is cut off."""
        try:
            data = await self.stream.receive_some(1 << 16)
        except trio.BrokenResourceError as error:
            if not isinstance(error.__cause__, ConnectionResetError | trio.BrokenResourceError):
                raise
            data = b""
        self.buffer += data
        return bool(data)

    async def until(self, end: bytes) -> bytes:
        """What comes, up to `end` or the end of the stream."""
        searched = 0
        while (at := self.buffer.find(end, max(0, searched - len(end)))) < 0:
            searched = len(self.buffer)
            if not await self.receive():
                at = len(self.buffer)
                break
        return self.take(at + len(end))

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count and await self.receive():
            pass
        return self.take(count)

    def take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    async def eof(self) -> bytes:
        while await self.receive():
            pass
        return self.take(len(self.buffer))

    async def connect(self, **fields: Any) -> Wire:
        """A quiet CONNECT; done when the server has read it."""
        text = json.dumps({"verbose": False, "pedantic": False, **fields})
        await self.command(f"CONNECT {text}".encode())
        return self

    async def command(self, *lines: bytes) -> None:
        await self.send(b"".join(line + b"\r\n" for line in lines) + b"PING\r\n")
        assert await self.until(b"PONG\r\n") == b"PONG\r\n"


@contextlib.asynccontextmanager
async def dial(
    server: Server, context: ssl.SSLContext | None = None, *, receive_bytes: int | None = None, secure: bool = True
) -> AsyncIterator[Wire]:
    """A connection after INFO and, with `context`, after the handshake (`secure` False: right before it)."""
    sock = trio.socket.socket()
    with sock:
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await sock.connect(("127.0.0.1", server.port))
        raw = trio.SocketStream(sock)
        head = bytearray()
        while b"\n" not in head:
            data = await raw.receive_some()
            assert data, f"closed after {bytes(head)!r}"
            head += data
        line, _, rest = bytes(head).partition(b"\n")
        info = json.loads(line.removeprefix(b"INFO "))
        stream: trio.abc.Stream = raw
        if context is not None:
            assert not rest
            stream = trio.SSLStream(raw, context, server_hostname="127.0.0.1")
            if secure:
                await stream.do_handshake()
        yield Wire(stream, raw, info, rest)

"""The monitoring port: HTTP/1.1 through h11, a task for each connection. Rules P-90, P-92 and P-93.

Opened and served by the daemon when `-m` is given. Every method is served alike, as by nats-server; a body is read and
thrown away. Deadlines and sizes are our own: nobody holds a connection by sending slowly, and no more connections are
accepted than are served.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import formatdate

import h11
import trio

from natslite import __version__, addresses
from natslite.log import Log
from natslite.monitor.certificate import not_after
from natslite.monitor.varz import varz
from natslite.options import NATS_VERSION
from natslite.server import Server

HEAD_DEADLINE_S = 5.0
BODY_DEADLINE_S = 30.0
"""For a request's body, and for the answer to be taken."""
IDLE_DEADLINE_S = 60.0
"""Between two requests of a connection."""
LINGER_DEADLINE_S = 1.0
"""After a refusal: closing at once, with input unread, would reset the connection and lose the answer."""
HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64
ACCEPT_PAUSE_S = 0.5
"""How long the listener rests after the system had no descriptor or memory for another socket."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

Answer = tuple[int, str, str]
"""Status, content type, body."""

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}


class Monitor:
    """The endpoints of one server and where they are served."""

    def __init__(self, server: Server, log: Log, host: str, sock: trio.socket.SocketType) -> None:
        self.host = host
        self.port: int = sock.getsockname()[1]
        self.requests: dict[str, int] = {}
        self.paths: dict[str, Callable[[], Answer]] = {
            "/": self._root,
            "/varz": self._varz,
            "/healthz": self._healthz,
        }
        self._server = server
        self._log = log
        self._listener = trio.SocketListener(sock)
        self._room = trio.Semaphore(CONNECTIONS_MAX)
        self._cpu = _CpuMeter()
        self._certificate_end: datetime | None = None
        if server.options.tls is not None:
            with open(server.options.tls.cert_file) as file:
                self._certificate_end = not_after(file.read())

    # ---- what is answered

    def answer(self, target: str) -> Answer:
        """What a request for this path and query gets."""
        path = target.partition("?")[0]
        if "://" in path:
            path = "/" + path.partition("://")[2].partition("/")[2]  # a proxy's form, with scheme and host
        endpoint = self.paths.get(path)
        if endpoint is None:
            return 404, TEXT, "404 page not found\n"
        self.requests[path] = self.requests.get(path, 0) + 1
        return endpoint()

    def _root(self) -> Answer:
        links = "".join(f'<li><a href=".{path}">{path}</a></li>' for path in self.paths if path != "/")
        title = f"natslite {__version__} (NATS {NATS_VERSION})"
        body = f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><ul>{links}</ul></html>\n'
        return 200, HTML, body

    def _varz(self) -> Answer:
        document = varz(
            self._server,
            monitor=(self.host, self.port),
            requests=self.requests,
            certificate_end=self._certificate_end,
            memory_bytes=_resident_bytes(),
            cpu_percent=self._cpu.percent(),
            dropped_log_lines=self._log.dropped,
        )
        return 200, JSON, json.dumps(document, indent=2)

    def _healthz(self) -> Answer:
        return 200, JSON, '{"status":"ok"}'

    # ---- how

    async def serve(self) -> None:
        """Accepts and answers until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._room.acquire()
                nursery.start_soon(self._attend, await self._accept())

    def close(self) -> None:
        """Gives the port back."""
        self._listener.socket.close()

    async def _accept(self) -> trio.SocketStream:
        told = False
        while True:
            try:
                return await self._listener.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                if not told:
                    self._log.error(f"Temporary http monitor accept error ({error.strerror})")
                    told = True
                await trio.sleep(ACCEPT_PAUSE_S)

    async def _attend(self, stream: trio.SocketStream) -> None:
        """One connection, to its end. Its faults end nothing else."""
        try:
            async with stream:
                await _converse(stream, self.answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception as fault:
            self._server.report_fault("http monitor", fault)
        finally:
            self._room.release()


def open_monitor(server: Server, log: Log) -> Monitor:
    """Binds the monitoring port of a server's Options. OSError has `filename` "host:port"."""
    options = server.options
    host = options.monitor_host or options.host or "127.0.0.1"
    sock = addresses.bind(host, max(0, options.monitor_port or 0))
    sock.listen(CONNECTIONS_MAX)
    monitor = Monitor(server, log, host, trio.socket.from_stdlib_socket(sock))
    log.notice(f"Starting http monitor on {addresses.joined(host, monitor.port)}")
    return monitor


async def _converse(stream: trio.abc.HalfCloseableStream, answer: Callable[[str], Answer]) -> None:
    """Requests of one client, one after the other."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    while True:
        try:
            with trio.fail_after(HEAD_DEADLINE_S):
                request = await _next_event(http, stream)
            if not isinstance(request, h11.Request):
                return
            with trio.fail_after(BODY_DEADLINE_S):
                await _skip_body(http, stream)
        except h11.RemoteProtocolError as error:
            if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                status = error.error_status_hint if error.error_status_hint in REASONS else 400
                await _send(http, stream, (status, TEXT, f"{status} {REASONS[status].decode()}\n"), b"GET")
                await _linger(stream)
            return
        target = request.target.decode("ascii")
        # CONNECT asks for a tunnel to its target, and any other answer would be one
        found = answer(target if request.method != b"CONNECT" else "/no tunnel")
        await _send(http, stream, found, request.method)
        if http.our_state is not h11.DONE:
            return
        http.start_next_cycle()
        if not http.trailing_data[0]:
            with trio.move_on_after(IDLE_DEADLINE_S) as idle:
                http.receive_data(bytes(await stream.receive_some(HEAD_BYTES_MAX)))
            if idle.cancelled_caught:
                return


async def _next_event(http: h11.Connection, stream: trio.abc.HalfCloseableStream) -> object:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        if http.they_are_waiting_for_100_continue:
            informational = h11.InformationalResponse(status_code=100, headers=[])
            await stream.send_all(http.send(informational) or b"")
        http.receive_data(bytes(await stream.receive_some(HEAD_BYTES_MAX)))


async def _skip_body(http: h11.Connection, stream: trio.abc.HalfCloseableStream) -> None:
    total = 0
    while isinstance(event := await _next_event(http, stream), h11.Data):
        total += len(event.data)
        if total > BODY_BYTES_MAX:
            raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)


async def _send(http: h11.Connection, stream: trio.abc.HalfCloseableStream, answer: Answer, method: bytes) -> None:
    status, kind, text = answer
    body = text.encode()
    headers = [("Content-Type", kind), ("Date", formatdate(usegmt=True)), ("Content-Length", str(len(body)))]
    if kind == JSON:
        headers.insert(0, ("Access-Control-Allow-Origin", "*"))
    if kind == TEXT:
        headers.insert(1, ("X-Content-Type-Options", "nosniff"))
    data = http.send(h11.Response(status_code=status, headers=headers, reason=REASONS[status])) or b""
    if method != b"HEAD":
        data += http.send(h11.Data(data=body)) or b""
    data += http.send(h11.EndOfMessage()) or b""
    with trio.fail_after(BODY_DEADLINE_S):
        await stream.send_all(data)


async def _linger(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_eof()
    with trio.move_on_after(LINGER_DEADLINE_S):
        while await stream.receive_some(HEAD_BYTES_MAX):
            pass


class _CpuMeter:
    """CPU of the process since it was last asked, in per cent of one processor."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._used = time.process_time()
        self._percent = 0.0

    def percent(self) -> float:
        wall, used = time.monotonic(), time.process_time()
        if wall - self._wall >= 0.1:
            self._percent = 100 * (used - self._used) / (wall - self._wall)
            self._wall, self._used = wall, used
        return self._percent


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

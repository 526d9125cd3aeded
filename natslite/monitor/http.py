"""The monitoring port: HTTP/1.1 through h11, a task for each connection. Rules P-90 and P-92.

Started by the daemon when `-m` is given. Every method is served alike, as by nats-server; a body is read and thrown
away. Deadlines and sizes are our own: nobody holds a connection by sending slowly.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from email.utils import formatdate

import h11
import trio

from natslite import __version__
from natslite.log import Log
from natslite.monitor.varz import varz
from natslite.options import NATS_VERSION
from natslite.server import Server

HEAD_DEADLINE_S = 5.0
BODY_DEADLINE_S = 30.0
IDLE_DEADLINE_S = 60.0
HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, str]
"""Status, content type, body."""


class Monitor:
    """The endpoints of one server."""

    def __init__(self, server: Server, log: Log) -> None:
        self.server = server
        self.log = log
        self.host = ""
        self.port = 0
        self.requests: dict[str, int] = {}
        self._cpu = _CpuMeter()
        self.paths: dict[str, Callable[[], Answer]] = {
            "/": self._root,
            "/varz": self._varz,
            "/healthz": self._healthz,
        }

    def answer(self, target: str) -> Answer:
        """What a request for this path and query gets."""
        path = target.partition("?")[0]
        endpoint = self.paths.get(path)
        if endpoint is None:
            return 404, TEXT, "404 page not found\n"
        self.requests[path] = self.requests.get(path, 0) + 1
        return endpoint()

    def _root(self) -> Answer:
        links = "".join(f'<li><a href=".{path}">{path}</a></li>' for path in self.paths if path != "/")
        title = f"natslite {__version__} (NATS {NATS_VERSION})"
        body = f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><ul>{links}</ul></html>\n'
        return 200, "text/html; charset=utf-8", body

    def _varz(self) -> Answer:
        document = varz(
            self.server,
            monitor=(self.host, self.port),
            requests=self.requests,
            memory_bytes=_resident_bytes(),
            cpu_percent=self._cpu.percent(),
            dropped_log_lines=self.log.dropped,
        )
        return 200, JSON, json.dumps(document, indent=2)

    def _healthz(self) -> Answer:
        return 200, JSON, '{"status":"ok"}'


async def serve_monitor(
    server: Server, log: Log, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serves until cancelled; reports the addresses. OSError with `filename` "host:port" when there is none."""
    options = server.options
    host = options.monitor_host or options.host or "127.0.0.1"
    port = max(0, options.monitor_port or 0)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        error.filename = _join(host, port)
        raise
    monitor = Monitor(server, log)
    monitor.host = host
    monitor.port = listeners[0].socket.getsockname()[1]
    log.notice(f"Starting http monitor on {_join(host, monitor.port)}")
    limit = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def serve(stream: trio.SocketStream) -> None:
        async with limit:
            try:
                await _serve_connection(stream, monitor)
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, trio.TooSlowError):
                pass
            except Exception as fault:
                server.report_fault("monitoring", fault)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        task_status.started([(host, monitor.port)])


async def _serve_connection(stream: trio.SocketStream, monitor: Monitor) -> None:
    """Requests of one client, one after the other."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    deadline = HEAD_DEADLINE_S
    while True:
        try:
            with trio.fail_after(deadline):
                request = await _next_event(http, stream)
            if not isinstance(request, h11.Request):
                return
            with trio.fail_after(BODY_DEADLINE_S):
                await _skip_body(http, stream)
        except h11.RemoteProtocolError as error:
            if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await _send(http, stream, (error.error_status_hint, TEXT, "400 Bad Request\n"), b"GET")
            return
        await _send(http, stream, monitor.answer(request.target.decode("ascii", errors="replace")), request.method)
        if http.our_state is h11.MUST_CLOSE:
            return
        http.start_next_cycle()
        deadline = IDLE_DEADLINE_S


async def _next_event(http: h11.Connection, stream: trio.SocketStream) -> object:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        if http.they_are_waiting_for_100_continue:
            informational = h11.InformationalResponse(status_code=100, headers=[])
            await stream.send_all(http.send(informational) or b"")
        http.receive_data(await stream.receive_some(HEAD_BYTES_MAX))


async def _skip_body(http: h11.Connection, stream: trio.SocketStream) -> None:
    total = 0
    while True:
        event = await _next_event(http, stream)
        if isinstance(event, h11.Data):
            total += len(event.data)
            if total > BODY_BYTES_MAX:
                raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
        else:
            return


async def _send(http: h11.Connection, stream: trio.SocketStream, answer: Answer, method: bytes) -> None:
    status, kind, text = answer
    body = text.encode()
    headers = [
        ("Content-Type", kind),
        ("Date", formatdate(usegmt=True)),
        ("Content-Length", str(len(body))),
    ]
    if kind == JSON:
        headers.insert(0, ("Access-Control-Allow-Origin", "*"))
    data = http.send(h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, b""))) or b""
    if method != b"HEAD":
        data += http.send(h11.Data(data=body)) or b""
    data += http.send(h11.EndOfMessage()) or b""
    with trio.fail_after(BODY_DEADLINE_S):
        await stream.send_all(data)


_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 413: b"Content Too Large"}


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


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""The server: listeners, the pump of the hub, accounts' shared state, the way in and out of clients.

`open_server` is how the command and every embedding program start one. The task tree, stopped from the inside out:

    open_server
    └ services          (natslite.service)
      └ tasks           the pump, password checks, pauses of a listener
        └ the body of `async with`

Clients on plain TCP have no task: the hub (engine/hub) reads and writes their sockets and keeps their timers, and the
pump calls `Session.attend` when one needs a decision. That is what makes an idle client cost 1.5 KiB, and ten thousand
of them coming at once no crowd of tasks. Knows no signal, flag or file; those are the command's.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from natslite import __version__, addresses, ids, tls
from natslite.auth.passwords import Authenticator
from natslite.client import Client
from natslite.engine.connection import FAULT, SERVER_SHUTDOWN, Connection, Limits
from natslite.engine.hub import Hub, Listener, TurnClock
from natslite.engine.permissions import Permissions as EnginePermissions
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist
from natslite.log import Log, Silent
from natslite.options import GLOBAL_ACCOUNT, NATS_VERSION, Options, Permissions, User
from natslite.service import Service, ServicePort, load
from natslite.session import CONNECTIONS_EXCEEDED, Session
from natslite.stats import Stats
from natslite.trace import Tracer

API_LEVEL = 5
"""JetStream API level that INFO names, also without JetStream (P-4)."""

UNTRUSTED_MAX = 1024
"""Connections that have not yet authenticated; more wait in the listen backlog (P-53)."""

ACCEPT_PAUSE_S = 0.5
"""How long a listener rests after the system had no descriptor or memory for another socket."""

CLOSE_DEADLINE_S = 1.0
"""How long a stopping server waits for its clients to take what is pending."""

FAULTS_KEPT = 16
"""Exceptions that are kept with their stacks; more are counted and logged only."""

GLOBAL_PENDING_SHARE = 4
"""A quarter of the memory there is may be pending in all clients together; above it the largest is cut (P-44)."""


class _Acceptor:
    """Owner of a listener: makes a session of each new socket."""

    def __init__(self, server: Server, listener_socket: socket.socket) -> None:
        self.server = server
        self.socket = listener_socket
        self.watched = Listener(self, listener_socket.fileno())
        self.reported = False

    def attend(self) -> None:
        accepted = self.watched.accepted
        while accepted and self.server.accepting:  # the rest waits for `pause_accepting`
            self.reported = False
            fd, host, port = accepted.pop(0)
            try:
                self.server.admit(fd, host, port)
            except Exception as fault:
                self.server.report_fault(f"{host}:{port}", fault)
        if self.watched.error:
            if not self.reported:
                self.reported = True
                text = os.strerror(self.watched.error)
                self.server.log.error(f"Temporary Client Accept Error ({text}), pausing for {ACCEPT_PAUSE_S:g}s")
            self.watched.error = 0
            self.server.pause_accepting(+1)
            self.server.start_soon(self._go_on)

    async def _go_on(self) -> None:
        await trio.sleep(ACCEPT_PAUSE_S)
        self.server.pause_accepting(-1)


class Server:
    """A running server. Made by `open_server`; everything public here may be used by an embedding program."""

    def __init__(self, options: Options, log: Log) -> None:
        self.options = options
        self.log = log
        self.id = ids.server_id()
        # bytes of a command line that are no text stay where they are until something is made of them
        self.name = (options.server_name or self.id).encode(errors="surrogateescape").decode(errors="replace")
        self.version = NATS_VERSION
        self.started = datetime.now(UTC)
        self.host = ""
        self.port = 0
        self.addresses: list[tuple[str, int]] = []
        self.authenticator = Authenticator(options)
        self.faults: list[Exception] = []
        self.faults_count = 0
        self.lame = False
        self.total_connections = 0
        self.turn = Turn()
        self.turn.pending_bytes_max = _memory_bytes() // GLOBAL_PENDING_SHARE
        self.hub = Hub(self.turn, spin=_may_spin())
        self.clock = TurnClock()
        self.sublist = Sublist(seed=int.from_bytes(os.urandom(8), "little"))
        self.limits = Limits(
            payload_bytes_max=options.payload_bytes_max,
            control_line_bytes_max=options.control_line_bytes_max,
            pending_bytes_max=options.pending_bytes_max,
            subscriptions_max=max(0, options.subscriptions_max),
            subscription_tokens_max=max(0, options.subscription_tokens_max),
            pings_outstanding_max=options.pings_outstanding_max,
            ping_interval_s=options.ping_interval_s,
            write_deadline_s=options.write_deadline_s,
        )
        self._tasks: trio.Nursery | None = None  # while it runs
        self._tls_context = tls.server_context(options.tls) if options.tls is not None else None
        self._tls_timeout_s = options.tls.timeout_s if options.tls is not None else 0.0
        self.clients: set[Client] = set()
        """Those inside this process that are not closed."""
        self._sessions: dict[int, Session] = {}
        self._untrusted = 0
        self._acceptors: list[_Acceptor] = []
        self._pauses = 0
        self._alarm = trio.CancelScope()
        self._pumping = trio.CancelScope(shield=True)
        self._service_scopes: list[trio.CancelScope] = []
        self._next_cid = 1
        self._permissions: dict[str | None, EnginePermissions | None] = {}
        self._xkey = ids.xkey()
        self._info_ends: tuple[bytes, bytes] | None = None
        self._none_left = trio.Event()
        for user in (None, *options.users):
            self.permissions_of(user)  # a bad entry is told at the start
        self._services: list[Service] = []
        self._ports: dict[str, ServicePort] = {}

    # ---- what others ask

    async def connect(self) -> Client:
        """A client inside this process (natslite.client)."""
        await trio.lowlevel.checkpoint()
        client = Client(self)
        self.clients.add(client)
        return client

    def port_for_account(self, account: str) -> ServicePort:
        """What a service uses in an account. KeyError: there is no such account."""
        if account != GLOBAL_ACCOUNT:
            raise KeyError(account)
        if account not in self._ports:
            self._ports[account] = ServicePort(self, account)
        return self._ports[account]

    def info(self) -> dict[str, Any]:
        """The INFO of this server, without what is of one client (P-2, P-4)."""
        return self._info_head() | ({"ldm": True} if self.lame else {}) | self._info_tail()

    def _info_head(self) -> dict[str, Any]:
        """What comes before the fields of one client."""
        options = self.options
        info: dict[str, Any] = {
            "server_id": self.id,
            "server_name": self.name,
            "version": NATS_VERSION,
            "proto": 1,
            "git_commit": f"natslite-{__version__}",
            "go": f"python{platform.python_version()}",
            "host": self.host,
            "port": self.port,
            "headers": True,
        }
        if options.auth_required:
            info["auth_required"] = True
        if options.tls is not None:
            info["tls_required"] = True
            if options.tls.verify:
                info["tls_verify"] = True
        info["max_payload"] = options.payload_bytes_max
        for service in self._services:
            info |= {key: value for key, value in service.info().items() if key not in info}  # P-104
        return info

    def _info_tail(self) -> dict[str, Any]:
        """What comes behind them."""
        return {"api_lvl": API_LEVEL, "xkey": self._xkey, "natslite": __version__}

    def info_bytes(self, session: Session, *, after_connect: bool = False) -> bytes:
        """The INFO line for one client."""
        if self._info_ends is None:
            head, tail = msgspec.json.encode(self._info_head()), msgspec.json.encode(self._info_tail())
            self._info_ends = b"INFO " + head.removesuffix(b"}"), tail.removeprefix(b"{") + b" \r\n"
        start, end = self._info_ends
        own = b',"client_id":%d,"client_ip":"%b",' % (session.connection.cid, session.host.encode())
        if self.lame:
            own += b'"ldm":true,'
        if after_connect:
            own += b'"connect_info":true,"remote_account":"%b",' % GLOBAL_ACCOUNT.encode()
        return start + own + end

    def stats(self) -> Stats:
        """Counters as of now."""
        in_msgs, in_bytes, out_msgs, out_bytes = self.turn.counted
        return Stats(
            connections=len(self._sessions),
            total_connections=self.total_connections,
            subscriptions=len(self.sublist),
            in_msgs=in_msgs,
            in_bytes=in_bytes,
            out_msgs=out_msgs,
            out_bytes=out_bytes,
            slow_consumers=self.turn.slow_consumers,
            stale_connections=self.turn.stale_connections,
            stalled_clients=self.turn.stalls,
            held_publishers=self.hub.held_publishers,
            longest_turn_s=self.clock.longest_s,
        )

    def turn_longest_since_read_s(self) -> float:
        """The longest pass of the loop since this was last called, in CPU time of its thread."""
        return self.clock.read_recent_s()

    # ---- clients come

    def admit(self, fd: int, host: str, port: int) -> None:
        """Takes a new socket: INFO, or INFO and a refusal (P-3, P-41)."""
        host = host.removeprefix("::ffff:")  # of the other family on a socket for both
        trusted = not self.options.auth_required
        connection = Connection(self.turn, self.sublist, self.limits, self._next_cid, trusted=trusted)
        self._next_cid += 1
        self.total_connections += 1
        session = Session(self, connection, host, port)
        connection.owner = session
        try:
            if self._tls_context is not None:
                from natslite.transport import TlsTransport

                session.transport = TlsTransport(self.hub, session, fd, self._tls_context, self._tls_timeout_s)
                self.hub.add(connection)
            else:
                self.hub.add(connection, fd)
        except OSError as error:
            self.log.error(f"{session} - {error}")
            os.close(fd)
            return
        self._sessions[connection.cid] = session
        try:
            self._greet(session)
        except Exception:
            connection.close(FAULT, flush=False)
            raise

    def _greet(self, session: Session) -> None:
        connection = session.connection
        if not connection.trusted:
            self._untrusted += 1
            if self._untrusted == UNTRUSTED_MAX:
                self.pause_accepting(+1)
            connection.deadline_at = trio.current_time() + self._auth_timeout_s(session)
            self.hub.schedule(connection)
        if self.log.debug_on:
            self.log.debug(f"{session} - Client connection created")
        if self.log.trace_on:
            session.tracer = Tracer(self.log, session)
            connection.set_tracer(session.tracer)
        if self.options.permissions is not None:
            connection.set_permissions(self.permissions_of(None))
        connection.send(self.info_bytes(session))
        if len(self._sessions) > self.options.connections_max:
            connection.close(CONNECTIONS_EXCEEDED, error=b"maximum connections exceeded")

    def _auth_timeout_s(self, session: Session) -> float:
        """P-52."""
        options = self.options
        if options.auth_timeout_s is not None:
            return options.auth_timeout_s
        if session.loopback:
            return 60.0
        return 2.0 if options.tls is None else options.tls.timeout_s + 1

    def trusted(self, session: Session) -> None:
        """A client has authenticated."""
        self._untrusted -= 1
        if self._untrusted == UNTRUSTED_MAX - 1:
            self.pause_accepting(-1)

    def forget(self, session: Session) -> bool:
        """A client has gone; False when that was known."""
        if self._sessions.pop(session.connection.cid, None) is None:
            return False
        if not session.connection.trusted:
            self.trusted(session)
        if not self._sessions:
            self._none_left.set()
        return True

    def permissions_of(self, user: User | None) -> EnginePermissions | None:
        """Compiled once per user."""
        rules = self.options.permissions if user is None or user.permissions is None else user.permissions
        key = user.name if user is not None and user.permissions is not None else None
        if key not in self._permissions:
            self._permissions[key] = None if rules is None else compile_permissions(rules)
        return self._permissions[key]

    def pause_accepting(self, change: int) -> None:
        """+1 for each reason not to accept just now, -1 when it is gone."""
        self._pauses += change
        for acceptor in self._acceptors:
            self.hub.watch(acceptor.watched, reading=self.accepting)
            if self.accepting and acceptor.watched.accepted:
                self.hub.again(acceptor.watched)
                self.hub.kick()

    @property
    def accepting(self) -> bool:
        """Whether nothing speaks against taking a new socket just now."""
        return self._pauses == 0

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Runs a task that ends with the server. What goes wrong in it ends nothing else."""

        async def guarded() -> None:
            try:
                await function(*args)
            except Exception as fault:
                self.report_fault(f"{function}", fault)

        assert self._tasks is not None, "the server does not run"
        self._tasks.start_soon(guarded)

    def report_fault(self, who: str, fault: Exception) -> None:
        """An exception that is our bug: logged with its stack, the first ones kept for whoever runs the server."""
        self.faults_count += 1
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(fault)
        stack = "".join(traceback.format_exception(fault))
        self.log.error(f"{who} - internal fault: {stack}")

    # ---- running

    async def _pump(self) -> None:
        """Turns the hub until `_stop_pump`, whatever else is cancelled: clients are still to be closed then."""
        with self._pumping:
            await self._turn()

    async def _turn(self) -> None:
        hub = self.hub
        while True:
            for item in hub.poll(trio.current_time()):
                try:
                    item.owner.attend()
                except Exception as fault:
                    self.report_fault(f"{item.owner}", fault)
                    if isinstance(item, Connection):
                        item.close(FAULT, flush=False)  # it costs this client, and no other
            item = None  # what has ended is kept no longer
            for port in self._ports.values():
                port.after_turn()
            if hub.settle():
                await trio.lowlevel.checkpoint()
            else:
                if self._alarm.deadline != hub.next_deadline:
                    self._alarm.deadline = hub.next_deadline
                await trio.lowlevel.wait_readable(hub.epoll_fd)

    async def _serve(self, service: Service, *, task_status: trio.TaskStatus[None]) -> None:
        """Runs a service until the clients are gone, whatever else is cancelled."""
        with trio.CancelScope(shield=True) as scope:
            self._service_scopes.append(scope)
            await service.run(self.port_for_account, task_status=task_status)

    async def _ring(self) -> None:
        """Wakes the pump when the hub's next deadline has come. The pump sets `_alarm`, which changes rarely: cheaper
        than a timeout around each of its waits."""
        while True:
            # the pump may have set a deadline on the one before this, which hears of nothing any more
            with trio.CancelScope(deadline=self.hub.next_deadline) as self._alarm:
                await trio.sleep_forever()
            self.hub.kick()

    def _listen(self) -> None:
        """Binds all addresses. OSError has `filename` "host:port"."""
        options = self.options
        if options.host is not None:
            sockets = [addresses.bind(options.host, max(0, options.port))]
        else:
            sockets = addresses.bind_loopback(max(0, options.port), self.log)
        for sock in sockets:
            self.addresses.append(sock.getsockname()[:2])
            self._acceptors.append(_Acceptor(self, sock))
        self.host = options.host if options.host is not None else "127.0.0.1"
        self.port = self.addresses[0][1]

    def _start_accepting(self) -> None:
        for acceptor in self._acceptors:
            host, port = acceptor.socket.getsockname()[:2]
            try:
                acceptor.socket.listen(addresses.backlog())
            except OSError as error:  # somebody has bound the same address meanwhile, and was first
                error.filename = addresses.joined(host, port)
                raise
            self.hub.watch(acceptor.watched)
            if acceptor is self._acceptors[0]:
                self.log.notice(f"Listening for client connections on {addresses.joined(self.host, port)}")
            else:
                # in words of its own: harnesses that look for the line above take the last one that they see
                self.log.notice(f"Listening on {addresses.joined(host, port)} as well")
        if self.options.tls is not None:
            self.log.notice("TLS required for client connections")

    def _stop_accepting(self) -> None:
        for acceptor in self._acceptors:
            self.hub.unwatch(acceptor.watched)
            acceptor.socket.close()
            while acceptor.watched.accepted:
                os.close(acceptor.watched.accepted.pop()[0])
        self._acceptors.clear()

    async def _close_all(self) -> None:
        """Ends all clients without an -ERR; they have a second to take what is pending (P-82)."""
        self._stop_accepting()
        for client in list(self.clients):
            client.close()
        if self._sessions:
            self._none_left = trio.Event()
            for session in list(self._sessions.values()):
                session.connection.close(SERVER_SHUTDOWN)
            self.hub.kick()
            with trio.move_on_after(CLOSE_DEADLINE_S):
                await self._none_left.wait()
            self.hub.give_up()
            for session in list(self._sessions.values()):
                if session.transport is not None:
                    session.transport.give_up()
            self.hub.kick()
            with trio.move_on_after(CLOSE_DEADLINE_S):
                await self._none_left.wait()

    async def lame_duck(self) -> None:
        """Sends everyone away, gently; returns when the last client is gone (P-83)."""
        options = self.options
        self.log.notice("Entering lame duck mode, stop accepting new clients")
        self.lame = True
        self._stop_accepting()
        if not self._sessions:
            return
        for session in self._sessions.values():
            said = session.connect
            if said is not None and said.protocol == 1 and session.connection.pinged:  # else its PONG comes first (P-5)
                session.connection.send(self.info_bytes(session))
        self.hub.kick()
        self._none_left = trio.Event()
        with trio.move_on_after(options.lame_duck_grace_s):
            await self._none_left.wait()
        if not self._sessions:
            return
        self.log.notice("Closing existing clients")
        sessions = list(self._sessions.values())
        pause = (options.lame_duck_duration_s - options.lame_duck_grace_s) / len(sessions)
        # at most a second between two, and many at once when there are more clients than milliseconds
        at_once = 1
        if pause < 0.001:
            at_once = max(1, int(0.001 / max(pause, 1e-9)))
            pause = 0.001
        pause = min(pause, 1.0)
        for i in range(0, len(sessions), at_once):
            if not self._sessions:
                break  # all went by themselves
            for session in sessions[i : i + at_once]:
                session.connection.close(SERVER_SHUTDOWN)
            self.hub.kick()
            if i + at_once < len(sessions):
                await trio.sleep(pause * (0.5 + 0.5 * _random()))
        with trio.move_on_after(CLOSE_DEADLINE_S):
            await self._none_left.wait()


@contextlib.asynccontextmanager
async def open_server(
    options: Options | None = None,
    *,
    log: Log | None = None,
    before_listen: Callable[[Server], Awaitable[None]] | None = None,
    **changes: Any,
) -> AsyncIterator[Server]:
    """Runs a server for the time of the block: `async with open_server(port=-1) as server`.

    `changes` are fields of Options. `before_listen` is awaited when the addresses are bound and known, before anybody
    is accepted. OSError when an address cannot be had, with `filename` "host:port". Faults of the server itself, which
    each cost one client, are raised as an ExceptionGroup at the end of the block, so that no test passes over one.
    """
    options = msgspec.structs.replace(options or Options(), **changes)
    failure: Exception | None = None
    server = Server(options, log or Silent())
    server._listen()
    async with trio.open_nursery() as tasks:
        server._tasks = tasks
        try:
            trio.lowlevel.add_instrument(server.clock)
            tasks.start_soon(server._ring)
            tasks.start_soon(server._pump)
            async with trio.open_nursery() as services:
                try:
                    for name in options.services:
                        service = load(name, options)
                        await services.start(server._serve, service)
                        server._services.append(service)
                    if before_listen is not None:
                        await before_listen(server)
                    server._start_accepting()
                    server.log.notice("Server is ready")
                    yield server
                except Exception as error:
                    failure = error  # raised as it is, below: not wrapped in the groups of these nurseries
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * CLOSE_DEADLINE_S):
                        await server._close_all()
                    for scope in server._service_scopes:
                        scope.cancel()
        finally:
            with contextlib.suppress(KeyError):
                trio.lowlevel.remove_instrument(server.clock)
            server._stop_accepting()
            for inbox in list(server.sublist.inboxes):
                inbox.close()
            server.hub.close()
            server._pumping.cancel()
            tasks.cancel_scope.cancel()
    if failure is not None:
        if server.faults:
            failure.add_note(f"besides, the server had {server.faults_count} faults of its own: {server.faults}")
        raise failure
    if server.faults:
        raise ExceptionGroup("faults of the server", server.faults)


def compile_permissions(rules: Permissions) -> EnginePermissions:
    """The engine's form of a user's permissions. ValueError names a bad entry."""
    return EnginePermissions(
        publish_allow=[entry.encode() for entry in rules.publish_allow],
        publish_deny=[entry.encode() for entry in rules.publish_deny],
        subscribe_allow=[entry.encode() for entry in rules.subscribe_allow],
        subscribe_deny=[entry.encode() for entry in rules.subscribe_deny],
        responses_max=rules.responses_max if rules.responses_max >= 0 else 1 << 40,
        responses_expire_s=rules.responses_expire_s if rules.responses_expire_s >= 0 else float("inf"),
    )


# ---- the machine


def _memory_bytes() -> int:
    """What this process may use: the machine's, or less in a container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            return min(machine, int(file.read()))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return machine


def _may_spin() -> bool:
    """Looking again for new work costs CPU that must be there: not with one processor, nor under a CPU quota."""
    if len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            return file.read().startswith("max")
    except OSError:
        return True


def _random() -> float:
    return int.from_bytes(os.urandom(4), "little") / 2**32

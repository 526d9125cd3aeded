"""The process around a server: banner, files, signals, limits, exit status. Rules P-80 to P-88.

Run by `natslite.cli`. Whatever touches the process as a whole (descriptor limit, garbage collector, allocator, signals,
log thread) is here, so that an embedded server touches nothing.

    signals
    └ open_server         banner, pid file and the monitoring port's address just before it listens
      └ nursery           monitoring, collector, lame duck: ends before the server does
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import msgspec
import trio

from natslite.addresses import is_loopback, reachable
from natslite.auth.passwords import PasswordError, is_bcrypt
from natslite.engine.hub import tune_process
from natslite.logfile import FileLog
from natslite.options import NATS_VERSION, Options
from natslite.server import Server, open_server
from natslite.tls import TlsError

if TYPE_CHECKING:
    from natslite.cli import Process
    from natslite.monitor.http import Monitor

PROGRAM = "natslite-server"

DESCRIPTORS_KEPT = 64
"""For what is no client: listeners, monitoring, files."""

COLLECT_INTERVAL_S = 10.0
"""How often it is looked whether the server is idle enough for a full collection."""

IDLE_MSGS = 1000
IDLE_CONNECTIONS = 100
"""Fewer messages and fewer new connections than this since the last look: idle."""

SIGNAL_NAMES = {
    signal.SIGINT: "interrupt",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hangup",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
}


class StartError(Exception):
    """What prevents the start; the text says it."""


def main(options: Options, process: Process) -> int:
    """Runs a server until a signal ends it; the exit status."""
    try:
        log = FileLog(
            process.log_file,
            debug=options.debug,
            trace=options.trace,
            time_shown=process.log_time,
            utc=process.log_time_utc,
        )
    except OSError as error:
        print(f"nats-server: error opening file: {_open_error(error)}", file=sys.stderr)
        return 1
    try:
        unraisable = _Unraisable(log)
        _prepare(unraisable)
        status = trio.run(_run, _within_descriptors(options), process, log)
        return 1 if unraisable.count else status
    except Exception as error:
        text = _explain(error)
        log.fatal(text)
        if process.log_file is not None:
            # whoever typed the command looks here, and not into the file
            print(f"nats-server: {text}", file=sys.stderr)
        return 1
    finally:
        log.close()


def _within_descriptors(options: Options) -> Options:
    """Unless told otherwise, clients are refused before there is no descriptor left for anything (P-41)."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if options.connections_max != Options().connections_max or limit == resource.RLIM_INFINITY:
        return options
    return msgspec.structs.replace(
        options, connections_max=min(options.connections_max, max(1, limit - DESCRIPTORS_KEPT))
    )


class _Unraisable:
    """Hears of faults that nobody could raise, those of compiled code among them."""

    def __init__(self, log: FileLog) -> None:
        self.log = log
        self.count = 0

    def __call__(self, what: sys.UnraisableHookArgs) -> None:
        # the default writes to stderr, which may be full, from the loop
        self.count += 1
        stack = "".join(traceback.format_exception(what.exc_value)) if what.exc_value is not None else ""
        self.log.error(f"internal fault in {what.object!r}: {stack}")


def _prepare(unraisable: _Unraisable) -> None:
    """What a server asks of its process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tune_process()
    # a full collection stops the loop for as long as there are objects: it runs when idle (`_collect_when_idle`)
    gc.set_threshold(10_000, 50, 1_000_000)

    sys.unraisablehook = unraisable


async def _run(options: Options, process: Process, log: FileLog) -> int:
    monitor: Monitor | None = None
    server: Server | None = None

    async def before_listen(server: Server) -> None:
        nonlocal monitor
        _banner(server, log)
        if process.pid_file is not None:
            _write_pid(process.pid_file)
        if options.monitor_port is not None:
            from natslite.monitor.http import open_monitor  # h11 takes its time, and few need it

            try:
                monitor = open_monitor(server, log)
            except OSError as error:
                why = f"can't listen to the monitor port: {_listen_error(error)}"
                raise StartError(f"Can't start monitoring: {why}") from None

    status = 0
    with trio.open_signal_receiver(*SIGNAL_NAMES) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNAL_NAMES)  # see `cli.main`
        try:
            async with open_server(options, log=log, before_listen=before_listen) as server:
                with _ports_file(process.ports_file_dir, server, monitor, log):
                    await _serve(server, monitor, signals, log)
        except ExceptionGroup as group:
            if server is None or list(group.exceptions) != server.faults:
                raise
            # each was logged with its stack when it happened, and cost one client
            log.error(f"There were {server.faults_count} internal faults")
            status = 1
        finally:
            if monitor is not None:
                monitor.close()
            # nobody obeys any more: a second signal must not spoil the end
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNAL_NAMES)
    log.notice("Server Exiting..")
    return status


async def _serve(server: Server, monitor: Monitor | None, signals: AsyncIterator[int], log: FileLog) -> None:
    """Until a signal says that the process shall end, or until the last client has gone in lame duck mode."""
    async with trio.open_nursery() as nursery:
        if monitor is not None:
            nursery.start_soon(monitor.serve)
        gc.collect()
        gc.freeze()
        nursery.start_soon(_collect_when_idle, server)
        with trio.CancelScope() as running:
            await _obey(signals, server, log, nursery, running)
        log.notice("Initiating Shutdown...")
        nursery.cancel_scope.cancel()


async def _obey(
    signals: AsyncIterator[int], server: Server, log: FileLog, nursery: trio.Nursery, running: trio.CancelScope
) -> None:
    lame = False

    async def lame_duck() -> None:
        await server.lame_duck()
        running.cancel()

    async for number in signals:
        log.notice(f'Trapped "{SIGNAL_NAMES[signal.Signals(number)]}" signal')
        if number == signal.SIGINT or (number == signal.SIGTERM and not lame):
            return
        if number == signal.SIGUSR1:
            log.reopen()
        elif number == signal.SIGUSR2 and not lame:
            lame = True
            nursery.start_soon(lame_duck)
        elif number == signal.SIGHUP:
            log.error(
                "Failed to reload server configuration: "
                "can only reload config when a file is provided using -c or --config"
            )


async def _collect_when_idle(server: Server) -> None:
    """One full collection when there is little traffic, instead of any in the middle of it."""
    before = server.stats()
    while True:
        await trio.sleep(COLLECT_INTERVAL_S)
        now = server.stats()
        idle = (
            now.in_msgs - before.in_msgs < IDLE_MSGS
            and now.total_connections - before.total_connections < IDLE_CONNECTIONS
        )
        if idle and gc.get_count()[2] > 0:
            gc.collect()
        before = now


# ---- what is said


def _banner(server: Server, log: FileLog) -> None:
    from natslite import __version__

    options = server.options
    log.notice("Starting nats-server")
    log.notice(f"  Version:  {NATS_VERSION}")
    log.notice(f"  natslite: {__version__}")
    log.debug(f"  Python:   {sys.version.split()[0]}, trio {trio.__version__}")
    log.notice(f"  Name:     {server.name}")
    log.notice(f"  ID:       {server.id}")
    if any(not is_bcrypt(user.password) for user in options.users):
        log.warn("Plaintext passwords detected, use nkeys or bcrypt")
    if not options.auth_required and not all(is_loopback(host) for host, _ in server.addresses):
        log.warn(f"Everyone who reaches {server.host} may connect: there is no authentication. Start it with one of")
        started = " ".join([PROGRAM, *sys.argv[1:]])
        log.warn(f"    {started} --user <name> --pass <password or bcrypt hash>")
        log.warn(f"    {started} --auth <token>")
        log.warn("or without -a, to be reached from this machine only")


def _explain(error: Exception) -> str:
    """What prevented the start, in nats-server's words; the stack of whatever else ended the server."""
    causes = list(_causes(error))
    if len(causes) == 1:
        cause = causes[0]
        if isinstance(cause, StartError | TlsError | PasswordError):
            return str(cause)
        if isinstance(cause, OSError) and isinstance(cause.filename, str):
            return f'Error listening on port: {cause.filename}, "{_listen_error(cause)}"'
    return "".join(traceback.format_exception(error)).rstrip()


def _causes(error: Exception) -> Iterator[Exception]:
    """Without the groups that nurseries put around them."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def _listen_error(error: OSError) -> str:
    """As Go says it."""
    if isinstance(error, socket.gaierror):
        return f"listen tcp: lookup {str(error.filename).rpartition(':')[0]}: no such host"
    return f"listen tcp {error.filename}: bind: {_reason(error)}"


def _open_error(error: OSError) -> str:
    return f"open {error.filename}: {_reason(error)}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# ---- what is written


def _write_pid(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, str(os.getpid()).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise StartError(f"Could not write pidfile: {_open_error(error)}") from None


@contextlib.contextmanager
def _ports_file(directory: str | None, server: Server, monitor: Monitor | None, log: FileLog) -> Iterator[None]:
    """The file that tells where everything listens exists for the time of the block."""
    if directory is None:
        yield
        return
    import json

    name = os.path.basename(sys.argv[0])
    path = os.path.join(directory, f"{PROGRAM if name == '__main__.py' else name}_{os.getpid()}.ports")
    scheme = "tls" if server.options.tls is not None else "nats"
    ports = {"nats": [f"{scheme}://{address}" for address in reachable(server.addresses)]}
    if monitor is not None:
        ports["monitoring"] = [f"http://{address}" for address in reachable([(monitor.host, monitor.port)])]
    part = path + ".part"
    try:
        with open(part, "w") as file:
            json.dump(ports, file, separators=(",", ":"))
        os.rename(part, path)  # whoever waits for it finds it whole
    except OSError as error:
        log.error(f"Error writing ports file ({path}): {_open_error(error)}")
        with contextlib.suppress(OSError):
            os.unlink(part)
        yield
        return
    try:
        yield
    finally:
        try:
            os.unlink(path)
        except OSError as error:
            log.error(f"Error cleaning up ports file {path}: {_reason(error)}")

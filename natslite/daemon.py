"""The process around a server: banner, files, signals, limits, exit status. Rules P-80 to P-88.

Run by `natslite.cli`. Whatever touches the process as a whole (descriptor limit, garbage collector, allocator, signals,
log thread) is here, so that an embedded server touches nothing.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

import trio

from natslite.auth.passwords import is_bcrypt
from natslite.engine.hub import tune_process
from natslite.logfile import FileLog
from natslite.options import NATS_VERSION, Options
from natslite.server import Server, open_server
from natslite.tls import TlsError

if TYPE_CHECKING:
    from natslite.cli import Process

GC_INTERVAL_S = 10.0
"""How often it is looked whether the server is idle enough for a full collection."""

GC_IDLE_MSGS = 1000
"""Fewer messages than this since the last look: idle."""

SIGNAL_NAMES = {
    signal.SIGINT: "interrupt",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hangup",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
}


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
        print(f"nats-server: cannot open the log {process.log_file}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        _prepare()
        trio.run(_run, options, process, log)
        return 0
    except* TlsError as group:
        log.fatal(f"{group.exceptions[0]}")
    except* OSError as group:
        log.fatal(_listen_error(group.exceptions[0]))
    finally:
        log.close()
    return 1


def _prepare() -> None:
    """What a server asks of its process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tune_process()
    # A full collection stops the loop for as long as there are objects: it runs when idle (`_collect_when_idle`)
    gc.set_threshold(10_000, 50, 1_000_000)


def _listen_error(error: BaseException) -> str:
    where = getattr(error, "filename", None)
    number = getattr(error, "errno", None)
    if where is None or ":" not in str(where):
        return str(error)
    reason = "address already in use" if number == errno.EADDRINUSE else str(getattr(error, "strerror", error)).lower()
    return f'Error listening on port: {where}, "listen tcp {where}: bind: {reason}"'


async def _run(options: Options, process: Process, log: FileLog) -> None:
    with trio.open_signal_receiver(*SIGNAL_NAMES) as signals:
        async with contextlib.AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            monitor_addresses: list[tuple[str, int]] = []

            async def before_listen(server: Server) -> None:
                _banner(server, log)
                if options.monitor_port is not None:
                    from natslite.monitor.http import serve_monitor

                    monitor_addresses.extend(await nursery.start(serve_monitor, server, log))

            server = await stack.enter_async_context(open_server(options, log=log, before_listen=before_listen))
            ports_file = None
            try:
                if process.pid_file is not None:
                    _write_pid(process.pid_file, log)
                if process.ports_file_dir is not None:
                    ports_file = _write_ports(process.ports_file_dir, server, monitor_addresses, log)
                gc.collect()
                gc.freeze()
                nursery.start_soon(_collect_when_idle, server)
                await _serve_signals(signals, server, log, nursery)
                log.notice("Initiating Shutdown...")
            finally:
                nursery.cancel_scope.cancel()
                if ports_file is not None:
                    with contextlib.suppress(OSError):
                        os.unlink(ports_file)
    log.notice("Server Exiting..")


async def _serve_signals(signals: object, server: Server, log: FileLog, nursery: trio.Nursery) -> None:
    """Returns when the process shall end."""
    gone = trio.Event()

    async def lame_duck() -> None:
        await server.lame_duck()
        gone.set()

    async def end_when_gone(scope: trio.CancelScope) -> None:
        await gone.wait()
        scope.cancel()

    with trio.CancelScope() as scope:
        nursery.start_soon(end_when_gone, scope)
        async for number in signals:  # type: ignore[attr-defined]
            log.notice(f'Trapped "{SIGNAL_NAMES[number]}" signal')
            if number == signal.SIGINT or (number == signal.SIGTERM and not server.lame):
                return
            if number == signal.SIGUSR1:
                log.reopen()
            elif number == signal.SIGUSR2 and not server.lame:
                nursery.start_soon(lame_duck)
            elif number == signal.SIGHUP:
                log.error(
                    "Failed to reload server configuration: "
                    "can only reload config when a file is provided using -c or --config"
                )


async def _collect_when_idle(server: Server) -> None:
    """One full collection when there is little traffic, instead of any in the middle of it."""
    seen = server.stats().in_msgs
    while True:
        await trio.sleep(GC_INTERVAL_S)
        now = server.stats().in_msgs
        if now - seen < GC_IDLE_MSGS and gc.get_count()[2] > 0:
            gc.collect()
        seen = now


def _banner(server: Server, log: FileLog) -> None:
    from natslite import __version__

    options = server.options
    log.notice("Starting nats-server")
    log.notice(f"  Version:  {NATS_VERSION}")
    log.notice(f"  natslite: {__version__}")
    if log.debug_on:
        log.debug(f"  Python:   {sys.version.split()[0]}, trio {trio.__version__}")
    log.notice(f"  Name:     {server.name}")
    log.notice(f"  ID:       {server.id}")
    secrets = [user.password for user in options.users] + ([options.token] if options.token else [])
    if any(not is_bcrypt(secret) for secret in secrets):
        log.warn("Plaintext passwords detected, use nkeys or bcrypt")
    if not options.auth_required and options.host is not None and not _is_loopback(options.host):
        log.warn(f"Everyone who reaches {options.host} may connect: there is no authentication. Start with one of")
        log.warn("    --user <name> --pass <password or bcrypt hash>")
        log.warn("    --auth <token>")
        log.warn("or listen on this machine only, without -a")


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _write_pid(path: str, log: FileLog) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, str(os.getpid()).encode())
        os.close(fd)
    except OSError as error:
        log.error(f"Unable to write pid file {path}: {error.strerror}")


def _write_ports(directory: str, server: Server, monitor: list[tuple[str, int]], log: FileLog) -> str | None:
    """The file that harnesses wait for; its path."""
    import json

    scheme = "tls" if server.options.tls is not None else "nats"
    ports = {"nats": [f"{scheme}://{_join(host, port)}" for host, port in _reachable(server.addresses)]}
    if monitor:
        ports["monitoring"] = [f"http://{_join(host, port)}" for host, port in _reachable(monitor)]
    path = os.path.join(directory, f"{os.path.basename(sys.argv[0])}_{os.getpid()}.ports")
    try:
        with open(path + ".part", "w") as file:
            json.dump(ports, file, separators=(",", ":"))
        os.rename(path + ".part", path)
    except OSError as error:
        log.error(f"Error writing ports file {path}: {error.strerror}")
        return None
    return path


def _reachable(addresses: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Where clients can go: the wildcard address means 127.0.0.1 first."""
    return [("127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host, port) for host, port in addresses]


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

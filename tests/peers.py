"""Both ends of a test's connections: servers as processes, natslite in a thread, and raw sockets that speak NATS.

Used by every test that goes through a socket. Nothing here sleeps: a wait is for an event (a log line, a frame, the end
of a stream) and has a deadline. It knows the protocol only as far as cutting a server's bytes into frames.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import queue
import re
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

DEADLINE_S = 10.0
"""For every wait. Long: a busy machine must not fail a test, and a test that passes never waits for it."""

MSG = re.compile(rb"(H?)MSG [^\r\n]*?(\d+)\r\n", re.IGNORECASE)
LISTENING = "Listening for client connections on "

Address = tuple[str, int]


def binary(name: str) -> str:
    """A command of the environment that runs the tests. Missing is an error: these tests never skip."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise FileNotFoundError(f"{path}: install the test extra")
    return str(path)


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """For what no event tells of (another process's memory, its kernel's queues): asks again until it is true."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        pause.wait(0.001)
    return found


# ---- servers


class Daemon:
    """A server process and its log."""

    def __init__(self, argv: Sequence[str], *, ready: str = "Server is ready") -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.address = self.wait_address()
            self.wait_line(ready)
        except BaseException:
            self.kill()
            raise

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_line(self, text: str, deadline_s: float = DEADLINE_S) -> str:
        """The first log line with `text` in it."""
        found: list[str] = []

        def seen() -> bool:
            found[:] = [line for line in self.lines if text in line][:1]
            return bool(found) or self._ended

        with self._news:
            if not self._news.wait_for(seen, deadline_s) or not found:
                raise AssertionError(f"no line with {text!r} in the log:\n" + "\n".join(self.lines))
        return found[0]

    def wait_address(self) -> Address:
        host, _, port = self.wait_line(LISTENING).rpartition(LISTENING)[2].rpartition(":")
        return ("127.0.0.1" if host == "0.0.0.0" else host.strip("[]")), int(port)

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def nats_server(*flags: str, port: int = -1, config: Path | None = None) -> Iterator[Daemon]:
    """nats-server on a free port of 127.0.0.1."""
    argv = [binary("nats-server"), "-a", "127.0.0.1", "-p", str(port), *flags]
    if config is not None:
        argv += ["-c", str(config)]
    daemon = Daemon(argv)
    try:
        yield daemon
    finally:
        daemon.stop()


@contextlib.contextmanager
def natslite_server(*flags: str, port: int = -1) -> Iterator[Daemon]:
    """The daemon on a free port of 127.0.0.1, as a process."""
    daemon = Daemon([sys.executable, "-m", "natslite", "-a", "127.0.0.1", "-p", str(port), *flags])
    try:
        yield daemon
    finally:
        daemon.stop()


@contextlib.contextmanager
def natslite_thread(**options: Any) -> Iterator[Any]:
    """`open_server` in a thread of this process, for what no flag sets: gives the Server.

    Its faults are raised when the block ends.
    """
    import trio

    from natslite import open_server

    started: queue.SimpleQueue[Any] = queue.SimpleQueue()
    faults: list[BaseException] = []

    async def main() -> None:
        async with open_server(**{"host": "127.0.0.1", "port": -1, **options}) as server:
            end = trio.Event()
            token = trio.lowlevel.current_trio_token()
            started.put((server, lambda: token.run_sync_soon(end.set)))
            await end.wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as fault:
            faults.append(fault)
            started.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    running = started.get(timeout=DEADLINE_S)
    if running is None:
        raise faults[0]
    server, end = running
    try:
        yield server
    finally:
        end()
        thread.join(DEADLINE_S)
        if faults:
            raise faults[0]
        assert not thread.is_alive(), "the server does not end"


# ---- clients


class Peer:
    """A raw socket to a server, blocking with a deadline. INFO is read at once unless `info` is False."""

    def __init__(self, address: Address, *, info: bool = True, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.socket.settimeout(DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(address[:2])
        self.buffer = bytearray()
        self.ended = False
        self.info: dict[str, Any] = json.loads(self.line().partition(b" ")[2]) if info else {}

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def connect(self, **fields: Any) -> Peer:
        """Sends a CONNECT that is quiet unless told otherwise, and waits until the server has read it."""
        return self.command(b"CONNECT " + json.dumps({"verbose": False, "pedantic": False, **fields}).encode())

    def command(self, *lines: bytes) -> Peer:
        """Sends control lines and waits until the server has read them."""
        self.send(b"".join(line + b"\r\n" for line in lines))
        self.ping()
        return self

    def send(self, data: bytes) -> None:
        """Sends; a server that has closed meanwhile is for whoever reads to find out."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def receive(self) -> bool:
        """Waits for more bytes; False at the end of the stream. A reset is an end too: unread input at the server."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        self.ended = not data
        return not self.ended

    def until(self, pattern: bytes) -> bytes:
        """Everything to the end of `pattern`, or to the end of the stream."""
        while (at := self.buffer.find(pattern)) < 0:
            if not self.receive():
                return self.take(len(self.buffer))
        return self.take(at + len(pattern))

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count and self.receive():
            pass
        return self.take(count)

    def take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def line(self) -> bytes:
        return self.until(b"\n")

    def frame(self) -> bytes:
        """The next frame with its payload; empty at the end of the stream."""
        line = self.line()
        header = MSG.fullmatch(line)
        return line + self.exactly(int(header[2]) + 2) if header else line

    def frames(self, count: int) -> list[bytes]:
        return [self.frame() for _ in range(count)]

    def ping(self) -> list[bytes]:
        """Asks for a PONG; the frames that came before it. The second INFO, which may follow the first one, is not
        waited for: it is among the frames of the next call."""
        self.send(b"PING\r\n")
        seen = []
        while (frame := self.frame()) != b"PONG\r\n":
            if not frame:
                raise EOFError(f"closed instead of a PONG, after {seen}")
            seen.append(frame)
        return seen

    def eof(self) -> bytes:
        """Everything until the server closes."""
        while self.receive():
            pass
        return self.take(len(self.buffer))

    def rest(self) -> bytes:
        """Ends this side's sending; everything that the server still had to say."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self.eof()


def frames(data: bytes) -> list[bytes]:
    """Cuts what a server sent into frames; the last may be unfinished."""
    found = []
    at = 0
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        header = MSG.fullmatch(data, at, end)
        if header:
            end = min(end + int(header[2]) + 2, len(data))
        found.append(data[at:end])
        at = end
    return found


class ServerEnd:
    """The other end of a peer's connection, when the server runs in this process: has it read everything?"""

    def __init__(self, peer: Peer) -> None:
        ends = peer.socket.getsockname(), peer.socket.getpeername()
        self._fd = next(fd for fd in map(int, os.listdir("/proc/self/fd")) if _ends(fd) == ends)

    def wait_read(self) -> bool:
        """Waits until it has; False when it has closed."""
        waiting = array.array("i", [0])
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                fcntl.ioctl(self._fd, termios.FIONREAD, waiting)
            except OSError:
                return False
            if waiting[0] == 0:
                return True
            os.sched_yield()
        raise TimeoutError("the server does not read")


def _ends(fd: int) -> object:
    """Peer's and own address of a connected socket, seen from the other end."""
    try:
        copy = socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    with copy:
        try:
            return copy.getpeername(), copy.getsockname()
        except OSError:
            return None

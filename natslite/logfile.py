"""The log that writes: lines in nats-server's form, to stderr or a file, by a thread of its own. Rules P-84 to P-86.

The loop only puts lines into a bounded queue. When whoever reads the log is too slow (a pipe that is full, a disk that
is), lines are dropped and counted, and the count is logged once the rest has been written. The loop never waits, not
even at the end: the last lines have a short deadline.
"""

from __future__ import annotations

import enum
import os
import select
import threading
import time
from queue import Empty, SimpleQueue

QUEUE_LINES_MAX = 16 * 1024
QUEUE_CHARS_MAX = 16 * 1024 * 1024
"""A traced payload may be as long as payloads are."""

BATCH_LINES_MAX = 256
"""Lines written by one call of the system."""

CLOSE_DEADLINE_S = 0.5
"""How long a process that ends waits for its log."""

COLOURS = {"INF": "32", "DBG": "36", "WRN": "0;93", "ERR": "31", "FTL": "31", "TRC": "33"}
STDERR = 2


class _Order(enum.Enum):
    """What the thread does between lines, in the order in which it was asked."""

    REOPEN = enum.auto()
    END = enum.auto()


class FileLog:
    """A `natslite.log.Log` that writes to a file, or with `path` None to stderr. Its calls come from one thread."""

    def __init__(
        self,
        path: str | None = None,
        *,
        debug: bool = False,
        trace: bool = False,
        time_shown: bool = True,
        utc: bool = False,
    ) -> None:
        """OSError: the file cannot be opened."""
        self.debug_on = debug
        self.trace_on = trace
        self._path = path
        self._time_shown = time_shown
        self._broken_down = time.gmtime if utc else time.localtime
        self._stamp = (-1, "")
        self._fd = STDERR if path is None else _open(path)
        self._colour = path is None and os.isatty(STDERR)
        self._prefix = f"[{os.getpid()}] "
        self._queue: SimpleQueue[str | _Order] = SimpleQueue()
        # each written by one thread alone: the loop's, and ours
        self._refused = 0
        self._chars_put = 0
        self._unwritten = 0
        self._chars_written = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    # ---- called by the loop

    @property
    def dropped(self) -> int:
        """Lines that nobody will read: the queue was full, or they could not be written."""
        return self._refused + self._unwritten

    def notice(self, text: str) -> None:
        self._put("INF", text)

    def warn(self, text: str) -> None:
        self._put("WRN", text)

    def error(self, text: str) -> None:
        self._put("ERR", text)

    def fatal(self, text: str) -> None:
        self._put("FTL", text)

    def debug(self, text: str) -> None:
        if self.debug_on:
            self._put("DBG", text)

    def trace(self, text: str) -> None:
        if self.trace_on:
            self._put("TRC", text)

    def reopen(self) -> None:
        """Goes on in a new file of the same name, after the old one was moved away."""
        if self._path is None:
            self.notice("File log re-open ignored, not a file logger")
        else:
            self._queue.put(_Order.REOPEN)

    def close(self) -> None:
        """Writes what is left, if that takes no longer than the deadline. Nothing may be logged after it."""
        self._queue.put(_Order.END)
        self._thread.join(CLOSE_DEADLINE_S)

    def _put(self, level: str, text: str) -> None:
        if (
            self._queue.qsize() >= QUEUE_LINES_MAX
            or self._chars_put - self._chars_written + len(text) > QUEUE_CHARS_MAX
        ):
            self._refused += 1
            return
        line = self._format(level, text)
        self._chars_put += len(line)
        self._queue.put(line)

    def _format(self, level: str, text: str) -> str:
        stamp = ""
        if self._time_shown:
            second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
            known = self._stamp  # one value, because both threads come here
            if known[0] != second:
                known = self._stamp = second, time.strftime("%Y/%m/%d %H:%M:%S", self._broken_down(second))
            stamp = f"{known[1]}.{nanoseconds // 1000:06d} "
        label = f"\x1b[{COLOURS[level]}m{level}\x1b[0m" if self._colour else level
        return f"{self._prefix}{stamp}[{label}] {text}\n"

    # ---- the thread

    def _write_all(self) -> None:
        told = 0
        order = None
        while order is not _Order.END:
            lines, order = self._take()
            chars = sum(map(len, lines))
            caught_up = order is _Order.END or self._queue.empty()
            if caught_up and (dropped := self.dropped) > told:
                text = f"{dropped - told} log lines dropped, they could not be written in time"
                lines.append(self._format("WRN", text))
                told = dropped
            self._write(lines)
            self._chars_written += chars  # not before: until then they are in memory
            if order is _Order.REOPEN:
                self._swap()

    def _take(self) -> tuple[list[str], _Order | None]:
        """Waits for lines; some of them, up to an order."""
        lines: list[str] = []
        item = self._queue.get()
        while isinstance(item, str):
            lines.append(item)
            if len(lines) == BATCH_LINES_MAX:
                return lines, None
            try:
                item = self._queue.get_nowait()
            except Empty:
                return lines, None
        return lines, item

    def _write(self, lines: list[str]) -> None:
        rest = memoryview("".join(lines).encode(errors="backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # not ours to change: whoever shares stderr made it non-blocking
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError:
                # nobody reads any more, or the disk is full: there is nowhere to say so
                self._unwritten += len(lines)
                return

    def _swap(self) -> None:
        assert self._path is not None
        try:
            fd = _open(self._path)
        except OSError as error:
            self._write([self._format("ERR", f"File log re-open failed: {self._path}: {error.strerror}")])
            return
        os.close(self._fd)
        self._fd = fd
        self._write([self._format("INF", "File log re-opened")])


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

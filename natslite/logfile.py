"""The log that writes: lines in nats-server's form, to stderr or a file, by a thread of its own. Rules P-84 to P-86.

The loop only appends to a bounded queue. When whoever reads the log is too slow (a pipe that is full), lines are
dropped and counted, and the count is logged as soon as it can be. The loop never waits, not even at the end: the last
lines have a short deadline.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import IO

QUEUE_LINES_MAX = 16 * 1024
CLOSE_DEADLINE_S = 0.5

COLOURS = {"INF": "32", "DBG": "36", "WRN": "0;93", "ERR": "31", "FTL": "31", "TRC": "33"}


class FileLog:
    """A `natslite.log.Log` on a descriptor. `path` None: stderr."""

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
        self.dropped = 0
        self._path = path
        self._time_shown = time_shown
        self._utc = utc
        self._file = self._open()
        self._colour = path is None and os.isatty(2)
        self._prefix = f"[{os.getpid()}] "
        self._lines: deque[str] = deque()
        self._told = 0
        self._more = threading.Semaphore(0)
        self._written = threading.Event()
        self._ending = False
        self._reopening = False
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def _open(self) -> IO[bytes]:
        if self._path is None:
            return open(2, "wb", buffering=0, closefd=False)
        return open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640), "wb", buffering=0)

    # ---- called by the loop

    def notice(self, text: str) -> None:
        self._add("INF", text)

    def warn(self, text: str) -> None:
        self._add("WRN", text)

    def error(self, text: str) -> None:
        self._add("ERR", text)

    def fatal(self, text: str) -> None:
        self._add("FTL", text)

    def debug(self, text: str) -> None:
        if self.debug_on:
            self._add("DBG", text)

    def trace(self, text: str) -> None:
        if self.trace_on:
            self._add("TRC", text)

    def _add(self, level: str, text: str) -> None:
        if len(self._lines) >= QUEUE_LINES_MAX:
            self.dropped += 1
            return
        self._lines.append(self._format(level, text))
        self._more.release()

    def _format(self, level: str, text: str) -> str:
        stamp = ""
        if self._time_shown:
            now = time.time()
            parts = time.gmtime(now) if self._utc else time.localtime(now)
            stamp = time.strftime("%Y/%m/%d %H:%M:%S", parts) + f".{int(now % 1 * 1e6):06d} "
        label = f"[\x1b[{COLOURS[level]}m{level}\x1b[0m]" if self._colour else f"[{level}]"
        return f"{self._prefix}{stamp}{label} {text}\n"

    def reopen(self) -> None:
        """Goes on in a new file of the same name, after the old one was moved away."""
        self._reopening = self._path is not None
        self.notice("File log re-opened")

    def close(self) -> None:
        """Writes what is left, if that takes no longer than the deadline."""
        self._ending = True
        self._more.release()
        self._written.wait(CLOSE_DEADLINE_S)

    # ---- the thread

    def _write_all(self) -> None:
        while True:
            self._more.acquire()
            if self._reopening:
                self._reopening = False
                self._swap()
            lines: list[str] = []
            while self._lines and len(lines) < 256:
                lines.append(self._lines.popleft())
            if self.dropped != self._told:
                lost, self._told = self.dropped - self._told, self.dropped
                lines.append(self._format("WRN", f"{lost} log lines dropped: the log is read too slowly"))
            self._write("".join(lines).encode(errors="backslashreplace"))
            if self._lines:
                self._more.release()
            elif self._ending:
                self._written.set()
                return

    def _swap(self) -> None:
        try:
            file = self._open()
        except OSError as error:
            print(f"cannot re-open {self._path}: {error}", file=sys.stderr)
            return
        self._file.close()
        self._file = file

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = self._file.write(view)
            except BlockingIOError:
                written = None
            except OSError:
                return  # nobody reads any more, or the disk is full: there is nowhere to say so
            if written:
                view = view[written:]
            else:
                time.sleep(0.01)  # somebody made the descriptor non-blocking, and it is full

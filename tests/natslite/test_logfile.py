"""The log that writes, alone: its lines, its thread, and whoever does not read them. Rules P-84 to P-86."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from natslite import logfile
from natslite.logfile import QUEUE_CHARS_MAX, QUEUE_LINES_MAX, FileLog

DEADLINE_S = 10.0
LINE = re.compile(r"\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[(INF|DBG|WRN|ERR|FTL|TRC)\] (.*)")


@contextlib.contextmanager
def stderr_is(fd: int) -> Iterator[None]:
    """Descriptor 2 is another one for the time of the block."""
    saved = os.dup(2)
    os.dup2(fd, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe with a name, and its reading end, from which nothing is read yet."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    yield path, reader
    with contextlib.suppress(OSError):
        os.close(reader)


def read_all(fd: int) -> str:
    """To the end: until nobody has the other end open."""
    with open(fd, "rb", closefd=False) as file:
        return file.read().decode()


def close_and_wait(log: FileLog) -> None:
    """As at the end of a process, but with time for whoever reads."""
    log.close()
    log._thread.join(DEADLINE_S)
    assert not log._thread.is_alive()
    if log._fd != logfile.STDERR:
        os.close(log._fd)


def test_lines(tmp_path: Path) -> None:
    """P-84: pid, time, label."""
    path = tmp_path / "log"
    log = FileLog(str(path), debug=True, trace=True)
    for say in (log.notice, log.debug, log.warn, log.error, log.fatal, log.trace):
        say("text")
    close_and_wait(log)
    lines = path.read_text().splitlines()
    assert [LINE.fullmatch(line)[1] for line in lines] == ["INF", "DBG", "WRN", "ERR", "FTL", "TRC"]  # type: ignore[index]
    assert all(line.startswith(f"[{os.getpid()}] ") for line in lines)
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
    assert log.dropped == 0


def test_only_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = FileLog(str(path), time_shown=False)
    log.debug("no")
    log.trace("no")
    log.notice("yes")
    close_and_wait(log)
    assert path.read_text() == f"[{os.getpid()}] [INF] yes\n"


def test_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local, or UTC when asked for; the microseconds are of the same moment as the seconds."""
    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    try:
        monkeypatch.setattr(time, "time_ns", lambda: 1_795_410_000_000_042_999)
        for utc, hour in ((False, 8), (True, 5)):
            path = tmp_path / f"log{hour}"
            log = FileLog(str(path), utc=utc)
            log.notice("x")
            log.notice("y")
            close_and_wait(log)
            assert [line.split()[1:3] for line in path.read_text().splitlines()] == [
                ["2026/11/23", f"0{hour}:00:00.000042"]
            ] * 2
    finally:
        monkeypatch.undo()
        time.tzset()


def test_appends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = FileLog(str(path), time_shown=False)
    log.notice("after")
    close_and_wait(log)
    assert path.read_text() == f"before\n[{os.getpid()}] [INF] after\n"


def test_stderr_and_colours() -> None:
    """Coloured only on a terminal."""
    ends = os.openpty(), os.pipe()
    for (reader, writer), label in zip([(ends[0][0], ends[0][1]), ends[1]], ["\x1b[32mINF\x1b[0m", "INF"], strict=True):
        with stderr_is(writer):
            log = FileLog(time_shown=False)
            log.notice("hello")
            close_and_wait(log)
        assert os.read(reader, 1000).decode().rstrip() == f"[{os.getpid()}] [{label}] hello"
        os.close(reader)
        os.close(writer)


def test_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLog(str(tmp_path / "no" / "log"))


def test_full_pipe(fifo: tuple[Path, int]) -> None:
    """P-85: nobody waits; what finds the queue full is counted, and told as soon as the rest was read."""
    path, reader = fifo
    log = FileLog(str(path), time_shown=False)
    said = 2 * QUEUE_LINES_MAX
    text = "x" * 100
    for _ in range(said):
        log.notice(text)
    dropped = log.dropped
    assert 0 < dropped < said
    before = time.monotonic()
    log.close()
    assert time.monotonic() - before < logfile.CLOSE_DEADLINE_S + 1
    assert log._thread.is_alive(), "it waits in a write"
    closer = threading.Thread(target=close_and_wait, args=(log,))
    closer.start()
    lines = read_all(reader).splitlines()
    closer.join()
    prefix = f"[{os.getpid()}] "
    assert lines[:-1] == [f"{prefix}[INF] {text}"] * (said - dropped)
    assert lines[-1] == f"{prefix}[WRN] {dropped} log lines dropped, they could not be written in time"


def test_tells_once_it_has_caught_up(fifo: tuple[Path, int]) -> None:
    """Without a further line to log, and only once."""
    path, reader = fifo
    log = FileLog(str(path), time_shown=False)
    while log.dropped < 5:
        log.notice("x")
    text = b""
    while b"5 log lines dropped" not in text:
        text += os.read(reader, 1 << 16)
    log.notice("later")
    closer = threading.Thread(target=close_and_wait, args=(log,))
    closer.start()
    rest = read_all(reader)
    closer.join()
    assert rest == f"[{os.getpid()}] [INF] later\n"


def test_bounded_memory(fifo: tuple[Path, int]) -> None:
    """A few long lines fill the queue as many short ones do."""
    path, reader = fifo
    log = FileLog(str(path), trace=True)
    quarter = "x" * (QUEUE_CHARS_MAX // 4)
    for _ in range(12):
        log.trace(quarter)
    # with what stands before each, a fourth does not fit; the pipe takes a small part of the first
    assert log.dropped == 9
    closer = threading.Thread(target=close_and_wait, args=(log,))
    closer.start()
    assert read_all(reader).count("[TRC]") == 12 - log.dropped
    closer.join()


def test_nobody_reads_any_more(fifo: tuple[Path, int]) -> None:
    """The server outlives whoever read its log."""
    path, reader = fifo
    log = FileLog(str(path))
    os.close(reader)
    log.notice("into the void")
    close_and_wait(log)
    assert log.dropped == 1


def test_stderr_that_somebody_made_non_blocking() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with stderr_is(writer):
        os.close(writer)
        log = FileLog(time_shown=False)
        for number in range(5000):
            log.notice(f"{number} {'x' * 50}")
        text = b""
        while b"] 4999 " not in text:
            text += os.read(reader, 1 << 16)
        close_and_wait(log)
    os.close(reader)
    assert [int(line.split()[2]) for line in text.decode().splitlines()] == list(range(5000))
    assert log.dropped == 0


def test_reopen(tmp_path: Path) -> None:
    """P-86: lines of before go to the old file, lines of after to the new one."""
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = FileLog(str(path), time_shown=False)
    log.notice("before")
    path.rename(old)
    log.reopen()
    log.notice("after")
    close_and_wait(log)
    prefix = f"[{os.getpid()}] [INF] "
    assert old.read_text() == f"{prefix}before\n"
    assert path.read_text() == f"{prefix}File log re-opened\n{prefix}after\n"


def test_reopen_that_fails(tmp_path: Path) -> None:
    """The old file goes on."""
    directory = tmp_path / "d"
    directory.mkdir()
    log = FileLog(str(directory / "log"), time_shown=False)
    moved = directory.rename(tmp_path / "moved")
    log.reopen()
    log.notice("after")
    close_and_wait(log)
    lines = (moved / "log").read_text().splitlines()
    assert lines == [
        f"[{os.getpid()}] [ERR] File log re-open failed: {directory}/log: No such file or directory",
        f"[{os.getpid()}] [INF] after",
    ]


def test_reopen_without_a_file() -> None:
    reader, writer = os.pipe()
    with stderr_is(writer):
        log = FileLog(time_shown=False)
        log.reopen()
        close_and_wait(log)
    os.close(writer)
    assert read_all(reader) == f"[{os.getpid()}] [INF] File log re-open ignored, not a file logger\n"
    os.close(reader)

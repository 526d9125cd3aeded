"""Log lines, in nats-server's form, that never block the loop. See protocol.md "Logs".

This module defines what the server calls (`Log`) and a log that says nothing (`Silent`). `natslite.logfile` has the
one that writes.
"""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """Where a server says what happens. Every call returns at once."""

    debug_on: bool
    trace_on: bool

    @property
    def dropped(self) -> int:
        """Lines thrown away because the reader of the log was too slow."""
        ...

    def notice(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def error(self, text: str) -> None: ...
    def fatal(self, text: str) -> None: ...
    def debug(self, text: str) -> None: ...
    def trace(self, text: str) -> None: ...


class Silent:
    """The log of an embedded server that was given none."""

    debug_on = False
    trace_on = False
    dropped = 0

    def notice(self, text: str) -> None:
        pass

    warn = error = fatal = debug = trace = notice

"""What can spoil a measurement. Raised in the loader's processes, carried to the driver, shown by the report."""

from __future__ import annotations


class BenchError(Exception):
    """A round that gives no number."""


class Invalid(BenchError):
    """The round says nothing about the server's speed (a subscriber was cut, the load was not kept up): repeat it."""


class Lost(BenchError):
    """Messages are missing, or arrived that should not have: the server is wrong, not slow."""


class Unsupported(BenchError):
    """This server cannot run the case (no TLS flags known, no monitoring)."""

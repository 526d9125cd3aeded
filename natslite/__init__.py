"""natslite: a NATS-compatible publish/subscribe server on trio, as a command and as a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Options", "Permissions", "Tls", "User", "__version__", "open_server"]

if TYPE_CHECKING:
    from natslite.options import Options, Permissions, Tls, User
    from natslite.server import open_server


def __getattr__(name: str) -> Any:
    # Imported when asked for: `natslite-server -v` needs none of it.
    if name == "open_server":
        from natslite.server import open_server

        return open_server
    if name in ("Options", "Permissions", "Tls", "User"):
        from natslite import options

        return getattr(options, name)
    raise AttributeError(f"module 'natslite' has no attribute {name!r}")

"""natslite: a NATS-compatible publish/subscribe server on trio, as a command and as a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Message",
    "NoResponders",
    "Options",
    "Permissions",
    "Server",
    "Subscription",
    "Tls",
    "User",
    "__version__",
    "open_server",
]

if TYPE_CHECKING:
    from natslite.client import Client, Message, NoResponders, Subscription
    from natslite.options import Options, Permissions, Tls, User
    from natslite.server import Server, open_server


def __getattr__(name: str) -> Any:
    # Imported when asked for: `natslite-server -v` needs none of it.
    if name in ("Client", "Message", "NoResponders", "Subscription"):
        from natslite import client

        return getattr(client, name)
    if name in ("Options", "Permissions", "Tls", "User"):
        from natslite import options

        return getattr(options, name)
    if name in ("Server", "open_server"):
        from natslite import server

        return getattr(server, name)
    raise AttributeError(f"module 'natslite' has no attribute {name!r}")

"""What a running server has counted, as one snapshot. Made by `Server.stats()`, read by `/varz`."""

from __future__ import annotations

import msgspec


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since start unless said otherwise; bytes count payload and headers, as in nats-server."""

    connections: int
    """Open now."""
    total_connections: int
    subscriptions: int
    """Open now."""
    in_msgs: int
    in_bytes: int
    out_msgs: int
    out_bytes: int
    slow_consumers: int
    stale_connections: int
    stalled_clients: int
    """How often a publisher was held for a slow subscriber (P-45)."""
    held_publishers: int
    """Held now."""
    longest_turn_s: float
    """Longest pass of the loop since start, in CPU time of its thread."""

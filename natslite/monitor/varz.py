"""`/varz`: the keys of nats-server's, in its order, and one of our own. Rule P-91.

Pure over a server's options and counters; the process's memory and CPU come in as arguments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from natslite import __version__
from natslite.server import Server

NANOSECONDS = 1_000_000_000

FEATURE_FLAGS = ("js_ack_fc_v2", "js_api_reply_v2", "js_raft_delete_range", "js_snapshot_sources")
"""All of them are of streams."""


def uptime(seconds: float) -> str:
    """Whole seconds as `19s`, `3m4s`, `2h3m4s`, `1d2h3m4s`, `1y2d3h4m5s`."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    years, d = divmod(days, 365)
    text = f"{s}s"
    if minutes:
        text = f"{m}m" + text
    if hours:
        text = f"{h}h" + text
    if days:
        text = f"{d}d" + text
    if years:
        text = f"{years}y" + text
    return text


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def varz(
    server: Server,
    *,
    monitor: tuple[str, int],
    requests: Mapping[str, int],
    certificate_end: datetime | None,
    memory_bytes: int,
    cpu_percent: float,
    dropped_log_lines: int,
) -> dict[str, Any]:
    """The document. `monitor`: where it is asked; `requests`: how often each path was."""
    options = server.options
    stats = server.stats()
    info = server.info()
    now = datetime.now(UTC)
    cores = os.cpu_count() or 1
    each = {"clients": 0, "routes": 0, "gateways": 0, "leafs": 0}
    auth_timeout = options.auth_timeout_s
    if auth_timeout is None:
        auth_timeout = 2.0 if options.tls is None else options.tls.timeout_s + 1
    document: dict[str, Any] = {
        key: info[key] for key in ("server_id", "server_name", "version", "proto", "git_commit", "go")
    }
    document |= {"host": server.host, "port": server.port}
    document |= {key: True for key in ("auth_required", "tls_required", "tls_verify") if info.get(key)}
    document["max_connections"] = options.connections_max
    if options.subscriptions_max > 0:
        document["max_subscriptions"] = options.subscriptions_max
    document |= {
        "ping_interval": int(options.ping_interval_s * NANOSECONDS),
        "ping_max": options.pings_outstanding_max,
        "http_host": monitor[0],
        "http_port": monitor[1],
        "http_base_path": "",
        "https_port": 0,
        "auth_timeout": _number(auth_timeout),
        "max_control_line": options.control_line_bytes_max,
        "max_payload": options.payload_bytes_max,
        "max_pending": options.pending_bytes_max,
        "cluster": {},
        "gateway": {},
        "leaf": {},
        "mqtt": {},
        "websocket": {},
        "jetstream": {},
        "tls_timeout": _number(options.tls.timeout_s if options.tls is not None else 2.0),
        "write_deadline": int(options.write_deadline_s * NANOSECONDS),
        "start": rfc3339(server.started),
        "now": rfc3339(now),
        "uptime": uptime((now - server.started).total_seconds()),
        "mem": memory_bytes,
        "cores": cores,
        "gomaxprocs": cores,
        "cpu": _number(round(cpu_percent, 2)),
        "connections": stats.connections,
        "total_connections": stats.total_connections,
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "in_msgs": stats.in_msgs,
        "in_bytes": stats.in_bytes,
        "in_client_msgs": stats.in_msgs,
        "in_client_bytes": stats.in_bytes,
        "out_msgs": stats.out_msgs,
        "out_bytes": stats.out_bytes,
        "out_client_msgs": stats.out_msgs,
        "out_client_bytes": stats.out_bytes,
        "slow_consumers": stats.slow_consumers,
        "stale_connections": stats.stale_connections,
        "stalled_clients": stats.stalled_clients,
        "subscriptions": stats.subscriptions,
        "http_req_stats": dict(requests),
        "config_load_time": rfc3339(server.started),
        "config_digest": "",
        "feature_flags": dict.fromkeys(FEATURE_FLAGS, False),
        "system_account": "$SYS",
        "slow_consumer_stats": each | {"clients": stats.slow_consumers},
        "stale_connection_stats": each | {"clients": stats.stale_connections},
        "disk_io_wait_stats": {"waiters": 0, "waits": 0, "wait_time": 0, "max_wait_time": 0},
    }
    if certificate_end is not None:
        document["tls_cert_not_after"] = certificate_end.strftime("%Y-%m-%dT%H:%M:%SZ")
    document["natslite"] = {
        "version": __version__,
        "longest_turn": stats.longest_turn_s,
        "longest_turn_since_read": server.turn_longest_since_read_s(),
        "held_publishers": stats.held_publishers,
        "dropped_log_lines": dropped_log_lines,
    }
    return document


def _number(value: float) -> float | int:
    """Without a fraction that says nothing."""
    return int(value) if value == int(value) else value

"""Every setting of a server, in one frozen record.

Built once by `natslite.cli` (flags) or by a program that embeds the server; read by everyone, changed by nobody.
It knows no socket, no flag syntax and no file. The limits, their defaults, units and what happens when one is
passed are the table of protocol.md, section "Limits".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

NATS_VERSION = "2.15.1"
"""The NATS version whose behaviour is offered: clients compare it to decide which features to use (P-2)."""

GLOBAL_ACCOUNT = "$G"
"""Where everyone is, as long as there are no accounts."""

CONTROL_LINE_BYTES_MAX = 65_535
"""The most that `control_line_bytes_max` may be: the engine counts the bytes of a token or a sid in 16 bits."""


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may publish and subscribe to (P-60 and following). Entries are subjects with wildcards.

    An empty `*_allow` allows everything; entries of `subscribe_*` may be "subject queue", where the queue is a
    pattern of tokens. `responses_max` above 0 lets a client answer each request it received that many times within
    `responses_expire_s`, whatever `publish_allow` says.
    """

    publish_allow: tuple[str, ...] = ()
    publish_deny: tuple[str, ...] = ()
    subscribe_allow: tuple[str, ...] = ()
    subscribe_deny: tuple[str, ...] = ()
    responses_max: int = 0
    responses_expire_s: float = 120.0


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One name with its password, plain or a bcrypt hash (`$2a$..`, `$2b$..`, `$2x$..`, `$2y$..`)."""

    name: str
    password: str
    permissions: Permissions | None = None


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates as PEM files. `verify` asks each client for a certificate signed by `ca_file` (P-70)."""

    cert_file: str
    key_file: str
    ca_file: str | None = None
    verify: bool = False
    timeout_s: float = 2.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one server. Units end the names: `_bytes_max`, `_s`."""

    # where to listen
    host: str | None = None
    """Address to listen on; None: 127.0.0.1 and, where it exists, ::1 on the same port."""
    port: int = 4222
    """TCP port; -1 picks a free one."""
    server_name: str | None = None
    """Shown in INFO and monitoring; None: the server id."""

    # who may connect (at most one of the three)
    token: str | None = None
    users: tuple[User, ...] = ()
    auth_timeout_s: float | None = None
    """Seconds until CONNECT where authentication is required. None: 2 (3 with TLS), 60 for a loopback peer (P-52)."""
    permissions: Permissions | None = None
    """Of everyone who is not a named user with permissions of its own."""
    tls: Tls | None = None

    # limits: protocol.md, "Limits"
    payload_bytes_max: int = 1024 * 1024
    control_line_bytes_max: int = 4096
    pending_bytes_max: int = 64 * 1024 * 1024
    connections_max: int = 65536
    """0 or less: none may connect, as in nats-server 2.15."""
    subscriptions_max: int = 0
    """Per connection; 0: unlimited."""
    subscription_tokens_max: int = 0
    """0: unlimited."""
    ping_interval_s: float = 120.0
    pings_outstanding_max: int = 2
    write_deadline_s: float = 10.0

    # leaving
    lame_duck_duration_s: float = 120.0
    lame_duck_grace_s: float = 10.0

    # monitoring
    monitor_port: int | None = None
    """None: off; -1 picks a free port."""
    monitor_host: str | None = None
    """None: as `host`."""

    # services, "module:object" each; started in order (natslite.service)
    services: Sequence[str] = ()

    # what is logged
    debug: bool = False
    trace: bool = False

    def __post_init__(self) -> None:
        """ValueError: a number out of its bounds, or settings that contradict each other."""
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must be between {least:,} and {most:,}, not {value:,}")
        if self.token is not None and self.users:
            raise ValueError("token and users exclude each other")
        if len({user.name for user in self.users}) < len(self.users):
            raise ValueError("two users have one name")
        if self.payload_bytes_max > self.pending_bytes_max:
            raise ValueError("payload_bytes_max cannot be higher than pending_bytes_max")
        if self.lame_duck_grace_s > self.lame_duck_duration_s:
            raise ValueError("lame_duck_grace_s must not be longer than lame_duck_duration_s")

    @property
    def auth_required(self) -> bool:
        """Whether a client must send credentials."""
        return self.token is not None or bool(self.users)


_COUNT_MAX = 2**31 - 1
_TIME_S_MAX = 9_000_000_000.0  # some 285 years; nats-server counts nanoseconds in 63 bits

BOUNDS: dict[str, tuple[float, float]] = {
    "port": (-1, 65_535),
    "monitor_port": (-1, 65_535),
    "auth_timeout_s": (0.001, _TIME_S_MAX),
    "payload_bytes_max": (1, 999_999_999),  # no more digits are read on the wire (P-15)
    "control_line_bytes_max": (1, CONTROL_LINE_BYTES_MAX),
    "pending_bytes_max": (1, 2**50),
    "connections_max": (-_COUNT_MAX, _COUNT_MAX),
    "subscriptions_max": (-_COUNT_MAX, _COUNT_MAX),
    "subscription_tokens_max": (-_COUNT_MAX, 255),
    "ping_interval_s": (0.001, _TIME_S_MAX),
    "pings_outstanding_max": (0, _COUNT_MAX),
    "write_deadline_s": (0.001, _TIME_S_MAX),
    "lame_duck_duration_s": (0, _TIME_S_MAX),
    "lame_duck_grace_s": (0, _TIME_S_MAX),
}
"""Of every number: the least and the most."""

from typing import Any, Protocol

from natslite.engine.outbound import Outbound
from natslite.engine.permissions import Permissions
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist

class Traced(Protocol):
    def incoming(self, verb: bytes, arguments: bytes) -> None: ...
    def payload(self, body: bytes) -> None: ...
    def outgoing(self, frame: bytes) -> None: ...
    def expired(self, sid: bytes) -> None: ...

class Limits:
    """The limits that hold for a connection; 0 is unlimited where protocol.md says so."""

    payload_bytes_max: int
    control_line_bytes_max: int
    pending_bytes_max: int
    subscriptions_max: int
    subscription_tokens_max: int
    pings_outstanding_max: int
    ping_interval_s: float
    write_deadline_s: float
    def __init__(
        self,
        *,
        payload_bytes_max: int = ...,
        control_line_bytes_max: int = ...,
        pending_bytes_max: int = ...,
        subscriptions_max: int = 0,
        subscription_tokens_max: int = 0,
        pings_outstanding_max: int = 2,
        ping_interval_s: float = 120.0,
        write_deadline_s: float = 10.0,
    ) -> None: ...

class Connection(Outbound):
    """One client's engine state."""

    sublist: Sublist
    limits: Limits
    cid: int
    owner: Any
    verbose: bool
    pedantic: bool
    echo: bool
    no_responders: bool
    connected: bool
    trusted: bool
    control: bytes | None
    reason: str | None
    stalls: int
    deadline_at: float
    rtt_s: float
    fd: int
    should_wait: bool
    flush_first: bool
    lost_bytes: int
    def __init__(self, turn: Turn, sublist: Sublist, limits: Limits, cid: int, *, trusted: bool = True) -> None: ...
    def feed(self, data: bytes) -> None:
        """Takes bytes from the client."""
    def resume(self) -> None:
        """Goes on reading after `control` was decided."""
    def accept(
        self,
        *,
        verbose: bool,
        pedantic: bool,
        echo: bool,
        headers: bool,
        no_responders: bool,
        after_ping: bytes | None = None,
        first_ping_s: float = 0.0,
    ) -> None:
        """Applies a CONNECT."""
    def set_permissions(self, permissions: Permissions | None) -> None: ...
    def set_tracer(self, tracer: Traced | None) -> None: ...
    def drop_subscriptions(self) -> None: ...
    def send(self, data: bytes) -> None: ...
    def error(self, text: bytes) -> None: ...
    def close(self, reason: str, *, flush: bool = True, error: bytes | None = None) -> None: ...
    def blocked(self, yes: bool) -> None: ...
    def timer(self, now: float) -> float: ...
    @property
    def control_is_connect(self) -> bool: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def counted_in(self) -> tuple[int, int]: ...
    @property
    def subscriptions(self) -> int: ...
    @property
    def unread(self) -> int: ...
    @property
    def lost(self) -> tuple[bytes | None, int]: ...

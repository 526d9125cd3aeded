from typing import Any, Final, Protocol

from natslite.engine.outbound import Outbound
from natslite.engine.permissions import Permissions
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist

CLIENT_CLOSED: Final = "Client Closed"
READ_ERROR: Final = "Read Error"
WRITE_ERROR: Final = "Write Error"
PARSE_ERROR: Final = "Parse Error"
PROTOCOL_VIOLATION: Final = "Protocol Violation"
CONTROL_LINE_EXCEEDED: Final = "Maximum Control Line Exceeded"
PAYLOAD_EXCEEDED: Final = "Maximum Message Payload Exceeded"
AUTHENTICATION_VIOLATION: Final = "Authentication Failure"
AUTHENTICATION_TIMEOUT: Final = "Authentication Timeout"
STALE: Final = "Stale Connection"
SLOW_PENDING: Final = "Slow Consumer (Pending Bytes)"
SLOW_WRITE: Final = "Slow Consumer (Write Deadline)"
SERVER_SHUTDOWN: Final = "Server Shutdown"
FAULT: Final = "Internal Fault"

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

    owner: Any
    deadline_at: float
    """For CONNECT, by the clock of the loop; 0: none."""
    def __init__(self, turn: Turn, sublist: Sublist, limits: Limits, cid: int, *, trusted: bool = True) -> None: ...
    def feed(self, data: bytes) -> None:
        """Takes bytes from the client."""
    def feed_slice(self, data: bytes = b"", allowance: int = 0) -> int:
        """As `feed`, for a transport: one slice of a turn; how many bytes were read."""
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
    def drop_subscriptions(self, limit: int) -> bool:
        """Takes out at most so many; whether none is left."""
    def send(self, data: bytes) -> None: ...
    def error(self, text: bytes) -> None: ...
    def close(self, reason: str, *, flush: bool = True, error: bytes | None = None) -> None: ...
    def blocked(self, yes: bool) -> None: ...
    def timer(self, now: float) -> float: ...
    @property
    def sublist(self) -> Sublist: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def cid(self) -> int: ...
    @property
    def fd(self) -> int:
        """Its socket, -1: none that the hub serves."""
    @property
    def verbose(self) -> bool: ...
    @property
    def pedantic(self) -> bool: ...
    @property
    def echo(self) -> bool: ...
    @property
    def no_responders(self) -> bool: ...
    @property
    def connected(self) -> bool:
        """A CONNECT was accepted."""
    @property
    def pinged(self) -> bool:
        """The first PING after CONNECT has come, and its PONG has gone."""
    @property
    def trusted(self) -> bool:
        """It may use other verbs than CONNECT."""
    @property
    def control(self) -> bytes | None:
        """The arguments of a verb that Python decides, which stopped the reading."""
    @property
    def reason(self) -> str | None:
        """Why it was closed; None while it is open."""
    @property
    def flush_first(self) -> bool:
        """What is pending is to be sent before the end."""
    @property
    def lost_bytes(self) -> int:
        """Pending when it was cut."""
    @property
    def should_wait(self) -> bool:
        """What `feed` read went to a subscriber that is too far behind."""
    @property
    def cut(self) -> bool:
        """`feed_slice` left input that can be read at once."""
    @property
    def stalls(self) -> int:
        """How often it was held for one."""
    @property
    def rtt_s(self) -> float:
        """Last measured by PING and PONG."""
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

from typing import Any

class Turn:
    """What one pass of the loop collects for all receivers of one server."""

    now: float
    pending_bytes_max: int
    slow_consumers: int
    stale_connections: int
    stalls: int
    @property
    def counted(self) -> tuple[int, int, int, int]:
        """Messages and bytes in, messages and bytes out, since start."""
    @property
    def pending_bytes(self) -> int:
        """Queued in all receivers together."""

class Receiver:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

from typing import Any

from natslite.engine.receiver import Receiver, Turn
from natslite.engine.sublist import Sublist

class Inbox(Receiver):
    """Where messages for a subscriber inside the process collect."""

    sublist: Sublist
    owner: Any
    bytes_max: int
    count: int
    refused: int
    unanswered: list[bytes]
    def __init__(self, turn: Turn, sublist: Sublist, owner: Any, *, bytes_max: int = ...) -> None: ...
    def subscribe(self, subject: bytes, tag: int, queue: bytes | None = None) -> None: ...
    def unsubscribe(self, tag: int) -> None: ...
    def close(self) -> None: ...
    def drain(self) -> list[tuple[bytes, bytes | None, bytes, bytes, int]]:
        """All messages as (subject, reply or None, headers, payload, tag); the inbox is then empty."""
    def __len__(self) -> int: ...
    @property
    def pending(self) -> int: ...

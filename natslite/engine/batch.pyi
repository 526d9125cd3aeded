from natslite.engine.receiver import Receiver, Turn
from natslite.engine.sublist import Sublist

class Batch:
    """Messages that go out together."""

    count: int
    internal: bool
    def __init__(self, *, internal: bool = True) -> None: ...
    def append(
        self, route_to: bytes, payload: bytes = b"", *, shown: bytes = b"", reply: bytes = b"", headers: bytes = b""
    ) -> None: ...
    def clear(self) -> None: ...
    def send(self, turn: Turn, sublist: Sublist, sender: Receiver | None = None, echo: bool = True) -> list[int]:
        """Routes everything, then is empty; for each message how many took it."""
    def __len__(self) -> int: ...

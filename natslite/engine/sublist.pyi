from natslite.engine.inbox import Inbox

class Sublist:
    """The subscriptions of one account."""

    changes: list[bytes] | None
    count: int
    inboxes: set[Inbox]
    """Those that subscribe; they live until they do not."""
    def __init__(self, seed: int = ..., cache_bytes_max: int = ...) -> None: ...
    def __len__(self) -> int: ...
    @property
    def size(self) -> int:
        """Nodes of the trie."""
    @property
    def cached(self) -> int:
        """Match results in the cache."""
    def has_interest(self, subject: bytes) -> bool: ...
    def matches(self, subject: bytes) -> tuple[list[bytes], list[list[bytes]]]:
        """The sids of the plain subscriptions, and of the members of each group."""

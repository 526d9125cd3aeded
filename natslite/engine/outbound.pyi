from natslite.engine.receiver import Receiver

class Outbound(Receiver):
    def take(self, limit: int = -1) -> bytes:
        """The next bytes, at most about `limit` of them (-1: all); they then count as sent."""
    def drop_pending(self) -> None:
        """Throws away what is pending."""
    @property
    def pending(self) -> int:
        """Bytes not yet sent."""
    @property
    def counted_out(self) -> tuple[int, int]:
        """Messages and bytes delivered to it."""

from collections.abc import Iterable

class Permissions:
    """What one user may publish, subscribe to and receive."""

    responses_max: int
    responses_expire_s: float
    def __init__(
        self,
        *,
        publish_allow: Iterable[bytes] = (),
        publish_deny: Iterable[bytes] = (),
        subscribe_allow: Iterable[bytes] = (),
        subscribe_deny: Iterable[bytes] = (),
        responses_max: int = 0,
        responses_expire_s: float = 120.0,
    ) -> None: ...

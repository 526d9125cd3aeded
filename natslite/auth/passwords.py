"""Tokens, and users with passwords: is this CONNECT somebody we know? Rules P-56 to P-58.

Plain secrets are compared in constant time and at once. A bcrypt hash takes tens of milliseconds of CPU, so it is
checked in a worker thread, one at a time; a success is remembered for a minute by a keyed digest, so that a fleet that
reconnects does not queue up. An unknown user costs the same time as a wrong password.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time

import trio

from natslite.connect import Connect
from natslite.options import Options, User

REMEMBERED_S = 60.0
"""How long a password that matched a hash need not be hashed again."""

BCRYPT_BYTES_MAX = 72
"""bcrypt looks at no more of a password; longer ones are cut, as nats-server's library refuses and others cut."""

_IS_BCRYPT = re.compile(r"^\$2[abxy]\$\d{2}\$.*")


def is_bcrypt(secret: str) -> bool:
    """Whether a configured secret is a bcrypt hash."""
    return _IS_BCRYPT.match(secret) is not None


class Denied:
    """The answer to credentials that are wrong or missing."""


DENIED = Denied()
TOKEN_HOLDER = User(name="", password="")
"""Everyone who knows the token."""


class Authenticator:
    """Checks CONNECTs against the users or the token of Options."""

    def __init__(self, options: Options) -> None:
        self._token = options.token
        self._users = {user.name: user for user in options.users}
        self._key = os.urandom(32)
        self._remembered: dict[bytes, float] = {}
        self._one_at_a_time: trio.CapacityLimiter | None = None
        hashes = [user.password for user in options.users if is_bcrypt(user.password)]
        self._dummy = hashes[0] if hashes else os.urandom(16).hex()

    def check_nowait(self, connect: Connect) -> User | Denied | None:
        """The answer, or None when only `check` can tell because a hash has to be computed."""
        given, wanted, user = self._pair(connect)
        if not is_bcrypt(wanted):
            same = hmac.compare_digest(self._digest(given), self._digest(wanted))
            return user if same and user is not None else DENIED
        until = self._remembered.get(self._digest(given, wanted))
        if until is not None and user is not None and time.monotonic() < until:
            return user
        return None

    async def check(self, connect: Connect) -> User | Denied:
        """The answer, after a thread has computed what is needed."""
        known = self.check_nowait(connect)
        if known is not None:
            return known
        given, wanted, user = self._pair(connect)
        if self._one_at_a_time is None:
            self._one_at_a_time = trio.CapacityLimiter(1)
        same = await trio.to_thread.run_sync(_hash_matches, given, wanted, limiter=self._one_at_a_time)
        if not same or user is None:
            return DENIED
        now = time.monotonic()
        self._remembered = {digest: until for digest, until in self._remembered.items() if until > now}
        self._remembered[self._digest(given, wanted)] = now + REMEMBERED_S
        return user

    def _pair(self, connect: Connect) -> tuple[str, str, User | None]:
        """What was given, what is wanted, and who it then is (None: nobody, whatever was given)."""
        if self._token is not None:
            return connect.auth_token, self._token, TOKEN_HOLDER
        user = self._users.get(connect.user)
        return connect.password, self._dummy if user is None else user.password, user

    def _digest(self, *texts: str) -> bytes:
        """Of equal length whatever the texts are, and useless to anybody else."""
        keyed = hmac.new(self._key, digestmod=hashlib.sha256)
        for text in texts:
            encoded = text.encode(errors="surrogatepass")
            keyed.update(len(encoded).to_bytes(8, "little") + encoded)
        return keyed.digest()


def _hash_matches(given: str, wanted: str) -> bool:
    import bcrypt  # takes a while, and few need it

    try:
        return bcrypt.checkpw(given.encode(errors="replace")[:BCRYPT_BYTES_MAX], wanted.encode())
    except ValueError:
        return False  # a hash that is none

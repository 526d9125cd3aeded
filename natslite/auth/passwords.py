"""Tokens, and users with passwords: is this CONNECT somebody we know? Rules P-56 to P-58.

Asked by a session. Plain secrets are compared in constant time and at once. A bcrypt hash takes tens of milliseconds
of CPU, so it is checked in a worker thread, one at a time; a success is remembered for a minute by a keyed digest, so
that a fleet that reconnects queues up for one check and not for one each. An unknown user costs the same time as a
wrong password. It knows no connection.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable

import trio

from natslite.connect import Connect
from natslite.options import Options, User

REMEMBERED_S = 60.0
"""How long a password that matched a hash need not be hashed again."""

BCRYPT_BYTES_MAX = 72
"""bcrypt looks at no more of a password; its library refuses longer ones, nats-server compares as far as it looks."""

COST_MAX = 16
"""A check at cost 12 takes a quarter of a second, and twice that for each step: at 16 four seconds, which is longer
than a client may take to authenticate (P-52), and all wait for each other. 31 would take a day and a half."""

_HASH = re.compile(r"\$2[abxy]\$(?!0[0-3])\d{2}\$[./A-Za-z0-9]{53}")
_IS_BCRYPT = re.compile(r"^\$2[abxy]\$\d{2}\$.*")


def is_bcrypt(secret: str) -> bool:
    """Whether a configured secret is a bcrypt hash."""
    return _IS_BCRYPT.match(secret) is not None


class PasswordError(ValueError):
    """A configured secret that cannot be used; the text names its user."""


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
        secrets = {f"user {user.name!r}": user.password for user in options.users}
        if options.token is not None:
            secrets["the token"] = options.token
        for whose, secret in secrets.items():
            if is_bcrypt(secret) and not _HASH.fullmatch(secret):
                raise PasswordError(f"the bcrypt hash of {whose} is none: no password would match it")
            if is_bcrypt(secret) and int(secret[4:6]) > COST_MAX:
                raise PasswordError(f"the bcrypt hash of {whose} has cost {secret[4:6]}: {COST_MAX} is the most")
        self._key = os.urandom(32)
        self._remembered: dict[bytes, float] = {}
        self._one_at_a_time = trio.Lock()
        hashes = [user.password for user in options.users if is_bcrypt(user.password)]
        # what an unknown user is compared with: the dearest hash if there is one
        self._dummy = max(hashes, key=lambda text: text[4:6], default=os.urandom(16).hex())

    def check_nowait(self, connect: Connect) -> User | Denied | None:
        """The answer, or None when only `check` can tell because a hash has to be computed."""
        given, wanted, user = self._pair(connect)
        if not is_bcrypt(wanted):
            same = hmac.compare_digest(self._digest(given), self._digest(wanted))
            if same and user is not None:
                return user
            return None if is_bcrypt(self._dummy) else DENIED  # as slow as for the users that have a hash
        until = self._remembered.get(self._digest(given, wanted))
        if until is not None and user is not None and trio.current_time() < until:
            return user
        return None

    async def check(self, connect: Connect, still_wanted: Callable[[], bool] = lambda: True) -> User | Denied | None:
        """The answer, after a thread has computed what is needed. None at once when the turn comes and nobody wants to
        know any more: whoever gives up must not make others wait."""
        async with self._one_at_a_time:
            known = self.check_nowait(connect)  # somebody before may have said the same
            if known is not None:
                return known
            if not still_wanted():
                return None
            given, wanted, user = self._pair(connect)
            hashed = wanted if is_bcrypt(wanted) else self._dummy
            same = await trio.to_thread.run_sync(_hash_matches, given, hashed, abandon_on_cancel=True)
        if not same or user is None or hashed is not wanted:
            return DENIED
        now = trio.current_time()
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
    import bcrypt  # imported by the first who needs it: few do

    try:
        return bcrypt.checkpw(given.encode(errors="replace")[:BCRYPT_BYTES_MAX], wanted.encode())
    except ValueError:
        return False  # a hash that is none

"""Names that must be new: server ids in the form of NATS keys, and tokens for inboxes.

A key's text is base32 of a prefix byte, 32 bytes and a CRC-16 (XMODEM, low byte first), 56 characters in all (P-4).
"""

from __future__ import annotations

import base64
import os
from binascii import crc_hqx

SERVER_PREFIX = 13 << 3
"""Makes the first letter N."""

CURVE_PREFIX = 23 << 3
"""Makes the first letter X."""


def _key(prefix: int, body: bytes) -> str:
    raw = bytes([prefix]) + body
    return base64.b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode()


def server_id() -> str:
    """A new server id, of the form of a server's public key."""
    return _key(SERVER_PREFIX, os.urandom(32))


def xkey() -> str:
    """A new value for INFO's `xkey`, of the form of a curve key. Nothing is encrypted to it before authentication
    callouts exist, so no private half is kept."""
    return _key(CURVE_PREFIX, os.urandom(32))


def token() -> str:
    """22 characters fit for a subject, 128 bits of chance."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")

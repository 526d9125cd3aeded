"""When a certificate ends, for `/varz`: a few lines of DER, since `ssl` tells it only of certificates of authorities.

Pure over the bytes of a PEM file that `ssl` has already accepted.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

VERSION = 0xA0
UTC_TIME = 0x17
END = "-----END CERTIFICATE-----"


def not_after(pem: str) -> datetime | None:
    """The end of the first certificate's validity; None: this is not one.

    Certificate: SEQUENCE of the part that is signed, ... That part: SEQUENCE of version (optional), serial number,
    algorithm, issuer, validity, ... Validity: SEQUENCE of first and last moment (RFC 5280, 4.1)."""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") : pem.index(END) + len(END)])
        signed = next(_elements(next(_elements(der))[1]))[1]
        fields = [content for tag, content in _elements(signed) if tag != VERSION]
        tag, text = list(_elements(fields[3]))[1]
        digits = text.decode("ascii")
        if tag == UTC_TIME:
            digits = ("19" if digits >= "50" else "20") + digits
        return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError, StopIteration):
        return None


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents, one after the other."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[at : at + count], "big")
            at += count
        yield tag, der[at : at + length]
        at += length

"""What a client says in CONNECT. Rules P-6 to P-9.

Pure. The JSON is read the way nats-server's decoder does: keys match in any case, unknown ones are ignored, null keeps
what was, and a wrong type is an error.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

SECRETS = ("pass", "auth_token", "jwt", "nkey", "sig", "proxy_sig")


class Connect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One CONNECT; the defaults are those of a client that sent none (P-6)."""

    verbose: bool = True
    pedantic: bool = True
    tls_required: bool = False
    echo: bool = True
    headers: bool = False
    no_responders: bool = False
    protocol: int = 0
    name: str = ""
    lang: str = ""
    version: str = ""
    user: str = ""
    password: str = msgspec.field(default="", name="pass")
    auth_token: str = ""
    nkey: str = ""
    sig: str = ""
    jwt: str = ""
    account: str = ""
    new_account: bool = False
    remote_account: str = ""
    proxy_sig: str = ""


_FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(Connect)}
_TYPES: dict[str, type] = {field.encode_name: field.type for field in msgspec.structs.fields(Connect)}
_WANTED = {bool: "true or false", int: "a number", str: "a string"}
_decode = msgspec.json.Decoder(dict[str, Any] | None)


_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


class ConnectError(ValueError):
    """A CONNECT that makes no sense; the text says what is wrong, to follow the word CONNECT."""


def decode(line: bytes, previous: Connect | None = None) -> Connect:
    """Reads the arguments of a CONNECT. In a second one, fields that are not named keep their values (P-8).

    ConnectError: not one JSON object, or a field of a wrong type."""
    try:
        said = _decode.decode(line)
    except RecursionError:
        raise ConnectError("takes a JSON object, not one this deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            # bytes and escapes that are no text are replaced, not refused
            text = _LONE_SURROGATE.sub(r"\\ufffd", line.decode("utf-8", errors="replace"))
            said = _decode.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ConnectError("takes a JSON object: CONNECT {}") from None
    fields: dict[str, Any] = {}
    for key, value in (said or {}).items():
        known = key if key in _TYPES else key.lower()
        wanted = _TYPES.get(known)
        if wanted is None or value is None:
            continue
        if type(value) is not wanted:
            raise ConnectError(f'"{known}" must be {_WANTED[wanted]}')
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ConnectError(f'"{known}" must be a number')
        fields[_FIELDS[known]] = value
    if previous is not None:
        return msgspec.structs.replace(previous, **fields)
    return Connect(**fields)


_SECRET = re.compile(r'("(?:' + "|".join(SECRETS) + r')"\s*:\s*")(?:[^"\\]|\\.)*(")', re.IGNORECASE)


def redacted(line: bytes) -> str:
    """The arguments of a CONNECT fit for a log: secrets are replaced (P-9)."""
    return _SECRET.sub(r"\1[REDACTED]\2", line.decode(errors="replace"))

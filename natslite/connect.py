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


DEPTH_MAX = 10_000
"""Objects and arrays inside each other, as in nats-server's decoder."""

_DEPTH_AT_ONCE = 200
"""As deep as the decoder is asked to go: it calls itself for each level."""

_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


class ConnectError(ValueError):
    """A CONNECT that makes no sense; the text says what is wrong, to follow the word CONNECT."""


def decode_object(line: bytes) -> dict[str, Any]:
    """One JSON object, or `null` for an empty one. ValueError: anything else.

    Bytes and escapes that are no text are replaced, not refused; what lies deeper than anybody looks becomes null."""
    try:
        return _decode.decode(line) or {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    text = _LONE_SURROGATE.sub(r"\\ufffd", line.decode("utf-8", errors="replace"))
    try:
        return _decode.decode(_flattened(text)) or {}
    except UnicodeError as error:
        raise ValueError(str(error)) from None


def _flattened(text: str) -> str:
    """JSON in which what is nested too deep for one call of the decoder has been checked and replaced by null."""
    outer: list[str] = []  # the texts around the one that is being read, each up to where that stands
    current: list[str] = []
    depth = at = 0
    for found in _BRACKET.finditer(text):
        bracket = found[0]
        if bracket in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError("too deep")
            if depth % _DEPTH_AT_ONCE == 0:
                outer.append("".join([*current, text[at : found.start()]]))
                current, at = [], found.start()
        elif bracket in "]}":
            if outer and depth % _DEPTH_AT_ONCE == 0:
                msgspec.json.decode("".join([*current, text[at : found.end()]]))
                current, at = [outer.pop(), "null"], found.end()
            depth -= 1
    if outer:
        raise ValueError("not closed")
    return "".join([*current, text[at:]])


def decode(line: bytes, previous: Connect | None = None) -> Connect:
    """Reads the arguments of a CONNECT. In a second one, fields that are not named keep their values (P-8).

    ConnectError: not one JSON object, or a field of a wrong type."""
    try:
        said = decode_object(line)
    except ValueError:
        raise ConnectError("takes a JSON object: CONNECT {}") from None
    fields: dict[str, Any] = {}
    for key, value in said.items():
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


_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_SECRET = re.compile(
    rf"""((?<!\w)(?:{"|".join(SECRETS)})["']?\s*[:=]\s*)(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}}"']*)""", re.IGNORECASE | re.DOTALL
)


def redacted(line: bytes) -> str:
    """The arguments of a CONNECT fit for a log: secrets are replaced, also where the JSON is not quite right (P-9)."""
    text = _ESCAPED.sub(_plain, line.decode(errors="replace"))  # a key may be written with escapes
    return _SECRET.sub(r'\1"[REDACTED]"', text)


def _plain(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character.isalpha() or character == "_" else escape[0]

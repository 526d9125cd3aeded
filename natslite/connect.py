"""What a client says in CONNECT. Rules P-6 to P-9.

Used by sessions. Pure. The JSON is read the way nats-server's decoder does: keys match in any case, unknown ones are
ignored, null keeps what was, and a wrong type is an error wherever it stands. What client libraries send goes through
one strict decoder (0.3 us); whatever that does not take is read again with every key in order (5 us).
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any

import msgspec

SECRETS = ("pass", "auth_token", "jwt", "nkey", "sig", "proxy_sig")
NO_FIELDS = ("password", "token")
"""What a person may take for the names of secrets."""

DEPTH_MAX = 10_000
"""Objects and arrays inside each other, as in nats-server's decoder."""

_DEPTH_AT_ONCE = 200
"""As deep as the decoder is asked to go: it calls itself for each level."""

_INTEGER_END = 2**63
_Integer = Annotated[int, msgspec.Meta(ge=-_INTEGER_END, le=_INTEGER_END - 1)]


class Connect(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """One CONNECT; the defaults are those of a client that sent none (P-6)."""

    verbose: bool = True
    pedantic: bool = True
    tls_required: bool = False
    echo: bool = True
    headers: bool = False
    no_responders: bool = False
    protocol: _Integer = 0
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
_TYPES = {field.encode_name: type(field.default) for field in msgspec.structs.fields(Connect)}
_WANTED = {bool: "true or false", int: "a number", str: "a string"}
_SUBJECTS = ("import", "export")
"""Of routes and leaf links; from a client only their form is looked at."""

_decode_usual = msgspec.json.Decoder(Connect).decode


class ConnectError(ValueError):
    """A CONNECT that makes no sense; the text says what is wrong, to follow the word CONNECT."""


class _Object(dict[str, Any]):
    """A JSON object that has not forgotten the keys that came twice."""

    __slots__ = ("members",)

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.members = members


def _integer(text: str) -> int:
    return int(text) if len(text) <= 20 else _INTEGER_END  # longer ones are out of range, and not for `int` to read


def _no_number(text: str) -> None:
    raise ValueError(text)


@functools.cache
def _decoder() -> Any:
    import json  # not before somebody sends something unusual

    return json.JSONDecoder(object_pairs_hook=_Object, parse_int=_integer, parse_constant=_no_number)


def decode_object(line: bytes) -> dict[str, Any]:
    """One JSON object, or `null` for an empty one. ValueError: anything else.

    Bytes that are no text are replaced, not refused; what lies deeper than anybody looks becomes null."""
    return _object(line)


def _object(line: bytes) -> _Object:
    text = line.decode(errors="replace")
    said = _decoder().decode(text if _opening(text) < _DEPTH_AT_ONCE else _flattened(text))
    if said is None:
        return _Object([])
    if not isinstance(said, _Object):
        raise ValueError("not an object")
    return said


_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def _opening(text: str) -> int:
    """No less than how deep a text goes."""
    return text.count("[") + text.count("{")


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
                _decoder().decode("".join([*current, text[at : found.end()]]))
                current, at = [outer.pop(), "null"], found.end()
            depth -= 1
    if outer:
        raise ValueError("not closed")
    return "".join([*current, text[at:]])


def decode(line: bytes, previous: Connect | None = None) -> Connect:
    """Reads the arguments of a CONNECT. In a second one, fields that are not named keep their values (P-8).

    ConnectError: not one JSON object, or a field of a wrong type."""
    if previous is None:
        try:
            return _decode_usual(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass  # wrong, or just unusual
        previous = Connect()
    try:
        said = _object(line)
    except ValueError:
        raise ConnectError("takes a JSON object: CONNECT {}") from None
    fields: dict[str, Any] = {}
    for key, value in said.members:
        known = key if key in _TYPES else _folded(key)
        if value is None:
            continue
        wanted = _TYPES.get(known)
        if wanted is None:
            if known in _SUBJECTS and not _are_subjects(value):
                raise ConnectError(f'"{known}" must be an object with lists of subjects')
            continue
        if type(value) is not wanted:
            raise ConnectError(f'"{known}" must be {_WANTED[wanted]}')
        if isinstance(value, str):
            value = _HALF_CHARACTER.sub("\ufffd", value)
        elif not -_INTEGER_END <= value < _INTEGER_END:
            raise ConnectError(f'"{known}" must be a number')
        fields[_FIELDS[known]] = value
    return msgspec.structs.replace(previous, **fields)


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def _folded(key: str) -> str:
    """As Go compares keys: besides case, the long s and the Kelvin sign count as the letters that they resemble."""
    return key.lower().replace("\u017f", "s")


def _are_subjects(value: Any) -> bool:
    """Whether this can be somebody's permissions to import or export."""
    if not isinstance(value, _Object):
        return False
    lists = [said for key, said in value.members if _folded(key) in ("allow", "deny") and said is not None]
    return all(isinstance(said, list) and all(item is None or type(item) is str for item in said) for said in lists)


# ---- for logs

_NAMES = "|".join(map(re.escape, SECRETS + NO_FIELDS))
_SECRET = re.compile(rf'("(?:{_NAMES})"\s*:\s*)(?:"(?:[^"\\]|\\.)*"|[\[{{].*|[^\s,}}\]]+)', re.IGNORECASE | re.DOTALL)
_SECRET_SOMEHOW = re.compile(rf"(?<!\w)({_NAMES})\b.*", re.IGNORECASE | re.DOTALL)
_ESCAPED = re.compile(r"\\u(00[2-7][0-9a-f]|017f|212a)", re.IGNORECASE)


def redacted(line: bytes) -> str:
    """The arguments of a CONNECT fit for a log: secrets are replaced (P-9). Where the JSON is not quite right, nobody
    knows where a secret ends, and everything behind the name of the first one is."""
    text = _ESCAPED.sub(_plain, line.decode(errors="replace"))  # a key may be written with escapes
    try:
        decode_object(line)
    except ValueError:
        return _SECRET_SOMEHOW.sub(r"\1 [REDACTED]", text)
    return _SECRET.sub(r'\1"[REDACTED]"', text)


def _plain(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character.isalpha() or character == "_" else escape[0]

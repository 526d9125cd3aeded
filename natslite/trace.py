"""What a traced connection says and hears, as log lines: `-V`. Rules P-9 and P-84.

A `Tracer` is made by the server for each connection while tracing is on; the engine calls it. `quoted` is for whatever
a client chose and a log shows. The lines are nats-server's; characters that could end or forge one are escaped.
"""

from __future__ import annotations

import re

from natslite import connect
from natslite.log import Log

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_ESCAPES |= {'"': '\\"', "\\": "\\\\"}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\udc80-\udcff]")
_UNTRACED = (b"+OK", b"INFO", b"-ERR")


def quoted(data: bytes | str) -> str:
    """In double quotes, as Go's `%q` writes it."""
    text = data if isinstance(data, str) else data.decode(errors="surrogateescape")
    text = text.translate(_COMMON)
    if not text.isprintable():
        text = _RARE.sub(lambda found: found[0] if found[0].isprintable() else _escaped(found[0]), text)
    return f'"{text}"'


def _escaped(character: str) -> str:
    known = _ESCAPES.get(character)
    if known is not None:
        return known
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_COMMON = {ord(c): _escaped(c) for c in [*map(chr, range(0x20)), '"', "\\", "\x7f", *map(chr, range(0xDC80, 0xDD00))]}
"""What binary payloads are full of: a table, because the loop waits for it."""
_RARE = re.compile(r"[^\x20-\x7e]")


def _plain(data: bytes | str) -> str:
    """As it came, but for what could end a line or rule a terminal."""
    text = data if isinstance(data, str) else data.decode(errors="surrogateescape")
    return _CONTROL.sub(lambda found: _escaped(found[0]), text)


class Tracer:
    """Writes what one connection says and hears. `who` begins the lines: a session, or text once that has ended."""

    def __init__(self, log: Log, who: object) -> None:
        self.log = log
        self.who = who

    def incoming(self, verb: bytes, arguments: bytes) -> None:
        """A control line was read."""
        if verb in _UNTRACED:
            return
        text = _plain(connect.redacted(arguments) if verb == b"CONNECT" else arguments)
        blank = " " if text else ""
        self._write(f"<<- [{verb.decode()}{blank}{text}]")

    def payload(self, body: bytes) -> None:
        """A payload was read, with the headers before it."""
        if body:
            self._write(f"<<- MSG_PAYLOAD: [{quoted(body)}]")

    def outgoing(self, frame: bytes) -> None:
        """Something was queued for the client."""
        line, _, rest = frame.partition(b"\r\n")
        if line.startswith(b"INFO "):
            return
        text = _plain(line)
        if line.startswith(b"-ERR '"):
            text = f"-ERR {text[6:-1]}"
        self._write(f"->> [{text.removeprefix('+')}]")
        if len(rest) > 2:
            self._write(f"->> MSG_PAYLOAD: [{quoted(rest[:-2])}]")

    def expired(self, sid: bytes) -> None:
        """A subscription has ended."""
        self._write(f"<-> [DELSUB {_plain(sid)}]")

    def _write(self, text: str) -> None:
        self.log.trace(f"{self.who} - {text}")

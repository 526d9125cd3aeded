"""NATS message headers: a version line, then `Name: value` lines as in HTTP/1.1 (ADR-4).

Pure; used by in-process clients and services. The engine carries headers as bytes and never looks inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

VERSION = b"NATS/1.0"

Headers = dict[str, list[str]]


def encode(headers: Mapping[str, str | Iterable[str]], *, status: str = "") -> bytes:
    """The bytes of a header block; a value may be several. ValueError: a name or value that cannot be one."""
    if "\r" in status or "\n" in status:
        raise ValueError("the status has a line break in it")
    lines = [VERSION + (b" " + status.encode() if status else b"")]
    for name, values in headers.items():
        if not name or ":" in name or any(c <= " " or c > "~" for c in name):
            raise ValueError(f"{name!r} is not a header name")
        for value in [values] if isinstance(values, str) else values:
            if "\r" in value or "\n" in value:
                raise ValueError(f"the header {name} has a line break in its value")
            lines.append(f"{name}: {value}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def decode(block: bytes) -> tuple[str, Headers]:
    """The status of the version line ("" mostly, "503" when nobody answered) and the headers, names as written.

    Bytes that are not a header block give no headers: servers carry them unseen (P-32)."""
    first, _, rest = block.partition(b"\r\n")
    if not first.startswith(VERSION):
        return "", {}
    headers: Headers = {}
    for line in rest.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.decode(errors="replace"), []).append(value.strip().decode(errors="replace"))
    return first[len(VERSION) :].strip().decode(errors="replace"), headers

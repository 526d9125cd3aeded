"""Command-line flags the way Go programs take them: `-p 1`, `-p=1`, `--p 1`, `--p=1`; short and long names alike.

Pure: words in, values and complaints out. Used by `natslite.cli`, which knows what the flags mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec


class FlagError(ValueError):
    """A command line that makes no sense; the text says why and names what was probably meant."""


class Flag(msgspec.Struct, frozen=True):
    """One flag with all its names. `read` turns the text into a value (ValueError: it cannot); None: a switch."""

    names: tuple[str, ...]
    help: str
    read: Callable[[str], Any] | None = None
    value: str = ""
    """What the value is called in the usage text."""


def boolean(text: str) -> bool:
    """As Go reads one."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError("parse error")


_SIZE = re.compile(r"(-?\d+)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def size(text: str) -> int:
    """Bytes: `65536`, `64KB`, `1MB`, powers of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size, such as 65536, 64KB or 1MB")
    factor: int = 1024 ** " kmgt".index(match[2].lower() or " ")
    return int(match[1]) * factor


def duration(text: str) -> float:
    """Seconds: `10s`, `1m30s`, `250ms`; a number alone is seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if text.startswith("-") and _DURATION.match(text[1:]):
        raise ValueError("a duration cannot be negative")
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration, such as 10s, 2m or 250ms")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse(words: Sequence[str], flags: Sequence[Flag]) -> tuple[dict[str, Any], list[str]]:
    """The values by each flag's first name, and the words that follow the flags."""
    known = {name: flag for flag in flags for name in flag.names}
    values: dict[str, Any] = {}
    at = 0
    while at < len(words):
        word = words[at]
        if len(word) < 2 or word[0] != "-":
            break
        at += 1
        if word == "--":
            break
        name, equals, text = word.lstrip("-").partition("=")
        if word.startswith("---") or not name:
            raise FlagError(f"bad flag syntax: {word}")
        flag = known.get(name)
        if flag is None:
            raise FlagError(f"flag provided but not defined: -{name}{_nearest(name, known)}")
        if flag.read is None:
            reader: Callable[[str], Any] = boolean
            text = text if equals else "true"
        else:
            reader = flag.read
            if not equals:
                if at == len(words):
                    raise FlagError(f"flag needs an argument: -{name}")
                text = words[at]
                at += 1
        try:
            values[flag.names[0]] = reader(text)
        except ValueError as error:
            why = "parse error" if reader in (int, boolean) else str(error)
            raise FlagError(f'invalid value "{text}" for flag -{name}: {why}') from None
    return values, list(words[at:])


def _nearest(name: str, known: dict[str, Flag]) -> str:
    import difflib  # only for people who mistyped

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean -{near[0]}?)" if near else ""


def usage(flags: Sequence[Flag]) -> str:
    """A line for each flag."""
    lines = []
    for flag in flags:
        names = ", ".join(("-" if len(name) <= 2 else "--") + name for name in flag.names)
        lines.append(f"    {names + (' <' + flag.value + '>' if flag.value else ''):<44} {flag.help}")
    return "\n".join(lines)

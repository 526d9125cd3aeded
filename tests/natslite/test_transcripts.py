"""The sessions in protocol.md happen as written there: P-1 and following, whole. Replays each against natslite, and
against nats-server where the document says that it holds there too."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import Address, Peer

DOCUMENT = Path(__file__).parents[2] / "protocol.md"
BLOCK = re.compile(
    r"^([^\n]*)\n\n```transcript (both|natslite)\n\$ natslite-server *(.*)\n((?:.*\n)*?)```$", re.MULTILINE
)
STEP = re.compile(r"(\d*)(>>|<<|<EOF>) ?(.*)")
ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))")
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}

Step = tuple[str, str, bytes]


def unescaped(text: str) -> bytes:
    """The bytes that C escapes stand for."""
    return ESCAPE.sub(lambda m: bytes([int(m[1], 16)]) if m[1] else PLAIN[m[2]], text.encode())


def steps(text: str) -> list[Step]:
    """(client, what, bytes) of each line; consecutive lines of the same kind are one."""
    found: list[Step] = []
    for line in text.splitlines():
        match = STEP.fullmatch(line)
        assert match, f"not a line of a transcript: {line}"
        client, what, data = match[1], match[2], unescaped(match[3])
        if found and found[-1][:2] == (client, what):
            data = found.pop()[2] + data
        found.append((client, what, data))
    return found


def transcripts() -> list[tuple[str, str, str, str]]:
    """(what the document calls it, for whom it holds, flags, text) of each."""
    document = DOCUMENT.read_text()
    found = [match.groups() for match in BLOCK.finditer(document)]
    assert len(found) == document.count("\n```transcript "), "a transcript is not written as the others are"
    return found


def replay(address: Address, text: str) -> None:
    """Does what the transcript does and compares what comes."""
    with contextlib.ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for client, what, data in steps(text):
            if client not in peers:
                peers[client] = stack.enter_context(Peer(address, info=False))
            peer = peers[client]
            if what == ">>":
                peer.send(data)
            elif what == "<<":
                expect(peer, data)
            else:
                assert peer.eof() == b""
                peer.ended = True
        for peer in peers.values():
            assert peer.rest() == b"", "more came than the transcript has"


def expect(peer: Peer, wanted: bytes) -> None:
    """Reads line by line, so that `…` cannot swallow more than the rest of a line."""
    for line in wanted.splitlines(keepends=True):
        came = peer.line() if line.endswith(b"\n") else peer.exactly(len(line))
        pattern = b".*".join(re.escape(part) for part in line.split("…".encode()))
        assert re.fullmatch(pattern, came, re.DOTALL), f"wanted {line!r}, came {came!r}"


def options_of(flags: str) -> dict[str, object]:
    """The Options that the flags of a transcript stand for."""
    from natslite import User

    words = shlex.split(flags)
    given = dict(zip(words[::2], words[1::2], strict=True))
    options: dict[str, object] = {}
    if "--auth" in given:
        options["token"] = given.pop("--auth")
    if "--user" in given:
        options["users"] = (User(name=given.pop("--user"), password=given.pop("--pass")),)
    assert not given, f"flags that the test does not know: {given}"
    return options


@pytest.mark.parametrize(("title", "holds", "flags", "text"), transcripts())
def test_natslite(ours: Callable[..., Address], title: str, holds: str, flags: str, text: str) -> None:
    replay(ours(**options_of(flags)), text)


@pytest.mark.parametrize(("title", "holds", "flags", "text"), [t for t in transcripts() if t[1] == "both"])
def test_nats_server(theirs: Callable[..., Address], title: str, holds: str, flags: str, text: str) -> None:
    replay(theirs(*shlex.split(flags)), text)


def test_one_that_holds_for_both_is_not_marked_natslite(theirs: Callable[..., Address]) -> None:
    """The marks say something: each of the others fails on nats-server. Keeps the list of exceptions (P-51) honest."""
    for _, holds, flags, text in transcripts():
        if holds == "natslite":
            with pytest.raises(AssertionError):
                replay(theirs(*shlex.split(flags)), text)

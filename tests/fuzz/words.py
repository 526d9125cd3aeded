"""What a fuzzer says: byte strings that are almost the protocol. One source of chance decides everything, so a run is
repeated by its seed, and Hypothesis, which plays the source in the tests, can shrink it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

VERBS = [
    b"PUB",
    b"HPUB",
    b"SUB",
    b"UNSUB",
    b"PING",
    b"PONG",
    b"CONNECT",
    b"INFO",
    b"+OK",
    b"-ERR",
    b"HMSG",
    b"MSG",
    b"A+",
]
BLANKS = [b" ", b" ", b" ", b"  ", b"\t", b" \t ", b""]
ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b""]
SUBJECTS = [
    *(b"a", b"b", b"a.b", b"a.b.c", b"foo.bar", b"*", b">", b"a.*", b"a.>", b"*.b", b"*.*", b"*.*.>", b"a.*.c"),
    *(b"", b".", b"..", b"a.", b".a", b"a..b", b">.a", b"a.>.b", b"a*", b"**", b"$", b"_", b"_R_.a", b"_INBOX.x.1"),
    *(b"$JS.ACK.a", b"$NRG.a", b"_GR_.a", b"\x00", b"\xff\xfe", b"a\rb", b"a" * 70, b"a." * 40, b"." * 33),
]  # fmt: skip
SIDS = [b"1", b"2", b"3", b"44", b"x" * 15, b"y" * 16, b"z" * 17, b"w" * 90, b"\x00", b"\xff"]
QUEUES = [b"q", b"q", b"r", b"*", b">", b"_sys_", b"q" * 40]
NUMBERS = [
    *(b"0", b"1", b"2", b"5", b"12", b"63", b"64", b"65", b"00", b"007", b"000000005", b"0000000005", b"-1", b"+1"),
    *(b"999999999", b"1000000000", b"18446744073709551616", b"1x", b"0x1", b"1.5", b""),
]  # fmt: skip
OBJECTS = [
    b"{}", b"null", b"[]", b"{", b"", b'{"verbose":true}', b'{"verbose":false,"pedantic":false}', b'{"headers":true}',
    b'{"headers":true,"no_responders":true,"verbose":false}', b'{"no_responders":true}', b'{"echo":false}',
    b'{"protocol":1}', b'{"protocol":2}', b'{"verbose":1}', b'{"VERBOSE":false}', b'{"name":"\xff"}', b"[" * 60,
    b'{"a":' * 20 + b"1" + b"}" * 20, b'{"import":{"allow":[1]}}',
]  # fmt: skip
HEADERS = [b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n", b"x", b""]


def line(chance: Random) -> bytes:
    """A control line, with its payload where one follows; mostly right."""
    pick: Callable[[list[bytes]], bytes] = chance.choice
    kind = chance.randrange(10)
    if kind < 3:
        return publish(chance)
    if kind < 5:
        words = [pick(SUBJECTS), pick(SIDS)]
        if chance.randrange(3) == 0:
            words.insert(1, pick(QUEUES))
        return b"SUB" + b"".join(blank(chance) + word for word in words) + pick(ENDS)
    if kind == 5:
        return (
            b"UNSUB" + blank(chance) + pick(SIDS) + (blank(chance) + pick(NUMBERS)) * chance.randrange(2) + pick(ENDS)
        )
    if kind == 6:
        return pick([b"PING", b"PONG", b"ping", b"+OK", b"PINGx", b"PING" + b"x" * 9000]) + pick(ENDS)
    if kind == 7:
        return pick([b"CONNECT", b"CONNECT", b"connect", b"INFO"]) + blank(chance) + pick(OBJECTS) + pick(ENDS)
    if kind == 8:
        words = [pick([*SUBJECTS, *SIDS, *NUMBERS]) for _ in range(chance.randrange(8))]
        return pick(VERBS) + b"".join(blank(chance) + word for word in words) + pick(ENDS)
    return chance.randbytes(chance.randrange(1, 40))


def publish(chance: Random) -> bytes:
    """A PUB or HPUB whose sizes are mostly true."""
    header = chance.choice(HEADERS) if chance.randrange(3) == 0 else b""
    body = header + chance.choice([b"", b"x", b"hello", b"\r\n", b"PING\r\n", b"y" * 60, b"z" * 200])
    words = [chance.choice(SUBJECTS)]
    if chance.randrange(3) == 0:
        words.append(chance.choice(SUBJECTS))
    if header:
        words.append(b"%d" % len(header))
    words.append(b"%d" % len(body) if chance.randrange(8) else chance.choice(NUMBERS))
    verb = chance.choice([b"HPUB", b"hPub"] if header else [b"PUB", b"pub"])
    return verb + b"".join(blank(chance) + word for word in words) + chance.choice(ENDS) + body + chance.choice(ENDS)


def blank(chance: Random) -> bytes:
    kind = chance.randrange(100)
    if kind == 0:
        return b" " * 9000
    return chance.choice(BLANKS) if kind < 30 else b" "


def damaged(chance: Random, data: bytes) -> bytes:
    """The same with a few bytes changed, lost, added or said twice."""
    spoiled = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(spoiled) + 1)
        kind = chance.randrange(4)
        if kind == 0 and at < len(spoiled):
            spoiled[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del spoiled[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            spoiled[at:at] = chance.randbytes(chance.randrange(1, 5))
        else:
            spoiled[at:at] = spoiled[at : at + chance.randrange(1, 30)]
    return bytes(spoiled)


def speech(chance: Random, lines_max: int = 12) -> bytes:
    """What one client says, from its first byte."""
    said = b"".join(line(chance) for _ in range(chance.randrange(1, lines_max)))
    if chance.randrange(2):
        # a well-behaved beginning gets further
        said = b'CONNECT {"headers":true,"no_responders":true}\r\nSUB > 1\r\nSUB a.* q 2\r\n' + said
    return damaged(chance, said) if chance.randrange(4) == 0 else said


def pieces(chance: Random, data: bytes) -> list[bytes]:
    """Cut anywhere."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if end > start]

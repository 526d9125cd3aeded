"""The naive broker: what each client must receive, by lists and string comparison. The oracle of the engine (P-18 to P-38,
P-60 to P-65).

It keeps no bytes and no socket. An operation returns what may come: one frame, or one of several (a queue group), and
says of which subscription, so that a test can tell it which one came.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Rules:
    """Permissions: patterns, an empty allow list allows everything (P-60)."""

    publish_allow: list[bytes] = field(default_factory=list)
    publish_deny: list[bytes] = field(default_factory=list)
    subscribe_allow: list[bytes] = field(default_factory=list)
    subscribe_deny: list[bytes] = field(default_factory=list)

    def may_publish(self, subject: bytes) -> bool:
        return allowed(subject, self.publish_allow, self.publish_deny)

    def may_subscribe(self, subject: bytes) -> bool:
        return allowed(subject, self.subscribe_allow, self.subscribe_deny)

    def may_receive(self, subject: bytes) -> bool:
        return allowed(subject, [], self.subscribe_deny)


@dataclass(eq=False)
class Sub:
    client: Client
    subject: bytes
    queue: bytes | None
    sid: bytes
    delivered: int = 0
    max: int | None = None


@dataclass(eq=False)
class Client:
    """What CONNECT said, and who it is."""

    verbose: bool = True
    pedantic: bool = True
    echo: bool = True
    headers: bool = False
    no_responders: bool = False
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Message:
    subject: bytes
    reply: bytes | None
    headers: bytes
    payload: bytes


def matches(pattern: bytes, subject: bytes) -> bool:
    """P-20, P-22, P-24."""
    wanted, given = pattern.split(b"."), subject.split(b".")
    if b"" in given:
        return False
    if wanted[-1] == b">" and len(given) >= len(wanted):
        wanted, given = wanted[:-1], given[: len(wanted) - 1]
    return len(wanted) == len(given) and all(w in (b"*", g) for w, g in zip(wanted, given, strict=True))


def valid(subject: bytes) -> bool:
    """P-21."""
    tokens = subject.split(b".")
    return b"" not in tokens and b">" not in tokens[:-1]


def literal(subject: bytes) -> bool:
    """P-23."""
    tokens = subject.split(b".")
    return not {b"", b"*", b">"} & set(tokens)


def allowed(subject: bytes, allow: list[bytes], deny: list[bytes]) -> bool:
    """P-60, P-62."""
    if allow and not any(matches(pattern, subject) for pattern in allow):
        return False
    return not any(matches(pattern, subject) for pattern in deny)


def frame(sub: Sub, message: Message) -> bytes:
    """P-30 to P-32."""
    words = [message.subject, sub.sid] + ([message.reply] if message.reply else [])
    if message.headers and sub.client.headers:
        words += [b"%d" % len(message.headers), b"%d" % len(message.headers + message.payload)]
        return b"HMSG " + b" ".join(words) + b"\r\n" + message.headers + message.payload + b"\r\n"
    words.append(b"%d" % len(message.payload))
    return b"MSG " + b" ".join(words) + b"\r\n" + message.payload + b"\r\n"


class Broker:
    """All subscriptions, in one list."""

    def __init__(self) -> None:
        self.subs: list[Sub] = []

    def of(self, client: Client, sid: bytes) -> Sub | None:
        return next((sub for sub in self.subs if sub.client is client and sub.sid == sid), None)

    def leave(self, client: Client) -> None:
        self.subs = [sub for sub in self.subs if sub.client is not client]

    def subscribe(self, client: Client, subject: bytes, queue: bytes | None, sid: bytes) -> bytes:
        """The answer (P-21, P-28, P-63)."""
        if not client.rules.may_subscribe(subject):
            using = b' using queue "%b"' % queue if queue else b""
            return b"-ERR 'Permissions Violation for Subscription to \"%b\"%b'\r\n" % (subject, using)
        if self.of(client, sid) is None:
            if not valid(subject):
                return b"-ERR 'Invalid Subject'\r\n"
            self.subs.append(Sub(client, subject, queue, sid))
        return b"+OK\r\n" if client.verbose else b""

    def unsubscribe(self, client: Client, sid: bytes, max_: int = 0) -> bytes:
        """The answer (P-29, P-37)."""
        sub = self.of(client, sid)
        if sub is not None:
            sub.max = max_
            if sub.delivered >= max_:
                self.subs.remove(sub)
        return b"+OK\r\n" if client.verbose else b""

    def warning(self, client: Client, message: Message) -> bytes:
        """What the publisher hears when its control line has been read (P-23)."""
        return b"-ERR 'Invalid Publish Subject'\r\n" if client.pedantic and not literal(message.subject) else b""

    def answer(self, client: Client, message: Message) -> tuple[bytes, bool]:
        """What it hears when the payload has come, and whether the message goes on (P-18, P-27, P-61)."""
        if not client.rules.may_publish(message.subject):
            return b"-ERR 'Permissions Violation for Publish to \"%b\"'\r\n" % message.subject, False
        if message.reply and message.reply.startswith(b"_R_."):
            return b"-ERR 'Permissions Violation for Publish with Reply of \"%b\"'\r\n" % message.reply, False
        return b"+OK\r\n" if client.verbose else b"", True

    def receivers(self, client: Client, message: Message) -> list[list[Sub]]:
        """One of each list gets it: a plain subscription alone, or the members of a group (P-34 to P-36, P-65)."""
        found = [
            sub
            for sub in self.subs
            if matches(sub.subject, message.subject)
            and (sub.client is not client or client.echo)
            and sub.client.rules.may_receive(message.subject)
        ]
        groups = {sub.queue for sub in found if sub.queue}
        plain = [[sub] for sub in found if not sub.queue]
        return plain + [[sub for sub in found if sub.queue == queue] for queue in sorted(groups)]

    def delivered(self, sub: Sub) -> None:
        """It got a message (P-37)."""
        sub.delivered += 1
        if sub.max is not None and sub.delivered >= sub.max:
            self.subs.remove(sub)

    def nobody(self, client: Client, message: Message) -> list[bytes]:
        """When nobody got it: the frames of which the publisher hears one, if any (P-38)."""
        if not client.no_responders or not message.reply:
            return []
        block = b"NATS/1.0 503\r\nNats-Subject: %b\r\n\r\n" % message.subject
        notice = Message(message.reply, None, block, b"")
        own = [
            sub for sub in self.subs if sub.client is client and not sub.queue and matches(sub.subject, message.reply)
        ]
        return [frame(sub, notice) for sub in own]

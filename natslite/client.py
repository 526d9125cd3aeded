"""A client inside the server's process: publish, subscribe and request without a socket.

Made by `Server.connect()`. It is a client like any other to everybody else: its messages are routed, held back and
counted the same way, only nothing is encoded. Of the server it knows the hub, the turn and the account's sublist.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
import trio

from natslite import headers as header_block
from natslite import ids
from natslite.engine.batch import Batch
from natslite.engine.inbox import Inbox
from natslite.engine.interest import behind, interested
from natslite.headers import Headers
from natslite.options import GLOBAL_ACCOUNT
from natslite.subjects import is_valid_literal_subject

if TYPE_CHECKING:
    from natslite.server import Server

SUBSCRIPTION_BYTES_MAX = 64 * 1024 * 1024
"""Waiting in one subscription; what does not fit is dropped and counted, as by a slow client."""

HOLD_S = 0.010
"""A publisher is held at most this long for a subscriber that is behind (P-45)."""


class NoResponders(Exception):
    """Nobody listens on the subject of a request (P-38)."""


class Message(msgspec.Struct, frozen=True):
    """One message as a subscriber sees it."""

    subject: str
    data: bytes
    reply: str | None = None
    headers: Headers | None = None


class Subscription:
    """What a pattern brings, as an async iterator that ends when it is closed. `async for message in subscription`."""

    def __init__(self, client: Client, pattern: str, queue: str | None, bytes_max: int) -> None:
        self.pattern = pattern
        self.queue = queue
        self._client = client
        self._ready = trio.Event()
        self._waiting: list[Message] = []
        server = client._server
        self._inbox = Inbox(server.turn, server.sublist, self, bytes_max=bytes_max)
        self._inbox.subscribe(pattern.encode(), 0, None if queue is None else queue.encode())

    @property
    def dropped(self) -> int:
        """Messages lost because the reader was too slow."""
        return self._inbox.refused

    def attend(self) -> None:
        """The hub's call: something came."""
        self._inbox.unanswered.clear()
        self._ready.set()

    def close(self) -> None:
        """Ends it; what has come can still be read. Twice is fine."""
        self._client._subscriptions.discard(self)
        self._inbox.close()
        self._ready.set()
        self._client._server.hub.kick()

    async def next(self) -> Message:
        """The next message. trio.EndOfChannel after the last one of a closed subscription."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if len(self._inbox):
                self._waiting = [_message(record) for record in self._inbox.drain()]
                self._waiting.reverse()
                self._client._server.hub.kick()
                break
            if self not in self._client._subscriptions:
                raise trio.EndOfChannel
            if self._ready.is_set():  # else somebody waits for it already
                self._ready = trio.Event()
            await self._ready.wait()
        return self._waiting.pop()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.next()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """An in-process client. Close it, or use it as `async with`; it ends with its server: iteration over its
    subscriptions ends then, and `publish` raises trio.ClosedResourceError. It is trusted: it needs no credentials, and
    permissions do not concern it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._subscriptions: set[Subscription] = set()
        self._batch = Batch(internal=False)
        self._replies: Subscription | None = None
        self._reply_prefix = ""
        self._requests: dict[str, trio.MemorySendChannel[Message]] = {}
        self._closed = False

    async def publish(
        self,
        subject: str,
        data: bytes = b"",
        *,
        reply: str | None = None,
        headers: Mapping[str, str | Sequence[str]] | None = None,
    ) -> int:
        """Sends a message; how many subscriptions took it. Waits, for 10 ms at most, while one of them is behind.

        ValueError: a subject with wildcards, blanks or empty tokens, or more data than `payload_bytes_max`."""
        await trio.lowlevel.checkpoint()
        if behind(self._server.sublist, subject.encode()):
            await self._hold(subject)
        return self._publish_nowait(subject, data, reply or "", headers)

    async def _hold(self, subject: str) -> None:
        """Until all receivers have room again, for as long as a publisher is held at most."""
        has_room = trio.Event()
        waiting = self._server.port_for_account(GLOBAL_ACCOUNT).on_room(subject, has_room.set)
        with trio.move_on_after(HOLD_S):
            await has_room.wait()
        waiting.cancel()

    def _publish_nowait(
        self, subject: str, data: bytes, reply: str, headers: Mapping[str, str | Sequence[str]] | None
    ) -> int:
        if self._closed:
            raise trio.ClosedResourceError("the client is closed")
        encoded = subject.encode()
        if not is_valid_literal_subject(encoded):
            raise ValueError(f"{subject!r} is not a subject to publish to")
        block = header_block.encode(headers) if headers else b""
        if len(block) + len(data) > self._server.options.payload_bytes_max:
            raise ValueError(f"{len(block) + len(data)} bytes are more than the server takes in one message")
        self._batch.append(encoded, data, reply=reply.encode(), headers=block)
        taken = self._batch.send(self._server.turn, self._server.sublist)
        self._server.hub.kick()
        return taken[0]

    def subscribe(
        self, pattern: str, *, queue: str | None = None, bytes_max: int = SUBSCRIPTION_BYTES_MAX
    ) -> Subscription:
        """Subscribes at once. ValueError: a bad subject."""
        if self._closed:
            raise trio.ClosedResourceError("the client is closed")
        subscription = Subscription(self, pattern, queue, bytes_max)
        self._subscriptions.add(subscription)
        self._server.hub.kick()  # services that watch the subject are told at the end of a turn
        return subscription

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        timeout_s: float = 5.0,
    ) -> Message:
        """Sends a request and waits for the first answer. NoResponders: nobody listens; trio.TooSlowError: no answer
        within `timeout_s`."""
        await trio.lowlevel.checkpoint()
        if self._replies is None:
            self._reply_prefix = f"_INBOX.{ids.token()}."
            self._replies = self.subscribe(self._reply_prefix + "*")
            self._server.start_soon(self._answer, self._replies)
        reply = self._reply_prefix + ids.token()
        send, receive = trio.open_memory_channel[Message](1)
        self._requests[reply] = send
        try:
            taken = self._publish_nowait(subject, data, reply, headers)
            if taken == 0 and not interested(self._server.sublist, subject.encode()):
                raise NoResponders(f"nobody listens on {subject}")
            with trio.fail_after(timeout_s):
                answer = await receive.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError("the client was closed meanwhile") from None
        finally:
            del self._requests[reply]
        if answer.headers is not None and answer.headers.get("Status") == ["503"]:
            raise NoResponders(f"nobody listens on {subject}")
        return answer

    async def _answer(self, replies: Subscription) -> None:
        """Hands answers to whoever waits for them."""
        async for message in replies:
            waiting = self._requests.get(message.subject)
            if waiting is not None:
                with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError):  # a second answer, or too late
                    waiting.send_nowait(message)

    def close(self) -> None:
        """Ends all subscriptions. Twice is fine."""
        self._closed = True
        self._server.clients.discard(self)
        for subscription in list(self._subscriptions):
            subscription.close()
        for waiting in self._requests.values():
            waiting.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()


def _message(record: tuple[bytes, bytes | None, bytes, bytes, int]) -> Message:
    subject, reply, block, payload, _ = record
    headers: Headers | None = None
    if block:
        status, headers = header_block.decode(block)
        if status:
            code, _, description = status.partition(" ")
            headers["Status"] = [code]
            if description:
                headers["Description"] = [description]
    return Message(
        subject=subject.decode(errors="replace"),
        data=payload,
        reply=None if reply is None else reply.decode(errors="replace"),
        headers=headers,
    )

"""The seam between the broker and services that run inside it, such as a stream layer.

A service knows this module and nothing else of the server; the server knows `Service` and nothing else of it. Options
name services as "module:object"; the object is called with the Options and returns a `Service`. Each account gets a
`ServicePort` of its own.

Everything here is synchronous and of the loop's thread: between two awaits of a service nothing else happens.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import trio

from natslite.engine.batch import Batch
from natslite.engine.inbox import Inbox
from natslite.engine.interest import interested, room
from natslite.subjects import matches

if TYPE_CHECKING:
    from natslite.options import Options
    from natslite.server import Server

__all__ = ["Batch", "Handle", "Inbox", "Record", "Service", "ServicePort", "load"]

Record = tuple[bytes, bytes | None, bytes, bytes, int]
"""Subject, reply or None, header block, payload, tag of the subscription."""

CALLBACK_INBOX_BYTES_MAX = 64 * 1024 * 1024


class Service(Protocol):
    """What the server needs of a service."""

    name: str

    def info(self) -> Mapping[str, Any]:
        """Fields to add to INFO, such as {"jetstream": True}."""
        ...

    async def run(self, port_for_account: Callable[[str], ServicePort], *, task_status: trio.TaskStatus[None]) -> None:
        """Recovers, calls `task_status.started()`, serves until cancelled. Clients are accepted after all services
        have started, and are gone before any is cancelled; a last flush to disk is shielded, with a deadline."""
        ...


class Handle:
    """Something asked for that can be taken back."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    def cancel(self) -> None:
        """Takes it back; the callback does not come any more. Twice is fine."""
        if self._undo is not None:
            undo, self._undo = self._undo, None
            undo()


class _CallbackOwner:
    """Hands what an inbox collected to a callback, record by record."""

    def __init__(self, port: ServicePort, callback: Callable[[Record], None], full_answer: bytes | None) -> None:
        self.port = port
        self.callback = callback
        self.full_answer = full_answer
        self.inbox: Inbox | None = None

    def attend(self) -> None:
        assert self.inbox is not None
        for record in self.inbox.drain():
            self.callback(record)
        self.port.answer_refused(self.inbox, self.full_answer)


class ServicePort:
    """What a service can do in one account."""

    def __init__(self, server: Server, account: str) -> None:
        self.account = account
        self._server = server
        self._sublist = server.sublist
        self._turn = server.turn
        self._one = Batch()
        self._room_waits: dict[bytes, list[Callable[[], None]]] = {}
        self._watches: dict[bytes, list[Callable[[], None]]] = {}
        self._drained_seen = 0
        self._subscribed: set[tuple[Inbox, int]] = set()  # an inbox lives as long as it subscribes

    # ---- sending

    def send(self, batch: Batch) -> list[int]:
        """Routes a batch, which is then empty; for each message how many receivers took it (0: no interest)."""
        taken = batch.send(self._turn, self._sublist)
        self._server.hub.kick()
        return taken

    def publish(self, subject: str, payload: bytes = b"", *, reply: str = "", headers: bytes = b"") -> int:
        """Sends one message; how many took it."""
        self._one.append(subject.encode(), payload, reply=reply.encode(), headers=headers)
        return self.send(self._one)[0]

    def room(self, subject: str) -> int | None:
        """Bytes until the fullest receiver has 1 MiB pending; None: no interest. Receivers too slow for too long
        (P-45) are left out."""
        return room(self._sublist, subject.encode())

    def on_room(self, subject: str, callback: Callable[[], None]) -> Handle:
        """Calls back once: when there may be room, a receiver closed, or interest changed. Ask `room` again then."""
        key = subject.encode()
        if room(self._sublist, key, wait=True) != 0:
            self._server.start_soon(_soon, callback)
            return Handle(lambda: None)
        return self._register(self._room_waits, key, callback)

    # ---- receiving

    def inbox(self, owner: Any, *, bytes_max: int) -> Inbox:
        """A buffer for messages; `owner.attend()` is called at the end of a turn in which it got some."""
        return Inbox(self._turn, self._sublist, owner, bytes_max=bytes_max)

    def subscribe(
        self,
        pattern: str,
        target: Inbox | Callable[[Record], None],
        *,
        queue: str | None = None,
        tag: int = 0,
        full_answer: bytes | None = None,
    ) -> Handle:
        """Sends matching messages to an inbox, with `tag`, or to a callback, which must only enqueue.

        A message that finds the inbox full is not taken; with `full_answer` its requestor gets that as the answer
        (an inbox of one's own calls `answer_refused` itself). ValueError: a bad subject or a tag in use."""
        if isinstance(target, Inbox):
            inbox = target
        else:
            owner = _CallbackOwner(self, target, full_answer)
            inbox = owner.inbox = self.inbox(owner, bytes_max=CALLBACK_INBOX_BYTES_MAX)
        inbox.subscribe(pattern.encode(), tag, None if queue is None else queue.encode())
        subscription = (inbox, tag)
        self._subscribed.add(subscription)

        def undo() -> None:
            self._subscribed.discard(subscription)
            inbox.unsubscribe(tag)

        return Handle(undo)

    def answer_refused(self, inbox: Inbox, answer: bytes | None) -> None:
        """Tells those whose messages did not fit."""
        if inbox.unanswered:
            replies = inbox.unanswered[:]
            inbox.unanswered.clear()
            if answer is not None:
                batch = Batch()
                for reply in replies:
                    batch.append(reply, answer)
                self.send(batch)

    # ---- interest

    def has_interest(self, subject: str, *, queue: str | None = None) -> bool:
        """Whether anybody, or a member of the queue group, would get a message."""
        return interested(self._sublist, subject.encode(), None if queue is None else queue.encode())

    def watch(self, subject: str, on_change: Callable[[], None]) -> Handle:
        """Calls back, at the end of the turn, each time a subscription that matches comes or goes."""
        return self._register(self._watches, subject.encode(), on_change)

    def _register(
        self, table: dict[bytes, list[Callable[[], None]]], key: bytes, callback: Callable[[], None]
    ) -> Handle:
        callbacks = table.setdefault(key, [])
        callbacks.append(callback)
        if self._sublist.changes is None:
            self._sublist.changes = []

        def undo() -> None:
            if callback in callbacks:
                callbacks.remove(callback)
                if not callbacks and table.get(key) is callbacks:
                    del table[key]
            if not self._room_waits and not self._watches:
                self._sublist.changes = None

        return Handle(undo)

    def after_turn(self) -> None:
        """Called by the server when a turn is over: calls back whom it concerns."""
        changes = self._sublist.changes
        if changes:
            self._sublist.changes = []
            for pattern in set(changes):
                self._call(self._watches, pattern, once=False)
                self._call(self._room_waits, pattern, once=True)
        if self._room_waits and self._server.hub.drained_count != self._drained_seen:
            for key in [key for key in self._room_waits if room(self._sublist, key, wait=True) != 0]:
                for callback in self._room_waits.pop(key):
                    callback()
        self._drained_seen = self._server.hub.drained_count

    def _call(self, table: dict[bytes, list[Callable[[], None]]], pattern: bytes, *, once: bool) -> None:
        if not table:
            return
        if b"*" in pattern or b">" in pattern:
            keys = [key for key in table if matches(pattern, key)]
        else:
            keys = [pattern] if pattern in table else []
        for key in keys:
            callbacks = table.pop(key) if once else table[key][:]
            for callback in callbacks:
                callback()


async def _soon(callback: Callable[[], None]) -> None:
    callback()


def load(name: str, options: Options) -> Service:
    """Imports "module:object" and makes the service. ValueError: not of that form, ImportError, AttributeError."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"a service is named module:object, not {name!r}")
    factory = getattr(importlib.import_module(module_name), attribute)
    service: Service = factory(options)
    return service

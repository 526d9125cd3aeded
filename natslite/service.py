"""The seam between the broker and services that run inside it, such as a stream layer.

A service knows this module and nothing else of the server; the server knows `Service` and nothing else of it. Options
name services as "module:object"; the object is called with the Options and returns a `Service`. Each account gets a
`ServicePort` of its own.

Everything here is synchronous and of the loop's thread: between two awaits of a service nothing else happens.
"""

from __future__ import annotations

import functools
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


class _Waiters:
    """Callbacks by subject. Each may come and go while others are called."""

    def __init__(self) -> None:
        self._of: dict[bytes, dict[object, Callable[[], None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, subject: bytes, callback: Callable[[], None]) -> Handle:
        key = object()
        self._of.setdefault(subject, {})[key] = callback
        return Handle(lambda: self._remove(subject, key))

    def subjects(self, pattern: bytes) -> list[bytes]:
        """Those that a pattern matches."""
        if b"*" in pattern or b">" in pattern:
            return [subject for subject in self._of if matches(pattern, subject)]
        return [pattern] if pattern in self._of else []

    def every_subject(self) -> list[bytes]:
        return list(self._of)

    def call(self, subject: bytes, guard: Callable[[Callable[[], None]], None], *, once: bool) -> None:
        """Calls those that wait for a subject, but for those that one before has cancelled."""
        for key, callback in list(self._of.get(subject, {}).items()):
            if key in self._of.get(subject, {}):
                if once:
                    self._remove(subject, key)
                guard(callback)

    def _remove(self, subject: bytes, key: object) -> None:
        callbacks = self._of.get(subject, {})
        callbacks.pop(key, None)
        if not callbacks:
            self._of.pop(subject, None)


class _CallbackOwner:
    """Hands what an inbox collected to a callback, record by record."""

    def __init__(self, port: ServicePort, callback: Callable[[Record], None], full_answer: bytes | None) -> None:
        self.port = port
        self.callback = callback
        self.full_answer = full_answer
        self.inbox: Inbox | None = None
        self.active = True

    def attend(self) -> None:
        assert self.inbox is not None
        for record in self.inbox.drain():
            if self.active:
                self.port._guarded(functools.partial(self.callback, record))
        self.port.answer_refused(self.inbox, self.full_answer)


class ServicePort:
    """What a service can do in one account."""

    def __init__(self, server: Server, account: str) -> None:
        self.account = account
        self._server = server
        self._sublist = server.sublist
        self._turn = server.turn
        self._one = Batch()
        self._room_waits = _Waiters()
        self._watches = _Waiters()
        self._at_once: list[bytes] = []  # subjects of `on_room` that had room when they were asked for
        self._drained_seen = 0

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
        """Bytes until the fullest receiver has 1 MiB pending, or an inbox is three quarters full; None: no interest.
        Receivers too slow for too long (P-45) are left out."""
        return room(self._sublist, subject.encode())

    def on_room(self, subject: str, callback: Callable[[], None]) -> Handle:
        """Calls back once, at the end of a turn: when there is room, a receiver closed, or interest changed. Ask `room`
        again then."""
        key = subject.encode()
        handle = self._listen(self._room_waits, key, callback)
        if room(self._sublist, key, wait=True) != 0:
            self._at_once.append(key)
            self._server.hub.kick()
        return handle

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
        owner: _CallbackOwner | None = None
        if isinstance(target, Inbox):
            inbox = target
        else:
            owner = _CallbackOwner(self, target, full_answer)
            inbox = owner.inbox = self.inbox(owner, bytes_max=CALLBACK_INBOX_BYTES_MAX)
        inbox.subscribe(pattern.encode(), tag, None if queue is None else queue.encode())
        self._server.hub.kick()  # whoever watches is told at the end of a turn

        def undo() -> None:
            inbox.unsubscribe(tag)
            if owner is not None:
                owner.active = False
            self._server.hub.kick()

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
        return self._listen(self._watches, subject.encode(), on_change)

    def _listen(self, waiters: _Waiters, subject: bytes, callback: Callable[[], None]) -> Handle:
        handle = waiters.add(subject, callback)
        if self._sublist.changes is None:
            self._sublist.changes = []

        def undo() -> None:
            handle.cancel()
            if not self._room_waits and not self._watches:
                self._sublist.changes = None

        return Handle(undo)

    def after_turn(self) -> None:
        """Called by the server when a turn is over: calls back whom it concerns."""
        changes = self._sublist.changes
        if changes:
            self._sublist.changes = []
            for pattern in set(changes):
                for subject in self._watches.subjects(pattern):
                    self._watches.call(subject, self._guarded, once=False)
                for subject in self._room_waits.subjects(pattern):
                    self._room_waits.call(subject, self._guarded, once=True)
        at_once, self._at_once = self._at_once, []
        for subject in at_once:
            self._room_waits.call(subject, self._guarded, once=True)
        if self._room_waits and self._server.hub.drained_count != self._drained_seen:
            for subject in self._room_waits.every_subject():
                if room(self._sublist, subject, wait=True) != 0:
                    self._room_waits.call(subject, self._guarded, once=True)
        self._drained_seen = self._server.hub.drained_count

    def _guarded(self, callback: Callable[[], None]) -> None:
        """A service's mistake is not the end of the others."""
        try:
            callback()
        except Exception as fault:
            self._server.report_fault(f"a service's callback {callback!r}", fault)


def load(name: str, options: Options) -> Service:
    """Imports "module:object" and makes the service. ValueError: not of that form, ImportError, AttributeError."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"a service is named module:object, not {name!r}")
    factory = getattr(importlib.import_module(module_name), attribute)
    service: Service = factory(options)
    return service

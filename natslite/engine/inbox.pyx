# cython: cdivision=True
"""Where messages for a subscriber inside the process collect: services, in-process clients.

A receiver that copies what it gets into one contiguous buffer and has its owner's `attend()` called at the end of the
turn. The owner reads it with `drain()` in Python, or walks the records compiled (`first`, `following`; `inbox.pxd` is
package data for that) and calls `emptied`. Made by `natslite.service` and `natslite.client`.

Bounded: above three quarters of `bytes_max` it holds its publishers like a slow client (P-45); a message that does not
fit is not taken, and its reply subject, if it has one, is put into `unanswered`, so that the owner can say so.
"""

cimport cython

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from .receiver cimport EXEMPT_AFTER_MS, Turn
from .sublist cimport is_valid_subject
from .table cimport Link, hash_bytes, table_any, table_chain, table_insert, table_remove

cdef enum:
    UNANSWERED_MAX = 4096
    KEPT_BYTES = 64 << 10   # buffer that an empty inbox keeps


@cython.no_gc_clear
cdef class Inbox(Receiver):
    def __init__(self, Turn turn, Sublist sublist, owner, *, size_t bytes_max=64 << 20):
        self.turn = turn
        self.sublist = sublist
        self.owner = owner
        self.bytes_max = bytes_max
        self.unanswered = []

    def __dealloc__(self):
        self._drop_all()  # of a server that is garbage as a whole: else the sublist keeps it as long as it subscribes
        free(self.buffer)

    def subscribe(self, bytes subject, uint64_t tag, bytes queue=None) -> None:
        """Adds a subscription; `tag` comes with each of its messages and must be new. ValueError: a bad subject."""
        cdef const char* group = NULL
        cdef Subscription* sub
        if not is_valid_subject(subject, len(subject), False):
            raise ValueError(f"{subject.decode(errors='replace')!r} is not a valid subject")
        if queue is not None:
            group = queue
        if self._find(tag) != NULL:
            raise ValueError(f"tag {tag} is in use")
        sub = self.sublist.insert(self, subject, len(subject), group, 0 if queue is None else len(queue),
                                  <const char*>&tag, sizeof(tag))
        if sub == NULL:
            raise MemoryError
        table_insert(&self.subs, &sub.link)
        self.sublist.inboxes.add(self)

    def unsubscribe(self, uint64_t tag) -> None:
        """Ends a subscription; one that is not there is no error."""
        cdef Subscription* sub = self._find(tag)
        if sub != NULL:
            self._remove(sub)

    def close(self) -> None:
        """Takes nothing more; what it has can still be drained."""
        self.closed = True
        self._drop_all()
        self._wake()

    def drain(self) -> list[tuple[bytes, bytes | None, bytes, bytes, int]]:
        """All messages as (subject, reply or None, headers, payload, tag); the inbox is then empty."""
        cdef Record* record = self.first()
        cdef list records = []
        cdef char* text
        while record != NULL:
            text = record_subject(record)
            subject = text[:record.subject_len]
            reply = None
            if record.reply_len:
                text = record_reply(record)
                reply = text[:record.reply_len]
            text = record_header(record)
            records.append((subject, reply, text[:record.header_len],
                            text[record.header_len:record.header_len + record.payload_len], record.tag))
            record = self.following(record)
        self.emptied()
        return records

    def __len__(self) -> int:
        return self.count

    @property
    def pending(self) -> int:
        """Bytes in the buffer."""
        return self.used

    cdef void emptied(self) noexcept:
        """The owner has read all of it."""
        self.used = self.count = 0
        if self.room > KEPT_BYTES:
            free(self.buffer)
            self.buffer = NULL
            self.room = 0
        self._wake()

    cdef void _wake(self) noexcept:
        if self.waited_for:
            self.waited_for = False
            self.turn.drained.append(self)
            self.turn.kick()

    cdef Subscription* _find(self, uint64_t tag) noexcept:
        cdef uint32_t hash = hash_bytes(<const char*>&tag, sizeof(tag), self.sublist.seed)
        cdef Link* item = table_chain(&self.subs, hash)[0]
        while item != NULL:
            if item.hash == hash and (<uint64_t*>(<Subscription*>item).sid)[0] == tag:
                return <Subscription*>item
            item = item.next
        return NULL

    cdef void _drop_all(self) noexcept:
        cdef Subscription* sub
        while self.subs.count:
            self._remove(<Subscription*>table_any(&self.subs, &self.cursor))

    cdef void expire(self, Subscription* sub) noexcept:
        self._remove(sub)

    cdef void _remove(self, Subscription* sub) noexcept:
        table_remove(&self.subs, &sub.link)
        self.sublist.remove(sub)
        if self.subs.count == 0:
            self.sublist.inboxes.discard(self)

    cdef int deliver(self, Subscription* sub, Message* message) noexcept:
        cdef size_t size = sizeof(Record) + message.subject_len + message.reply_len + message.body_len
        cdef size_t wanted
        cdef char* grown
        cdef Record* record
        cdef char* out
        if self.closed:
            return 0
        size = (size + 7) & ~<size_t>7
        if self.used + size > self.bytes_max:
            return self._full(message)
        if self.used + size > self.room:
            wanted = 2 * self.room + size + 256
            grown = <char*>realloc(self.buffer, wanted)
            if grown == NULL:
                return self._full(message)
            self.buffer = grown
            self.room = wanted
        if self.used == 0:
            self.since = self.turn.now
        record = <Record*>(self.buffer + self.used)
        memcpy(&record.tag, sub.sid, sizeof(record.tag))
        record.size = <uint32_t>size
        record.subject_len = <uint32_t>message.subject_len
        record.reply_len = <uint32_t>message.reply_len
        record.header_len = <uint32_t>message.header_len
        record.payload_len = <uint32_t>(message.body_len - message.header_len)
        out = <char*>record + sizeof(Record)
        memcpy(out, message.subject, message.subject_len)
        out += message.subject_len
        if message.reply_len:
            memcpy(out, message.reply, message.reply_len)
            out += message.reply_len
        memcpy(out, message.body, message.body_len)
        self.used += size
        self.count += 1
        self.turn.queued += size
        self.turn.out_msgs += 1
        self.turn.out_bytes += message.body_len
        self.turn.mark(self)
        if self.used > self.bytes_max // 4 * 3:
            self._hold()
        return 1

    cdef void _hold(self) noexcept:
        """Has its publishers wait, unless its owner took nothing for so long that they would wait in vain (P-45)."""
        if self.turn.now - self.since <= EXEMPT_AFTER_MS * 0.001:
            self.turn.blocker = <void*>self

    cdef int _full(self, Message* message) noexcept:
        self.refused += 1
        self.turn.refused = True
        self._hold()
        if message.reply_len and len(self.unanswered) < UNANSWERED_MAX:
            try:
                self.unanswered.append(message.reply[:message.reply_len])
            except MemoryError:
                pass
        self.turn.mark(self)
        return 0

# cython: cdivision=True
"""Messages that go out together: the buffer that a service fills and hands to `ServicePort.send`.

A record names where it is routed and which subject the receiver is shown: a JetStream delivery goes to the consumer's
inbox and shows the stream's subject. Filled by compiled code (`add`; `batch.pxd` is package data for that) or, message
by message, from Python (`append`). Owns its memory and keeps it between uses.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from .outbound cimport put_number
from .receiver cimport Message
from .sublist cimport Result

cdef struct Outgoing:
    uint32_t size
    uint32_t route_len
    uint32_t shown_len      # 0: as routed
    uint32_t reply_len
    uint32_t header_len
    uint32_t payload_len


cdef class Batch:
    def __cinit__(self, *, bint internal=True):
        self.internal = internal

    def __dealloc__(self):
        free(self.buffer)
        free(self.receivers)

    def append(self, bytes route_to, bytes payload=b"", *, bytes shown=b"", bytes reply=b"", bytes headers=b"") -> None:
        """Adds one message. The subjects must be fit for the wire: no blank, no CR or LF (ValueError)."""
        for text in (route_to, shown, reply):
            if b" " in text or b"\r" in text or b"\n" in text or b"\t" in text:
                raise ValueError(f"{text.decode(errors='replace')!r} is not fit for a subject")
        if not route_to:
            raise ValueError("a message needs a subject")
        if self.add(route_to, len(route_to), shown, len(shown), reply, len(reply), headers, len(headers),
                    payload, len(payload)) < 0:
            raise MemoryError

    def clear(self) -> None:
        self.clear_all()

    def send(self, Turn turn, Sublist sublist, sender=None, bint echo=True) -> list[int]:
        """Routes everything, then is empty; for each message how many took it."""
        cdef uint32_t i
        cdef list taken = []
        if self.send_all(turn, sublist, <void*>sender if sender is not None else NULL, echo) < 0:
            raise MemoryError
        for i in range(self.count):
            taken.append(self.receivers[i])
        self.clear_all()
        return taken

    def __len__(self) -> int:
        return self.count

    cdef void clear_all(self) noexcept:
        self.used = 0
        self.count = 0

    cdef int add(self, const char* route_to, Py_ssize_t route_len, const char* shown, Py_ssize_t shown_len,
                 const char* reply, Py_ssize_t reply_len, const char* header, Py_ssize_t header_len,
                 const char* payload, Py_ssize_t payload_len) noexcept:
        """Adds one record, all of it copied; -1 without memory. `shown_len` 0: shown as routed."""
        cdef size_t size = sizeof(Outgoing) + route_len + shown_len + reply_len + header_len + payload_len
        cdef size_t wanted
        cdef char* out
        cdef Outgoing* record
        size = (size + 7) & ~<size_t>7
        if size > 0xFFFFFFFF:
            return -1
        if self.used + size > self.room:
            wanted = 2 * self.room + size + 256
            out = <char*>realloc(self.buffer, wanted)
            if out == NULL:
                return -1
            self.buffer = out
            self.room = wanted
        record = <Outgoing*>(self.buffer + self.used)
        record.size = <uint32_t>size
        record.route_len = <uint32_t>route_len
        record.shown_len = <uint32_t>shown_len
        record.reply_len = <uint32_t>reply_len
        record.header_len = <uint32_t>header_len
        record.payload_len = <uint32_t>payload_len
        out = <char*>record + sizeof(Outgoing)
        memcpy(out, route_to, route_len)
        out += route_len
        memcpy(out, shown, shown_len)
        out += shown_len
        memcpy(out, reply, reply_len)
        out += reply_len
        memcpy(out, header, header_len)
        out += header_len
        memcpy(out, payload, payload_len)
        self.used += size
        self.count += 1
        return 0

    cdef int send_all(self, Turn turn, Sublist sublist, void* sender, bint echo) noexcept:
        """Routes everything and fills `receivers`; -1 without memory, with nothing sent."""
        cdef Outgoing* record
        cdef Message message
        cdef Result* result
        cdef char[44] sizes
        cdef char* text
        cdef size_t at = 0
        cdef uint32_t i
        cdef void* grown
        if self.count > self.receivers_room:
            grown = realloc(self.receivers, self.count * sizeof(uint32_t))
            if grown == NULL:
                return -1
            self.receivers = <uint32_t*>grown
            self.receivers_room = self.count
        for i in range(self.count):
            record = <Outgoing*>(self.buffer + at)
            text = <char*>record + sizeof(Outgoing)
            result = sublist.resolve(text, record.route_len)
            self.receivers[i] = 0
            if result != NULL and result.total != 0:
                message.subject = text + record.route_len if record.shown_len else text
                message.subject_len = record.shown_len if record.shown_len else record.route_len
                text += record.route_len + record.shown_len
                message.reply = text
                message.reply_len = record.reply_len
                text += record.reply_len
                message.body = text
                message.header_len = record.header_len
                message.body_len = record.header_len + record.payload_len
                text = sizes
                if record.header_len:
                    text = put_number(text, record.header_len)
                    text[0] = b' '
                    text += 1
                text = put_number(text, message.body_len)
                message.size = sizes
                message.size_len = text - sizes
                message.tail = NULL
                message.internal = self.internal
                if not self.internal:
                    turn.in_msgs += 1
                    turn.in_bytes += message.body_len
                self.receivers[i] = <uint32_t>sublist.route(result, &message, sender, echo)
                if turn.expired_count:
                    sublist.reap(turn)
            at += record.size
        return 0

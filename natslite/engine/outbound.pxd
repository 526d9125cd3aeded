from libc.stdint cimport int64_t, uint32_t, uint64_t

from .permissions cimport Permissions
from .receiver cimport Chunk, Message, Receiver, Subscription

cdef class Outbound(Receiver):
    cdef Chunk* first
    cdef Chunk* last
    cdef int64_t pending_bytes
    cdef int64_t pending_bytes_max
    cdef int64_t hold_bytes         # above it publishers are held
    cdef uint32_t typical           # bytes that one flush usually has
    cdef uint64_t out_msgs
    cdef uint64_t out_bytes
    cdef uint64_t sent_bytes        # taken by the peer's socket since the start
    cdef double progress_at         # when the peer last took something
    cdef bint exempt                # holds nobody until it has caught up
    cdef bint headers               # takes HMSG
    cdef Permissions permissions
    cdef dict responses             # reply subject -> [answers left, time of expiry]
    cdef object tracer
    cdef bytes lost_subject         # of the message that was too much
    cdef char* reserve(self, size_t room) noexcept
    cdef void added(self, size_t length) noexcept
    cdef void answered(self, size_t length) noexcept
    cdef void put(self, const char* data, Py_ssize_t length) noexcept
    cdef void progressed(self) noexcept
    cdef void consumed(self, size_t length) noexcept
    cdef void discard(self) noexcept
    cdef void too_slow(self, Message* message) noexcept
    cdef void faulted(self) noexcept
    cdef void _over(self, Message* message) noexcept
    cdef int _deliver_stripped(self, Subscription* sub, Message* message) noexcept
    cdef void _note_reply(self, const char* reply, Py_ssize_t length) noexcept
    cdef bint may_answer(self, const char* subject, Py_ssize_t length) noexcept
    cdef void _trace_out(self, const char* frame, Py_ssize_t length) noexcept

cdef inline char* put_number(char* out, uint64_t value) noexcept nogil:
    """Writes a decimal number, returns where it ends; at most 20 bytes."""
    cdef char[20] digits
    cdef int count = 0
    while True:
        digits[count] = <char>(48 + value % 10)  # ASCII 0
        value //= 10
        count += 1
        if value == 0:
            break
    while count:
        count -= 1
        out[0] = digits[count]
        out += 1
    return out
